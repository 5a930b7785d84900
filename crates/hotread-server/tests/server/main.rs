//! The server: its routes and sessions, and what malicious, greedy and unlucky peers do to it. Tests share
//! one process here, and change nothing that belongs to all of it; a server whose memory or system is part
//! of the test runs in a process of its own.

mod common;

mod access;
mod bodies;
mod chaos;
mod description;
mod doors;
mod events;
mod hostile;
mod limits;
mod listing;
mod options;
mod preload;
mod records;
mod sync;
mod tables;
mod work;
