//! `hotread serve`.

use super::{Mode, Session};
use crate::args::ServeArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::log;
use crate::output::Out;
use anyhow::{Context, Result};
use hotread_proto::Code;
use hotread_server::{Options, Server};
use hotread_store::Store;
use serde::Serialize;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where a server listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 7400;

/// How long the end of the process waits for work that cannot be cancelled, such as parsing a body, once
/// the server has let go of everything.
const LINGER: Duration = Duration::from_secs(2);

pub(super) fn run(session: &Session, args: ServeArgs, out: &mut Out) -> Result<()> {
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    let format = args.log_format.or(config.log_format).unwrap_or_default();
    log::begin_serving(session.verbosity(), format);
    let address = args.listen.or(config.listen);
    let address = address.unwrap_or((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
    let session = &session.or_file(config.db, config.passphrase_file);
    let synchronous = args.synchronous.map(Into::into).or(config.synchronous);
    let builder = session.builder(Mode::Create)?;
    let builder = builder.synchronous(synchronous.unwrap_or_default());
    let store = match session.passphrase()? {
        Some(passphrase) => builder.passphrase(passphrase),
        None => builder,
    }
    .open()?;
    let mut options = config.server;
    if let Some(hosts) = args.allowed_hosts {
        options.allowed_hosts = hosts;
    }
    if let Some(origins) = args.allowed_origins {
        options.allowed_origins = origins;
    }
    options.allow_plaintext |= args.allow_plaintext;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the server could not be started")?;
    let served = runtime.block_on(serve(session, store, address, options, out));
    runtime.shutdown_timeout(LINGER);
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
    // Before the first line tells anyone to come, so that none of them is missed.
    let stop = stopped().context("signals cannot be waited for")?;
    let serving = Serving {
        url: format!("http://{address}"),
    };
    if session.json() {
        out.json(&serving)?;
    } else {
        out.line(&format!("serving {path} at {}", serving.url))?;
    }
    out.flush().context("cannot write to stdout")?;
    server.serve(listener, stop).await?;
    Ok(())
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
        Failure::new(
            code,
            format!("cannot listen at {address}: {error}; {what_to_do}"),
        )
        .into()
    })
}

/// SIGINT or SIGTERM.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
