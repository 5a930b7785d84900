//! Reloading the settings and the certificate of a running server on SIGHUP.

use crate::config::{Given, Layers, file};
use crate::exit;
use crate::log::SetFilter;
use anyhow::{Context, Error, Result};
use hotread_server::ServerHandle;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use tokio::signal::unix::Signal;

/// Settings of a server, and the handles that apply new ones.
pub(super) struct Reload {
    pub(super) layers: Layers,
    pub(super) given: Given,
    pub(super) set_filter: SetFilter,
    pub(super) server: ServerHandle,
}

impl Reload {
    /// Reloads the settings at each signal. Ends when the terminal in which the server was started is
    /// closed, which sends the same signal.
    pub(super) async fn run(mut self, mut hangups: Signal) {
        let in_terminal = has_terminal();
        while hangups.recv().await.is_some() {
            if in_terminal && !has_terminal() {
                tracing::info!("the terminal was closed");
                return;
            }
            if let Err(error) = self.reload().await {
                let message = exit::body(&error).message;
                tracing::error!("the settings stay as they were: {message}");
            }
            if let Err(error) = self.reload_tls().await {
                let message = exit::body(&error).message;
                tracing::error!("the certificate stays as it was: {message}");
            }
        }
        // No further signal can arrive.
        std::future::pending().await
    }

    /// Reads the files of TLS again, which the settings name since the start.
    async fn reload_tls(&self) -> Result<()> {
        let server = self.server.clone();
        let read = tokio::task::spawn_blocking(move || server.reload_tls()).await;
        Ok(read.context("the files could not be read")??)
    }

    async fn reload(&mut self) -> Result<()> {
        let given = self.given.clone();
        // The same file is read again; if it has vanished, that is an error.
        let path = self.layers.file.clone().or_else(file::discover);
        let read = move || -> Result<_> {
            let layers = Layers::read(path.as_deref(), &given)?;
            let config = layers.config()?;
            Ok((layers, config))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (layers, config) = read.context("the file could not be read")??;
        // The server checks all of them first, so that a mistake changes nothing.
        self.server.reload(config.server).map_err(Error::new)?;
        (self.set_filter)(&config.log)?;
        let changed = layers.changed(&self.layers).into_iter();
        let (now, later): (Vec<_>, Vec<_>) = changed.partition(|setting| setting.reloads);
        let names = |settings: Vec<&crate::config::Setting>| {
            let names: Vec<_> = settings
                .iter()
                .map(|setting| setting.key.as_str())
                .collect();
            names.join(", ")
        };
        let file = layers.file.clone().unwrap_or_else(|| PathBuf::from("none"));
        let file = file.display();
        tracing::info!(%file, changed = names(now), "settings read again");
        if !later.is_empty() {
            let keys = names(later);
            tracing::warn!(keys, "these settings differ now, and need a restart");
        }
        self.layers.take_over(layers);
        Ok(())
    }
}

/// Returns `true` if this process still has a terminal as its input or output.
fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
