//! Tables wherever they are: what commands do with them is written once, against [`Tables`]. A store
//! in this process is one kind of them (`store.rs`), a server the other (`server.rs`).

mod server;
mod store;
mod tables;

pub(crate) use server::{Remote, Server};
pub(crate) use tables::{Pending, Tables, Whole};
