//! A running server, and commands that go through it.

use super::{Place, Ran, hotread};
use hotread_testkit::certificates::Authority;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connection, with or without TLS.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// A running server; killed on drop.
pub(super) struct Serving {
    child: Child,
    /// Its address, as `address:port`.
    pub(super) address: String,
    /// Authorities and certificate of requests; `None`: without TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    pub(super) fn start(place: &Place, more: &[&str]) -> Self {
        Self::start_at(place, "127.0.0.1:0", more)
    }

    pub(super) fn start_at(place: &Place, address: &str, more: &[&str]) -> Self {
        let args = [&["serve", "--listen", address], more].concat();
        Self::spawn(&mut place.command(&args))
    }

    /// Has requests connect by TLS, and trust this authority.
    pub(super) fn trusting(self, authority: &Authority) -> Self {
        self.with_tls(&authority.pem(), None)
    }

    /// Has requests connect by TLS, trust the authority in this PEM, and present a certificate with its key.
    pub(super) fn with_tls(mut self, authority: &str, client: Option<(&str, &str)>) -> Self {
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority)).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config.with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let chain = vec![certificate(chain)];
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        self.tls = Some(Arc::new(config));
        self
    }

    /// Returns the stderr with its log, which [`stop`](Self::stop) then no longer returns.
    pub(super) fn stderr(&mut self) -> std::process::ChildStderr {
        self.child.stderr.take().unwrap()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts a command that serves.
    pub(super) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.as_mut().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("://").map(|(_, address)| address);
        let Some(address) = address.map(|address| address.trim_end_matches("\"}").to_owned())
        else {
            let _ = child.kill();
            let mut err = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut err)
                .unwrap();
            panic!("{line:?} {err}");
        };
        Self {
            child,
            address,
            tls: None,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns a command that goes through the server.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = hotread();
        command.env("HOTREAD_URL", self.url()).args(args);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    pub(super) fn run_with(&self, input: &str, args: &[&str]) -> Ran {
        super::run_with(&mut self.command(args), input)
    }

    /// Returns the status and the body of an answer.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let answer = self.try_ask(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same, unless there is no connection.
    pub(super) fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> io::Result<(u16, String)> {
        let socket = TcpStream::connect(&self.address)?;
        let mut socket: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let ip = self.address.parse::<SocketAddr>().unwrap().ip();
                let session = ClientConnection::new(config.clone(), ip.into());
                Box::new(StreamOwned::new(session.unwrap(), socket))
            }
        };
        let (address, length) = (&self.address, body.len());
        let content = match body {
            "" => String::new(),
            _ => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}{content}\r\n{body}"
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Ok((head[9..12].parse().unwrap(), body.to_owned()))
    }

    /// Stops the server, and waits for its end.
    pub(super) fn end(&mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        assert!(self.child.wait().unwrap().success());
    }

    /// Stops the server, and returns its log.
    pub(super) fn stop(mut self) -> String {
        self.end();
        let mut log = String::new();
        let mut err = self.child.stderr.take().unwrap();
        err.read_to_string(&mut log).unwrap();
        log
    }
}
