//! The pages of docs/guide do what they say: commands, files, links and figures.

mod deploy;
mod files;
mod limits;
mod links;
mod metrics;
mod page;
mod shell;
mod words;
