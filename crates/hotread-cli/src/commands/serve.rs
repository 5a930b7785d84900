//! `hotread serve`.

use super::reload::Reload;
use super::{Mode, Session};
use crate::args::{LogFormat, ServeArgs};
use crate::config::{Config, Given, Layers, Source, file};
use crate::exit::{self, Failure};
use crate::log;
use crate::output::Out;
use anyhow::{Context, Result};
use hotread_proto::Code;
use hotread_server::{OptionsError, ServeError, Server, Tls, raise_file_limit};
use hotread_store::Store;
use serde::Serialize;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Longest wait at the end of the process for work that cannot be cancelled, such as parsing a body,
/// after the server has stopped.
const LINGER: Duration = Duration::from_secs(2);

pub(super) fn run(session: &mut Session, args: ServeArgs, out: &mut Out) -> Result<()> {
    let named = args.config.filter(|path| !path.as_os_str().is_empty());
    let given = given(session, args.given);
    let layers = Layers::read(named.or_else(file::discover).as_deref(), &given)?;
    let config = layers.config()?;
    if args.print_config {
        return print(session, &layers, out);
    }
    let set_filter = log::begin_serving(&config.log, config.log_format);
    let tls = config.tls()?.map(Tls::read).transpose();
    let tls = tls.map_err(OptionsError::from)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    session.or_file(config.db.clone(), config.passphrase_file.clone());
    // A database is created last, so that a refusal leaves none behind.
    let db = session.db()?;
    let existing = match session.begins() && config.create {
        true => None,
        false => Some(open(session, &config)?),
    };
    raise_file_limit();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime =
        super::runtime(threads).context("the threads of the server could not be started")?;
    let (listener, store) = runtime.block_on(async {
        let listener = listen(config.listen).await?;
        let store = match existing {
            Some(store) => store,
            None => {
                let at = address(&listener)?;
                let allowed = config.server.check_address(at, false, tls.is_some());
                allowed.map_err(|error| with_commands(error, db))?;
                open(session, &config)?
            }
        };
        anyhow::Ok((listener, store))
    })?;
    let served = runtime.block_on(async {
        let mut server = Server::builder(store.clone()).options(config.server);
        if let Some(tls) = tls {
            server = server.tls(tls);
        }
        let server = server.build()?;
        let reload = Reload {
            layers,
            given,
            set_filter,
            server: server.handle(),
        };
        serve(session, &store, scheme, listener, server, reload, out).await
    });
    runtime.shutdown_timeout(LINGER);
    // Tasks that were aborted may still refer to the store.
    store.close();
    served
}

/// Opens the database, and says so if that has created it.
fn open(session: &Session, config: &Config) -> Result<Store> {
    let mode = match config.create {
        true => Mode::Create,
        false => Mode::Write,
    };
    let builder = session.builder(mode, session.passphrase()?)?;
    let store = builder.synchronous(config.synchronous).open()?;
    // With a JSON log, the log has this.
    if store.is_new() && config.log_format == LogFormat::Text {
        let path = std::path::absolute(store.path()).unwrap_or_else(|_| store.path().to_owned());
        session.note(&format!(
            "a new database was created: {}; with --no-create that is an error",
            path.display()
        ));
    }
    Ok(store)
}

/// Returns the settings from the environment and the command line.
fn given(session: &Session, mut given: Given) -> Given {
    for (key, path, on_command_line) in session.global.paths() {
        let source = match on_command_line {
            true => Source::Flag,
            false => Source::Environment,
        };
        given.push(key, path.to_string_lossy(), source);
    }
    match session.global.verbose {
        0 => {}
        1 => given.push("log", "debug", Source::Verbose),
        _ => given.push("log", "trace", Source::Verbose),
    }
    given
}

fn print(session: &Session, layers: &Layers, out: &mut Out) -> Result<()> {
    #[derive(Serialize)]
    struct Told {
        key: &'static str,
        value: Option<toml::Value>,
        from: String,
    }

    if !session.json() {
        return out.text(&layers.to_toml());
    }
    for (setting, value, from) in layers.list() {
        let key = &setting.key;
        out.json(&Told { key, value, from })?;
    }
    Ok(())
}

async fn serve(
    session: &Session,
    store: &Store,
    scheme: &str,
    listener: TcpListener,
    server: Server,
    reload: Reload,
    out: &mut Out,
) -> Result<()> {
    #[derive(Serialize)]
    struct Serving {
        url: String,
    }

    let address = address(&listener)?;
    server
        .check_address(address)
        .map_err(|error| with_commands(error, store.path()))?;
    // Installed before the first line on stdout, so that no signal that follows it is missed.
    let stop = exit::signalled([SignalKind::interrupt(), SignalKind::terminate()])?;
    let hangups = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    let url = format!("{scheme}://{address}");
    let line = format!("serving {} at {url}", store.path().display());
    session.answer(&Serving { url }, &line, out)?;
    out.flush().context("cannot write to stdout")?;
    match &reload.layers.file {
        Some(file) => tracing::info!(file = %file.display(), "settings read"),
        None => tracing::info!("no configuration file"),
    }
    let stop = async {
        tokio::select! {
            _ = stop => {}
            () = reload.run(hangups) => {}
        }
    };
    server.serve(listener, stop).await?;
    Ok(())
}

/// Returns the error that keeps a server from serving other machines, with the commands to type.
fn with_commands(error: ServeError, db: &Path) -> anyhow::Error {
    let ServeError::OtherMachines {
        no_tokens,
        no_plaintext,
        ..
    } = error
    else {
        return error.into();
    };
    let db = db.display();
    let create = no_tokens.then(|| format!("`hotread token create ops --role admin --db {db}`"));
    let encrypt = "`--tls-cert FILE --tls-key FILE` or `--allow-plaintext`";
    let allow = no_plaintext.then(|| encrypt.to_owned());
    let typed: Vec<_> = create.into_iter().chain(allow).collect();
    let message = format!("{error}. Type {}", typed.join(" and add "));
    Failure::new(error.code(), message).into()
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().context("the listener has no address")
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let (code, what_to_do) = match error.kind() {
            io::ErrorKind::AddrInUse => (
                Code::AddressInUse,
                "stop what listens there, or choose another with --listen; port 0 is any free one",
            ),
            _ => (Code::BadConfig, "choose another address with --listen"),
        };
        let message = format!("cannot listen at {address}: {error}; {what_to_do}");
        Failure::new(code, message).into()
    })
}
