//! The client, against servers that do what a test wants, and against the real server. The tests share one
//! process, and change no global state.

mod common;

mod api;
mod blocking;
mod cache;
mod cut_off;
mod events;
mod proxy;
mod replica;
mod server;
mod servers;
mod table;
mod threads;
mod tls;
mod tls_server;
mod tutorial;
