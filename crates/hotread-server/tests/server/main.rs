//! The server: its routes and sessions, with malicious, greedy and unlucky peers. The tests share one
//! process, and change no global state; a server whose memory or system is part of the test runs in a
//! process of its own.

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
mod tls;
mod tls_files;
mod work;
