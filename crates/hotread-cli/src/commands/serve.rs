//! `hotread serve`.

use super::{Mode, Session};
use crate::args::{LogFormat, Safe, ServeArgs};
use crate::config::Config;
use crate::exit::{self, Failure};
use crate::log;
use crate::output::Out;
use anyhow::{Context, Result};
use hotread_proto::Code;
use hotread_server::{Options, ServeError, Server, raise_file_limit};
use hotread_store::{Store, Synchronous};
use serde::Serialize;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;

/// Where a server listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 7400;

/// How long the end of the process waits for work that cannot be cancelled, such as parsing a body, once
/// the server has let go of everything.
const LINGER: Duration = Duration::from_secs(2);

pub(super) fn run(session: &mut Session, args: ServeArgs, out: &mut Out) -> Result<()> {
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    let format = args.log_format.or(config.log_format).unwrap_or_default();
    log::begin_serving(session.global.verbose, format);
    let address = args.listen.or(config.listen);
    let address = address.unwrap_or((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
    session.or_file(config.db, config.passphrase_file);
    let synchronous = args.synchronous.map(|safe| match safe {
        Safe::Full => Synchronous::Full,
        Safe::Normal => Synchronous::Normal,
    });
    let synchronous = synchronous.or(config.synchronous).unwrap_or_default();
    let mode = match !args.no_create && config.create.unwrap_or(true) {
        true => Mode::Create,
        false => Mode::Write,
    };
    let builder = session.builder(mode, session.passphrase()?)?;
    let store = builder.synchronous(synchronous).open()?;
    // As JSON it is in the log.
    if store.is_new() && format == LogFormat::Text {
        let path = std::path::absolute(store.path()).unwrap_or_else(|_| store.path().to_owned());
        session.note(&format!(
            "a new database was created: {}; with --no-create that is an error",
            path.display()
        ));
    }
    let mut options = config.server;
    options.allowed_hosts = args.allowed_hosts.unwrap_or(options.allowed_hosts);
    options.allowed_origins = args.allowed_origins.unwrap_or(options.allowed_origins);
    options.allow_plaintext |= args.allow_plaintext;
    raise_file_limit();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime =
        super::runtime(threads).context("the threads of the server could not be started")?;
    let served = runtime.block_on(serve(session, store.clone(), address, options, out));
    runtime.shutdown_timeout(LINGER);
    // Tasks that were cut off may have the store still.
    store.close();
    served
}

async fn serve(
    session: &Session,
    store: Store,
    address: SocketAddr,
    options: Options,
    out: &mut Out,
) -> Result<()> {
    #[derive(Serialize)]
    struct Serving {
        url: String,
    }

    let listener = listen(address).await?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let path = store.path().display().to_string();
    let server = Server::builder(store).options(options).build()?;
    server.check_address(address).map_err(with_commands)?;
    // Before the first line tells anyone to come, so that none of them is missed.
    let stop = exit::signalled([SignalKind::interrupt(), SignalKind::terminate()])?;
    let url = format!("http://{address}");
    let line = format!("serving {path} at {url}");
    session.answer(&Serving { url }, &line, out)?;
    out.flush().context("cannot write to stdout")?;
    server.serve(listener, async { _ = stop.await }).await?;
    Ok(())
}

/// What keeps a server from serving other machines, with what to type.
fn with_commands(error: ServeError) -> anyhow::Error {
    let ServeError::OtherMachines {
        no_tokens,
        no_plaintext,
        ..
    } = error
    else {
        return error.into();
    };
    let create = no_tokens.then_some("`hotread token create ops --role admin`");
    let allow = no_plaintext.then_some("`--allow-plaintext`");
    let typed: Vec<_> = create.into_iter().chain(allow).collect();
    let message = format!("{error}. Type {}", typed.join(" and add "));
    Failure::new(error.code(), message).into()
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
