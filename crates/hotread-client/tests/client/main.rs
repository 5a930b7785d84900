//! The client: against servers that do what a test wants, and against the server itself. Tests share one
//! process here, and change nothing that belongs to all of it.

mod common;

mod api;
mod blocking;
mod cache;
mod cut_off;
mod events;
mod proxy;
mod replica;
mod server;
mod table;
mod threads;
mod tutorial;
