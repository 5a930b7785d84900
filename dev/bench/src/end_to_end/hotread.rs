//! HotRead as a system under test: its server, embedded in a process of its own like in `hotread
//! serve`; writers that use its client; watchers that are replicas.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use hotread::HotReadState;
use hotread_client::{Client, Replica, Replicated};
use hotread_proto::{Key, Put, Record, TableName, Txn, Value};
use hotread_server::Tls;
use hotread_store::{Store, Synchronous, TableOptions};
use hotread_testkit::certificates::Authority;
use tokio::net::TcpListener;

use super::OURS;
use super::row::{self, Row};
use super::samples::Seen;
use super::system::{Class, Doing, System, Watching, Writer};
use crate::process::{Failure, Process, Role};
use crate::store::data;

/// The role's name.
pub(super) const ROLE: &str = "serve";
/// Requests a second that the server accepts from one address: more than 64 writers flat out make.
/// The default protects against misbehaving clients, which a benchmark resembles.
const RATE: u32 = 1_000_000;
/// Name of the files of a server's certificate and key, without their endings.
const CERTIFICATE: &str = "server";
/// Part of an address between the server's URL and the file of its authority.
const CA: char = '#';

/// A running server of this workspace, killed when dropped.
pub(super) struct Server {
    role: Role,
    /// Its address, in the form for a client.
    pub(super) url: String,
    /// The same without a scheme.
    address: String,
}

impl Server {
    /// Starts a server on a database, which is created if it does not exist, at a free port; and waits until it
    /// listens.
    pub(super) fn start(database: &Path, synchronous: Synchronous) -> Self {
        Self::start_at(database, synchronous, "127.0.0.1:0")
    }

    /// The same at a given address, on which another server listened before.
    pub(super) fn start_at(database: &Path, synchronous: Synchronous, address: &str) -> Self {
        let mut role = Role::start(ROLE, (database, synchronous, address, None::<PathBuf>));
        let address = role.hear();
        Self {
            role,
            url: format!("http://{address}"),
            address,
        }
    }

    /// The same with TLS at a free port, with a new certificate, whose files are next to the database.
    fn start_with_tls(database: &Path, synchronous: Synchronous) -> Self {
        let folder = database.parent().expect("the database is in a folder");
        let authority = Authority::new();
        let ca = authority.write(folder);
        authority.issue(&["127.0.0.1"]).write(folder, CERTIFICATE);
        let mut role = Role::start(ROLE, (database, synchronous, "127.0.0.1:0", Some(folder)));
        let address = role.hear();
        Self {
            role,
            url: format!("https://{address}{CA}{}", ca.display()),
            address,
        }
    }

    /// Kills it, and returns its address.
    pub(super) fn kill(mut self) -> String {
        self.role.process().kill();
        self.address
    }

    /// Its process.
    pub(super) fn process(&mut self) -> &mut Process {
        self.role.process()
    }

    /// The process and the address alone.
    pub(super) fn into_parts(self) -> (Process, String) {
        (self.role.into_process(), self.url)
    }
}

/// HotRead where an acknowledged write survives a power failure.
pub(super) static FULL: System = System {
    name: OURS,
    class: Class::Full,
    program: None,
    start: |folder| Server::start(&folder.join("bench.db"), Synchronous::Full).into_parts(),
    writer,
    watcher,
};

/// HotRead where it survives a crash of the process.
pub(super) static NORMAL: System = System {
    class: Class::Normal,
    start: |folder| Server::start(&folder.join("bench.db"), Synchronous::Normal).into_parts(),
    name: OURS,
    program: None,
    writer,
    watcher,
};

/// HotRead with TLS. Its promise costs no fsync, so that nothing hides the cost of encryption.
pub(super) static TLS: System = System {
    name: "HotRead with TLS",
    class: Class::Normal,
    start: |folder| {
        let database = folder.join("bench.db");
        Server::start_with_tls(&database, Synchronous::Normal).into_parts()
    },
    program: None,
    writer,
    watcher,
};

/// Runs a child that is a server.
pub(super) fn main(
    (database, synchronous, address, tls): (PathBuf, Synchronous, String, Option<PathBuf>),
) -> Result<(), Failure> {
    serve(
        &database,
        synchronous,
        &address,
        tls.as_deref(),
        |address| println!("{address}"),
    )
}

/// Serves until the process ends, with TLS if there is a folder with a certificate; `told` receives the
/// address.
pub(super) fn serve(
    database: &Path,
    synchronous: Synchronous,
    address: &str,
    tls: Option<&Path>,
    told: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    let store = Store::builder(database).synchronous(synchronous).open()?;
    let table = data::table();
    if store.table_info(&table).is_err() {
        store.create_table(&table, TableOptions::default())?;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let server = hotread_server::Server::builder(store);
        let mut server = server.rate(RATE, RATE);
        if let Some(folder) = tls {
            let file = |ending| folder.join(CERTIFICATE).with_extension(ending);
            server = server.tls(Tls::from_files(file("pem"), file("key")));
        }
        let server = server.build()?;
        told(address);
        Ok(server.serve(listener, std::future::pending()).await?)
    })
}

/// A client of the server at this address.
pub(super) async fn client(url: &str) -> Result<Client, hotread_client::Error> {
    match url.split_once(CA) {
        Some((url, ca)) => Client::builder(url).tls_ca(ca).build(),
        None => Client::builder(url).build(),
    }
}

struct Calls {
    client: Client,
    table: TableName,
}

/// Puts the row of an update.
pub(super) async fn put_update(url: &str, number: u64, rng: &mut fastrand::Rng) {
    let writer = writer(url).await.expect("an address of a server");
    let (key, value) = (row::key(number), row::value(number, rng));
    let done = writer.put(&key, value).await;
    done.expect("the server takes a put");
}

fn writer(url: &str) -> Doing<'_, Box<dyn Writer>> {
    Box::pin(async move {
        let calls = Calls {
            client: client(url).await?,
            table: data::table(),
        };
        Ok(Box::new(calls) as Box<dyn Writer>)
    })
}

fn put(txn: Txn, key: &str, value: &str) -> Result<Txn, Failure> {
    let value = Value::parse(value.as_bytes())?;
    Ok(txn.put(Put::new(Key::new(key)?, value)))
}

impl Writer for Calls {
    fn put<'a>(&'a self, key: &'a str, value: String) -> Doing<'a, ()> {
        Box::pin(async move {
            let txn = put(Txn::new(), key, &value)?;
            self.client.txn(self.table.as_str(), txn).await?;
            Ok(())
        })
    }

    fn batch<'a>(&'a self, puts: &'a [(String, String)]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut puts = puts.iter();
            let txn = puts.try_fold(Txn::new(), |txn, (key, value)| put(txn, key, value))?;
            self.client.txn(self.table.as_str(), txn).await?;
            Ok(())
        })
    }
}

/// The state that a watcher's replica has: a map, and the stamps.
///
/// Stamps are taken when an update is applied to the copy that is published next, the last moment that
/// a state can observe; [`publication`] measures the time from there to the publication. Clones
/// share the stamps, which breaks a rule for states, but is harmless: no reader reads them through the state.
#[derive(Clone)]
pub(super) struct Stamped {
    rows: HashMap<Arc<str>, Row>,
    seen: Arc<OnceLock<Arc<Seen>>>,
}

/// An update of [`Stamped`].
#[derive(Clone)]
pub(super) enum Change {
    Put(Arc<str>, Row),
    Delete(Arc<str>),
}

impl HotReadState for Stamped {
    type Action = Change;

    fn apply_update(&mut self, update: &Change) {
        self.apply_owned(update.clone());
    }

    fn apply_owned(&mut self, update: Change) {
        match update {
            Change::Put(key, row) => {
                let update = row.update();
                self.rows.insert(key, row);
                if let (Some(update), Some(seen)) = (update, self.seen.get()) {
                    seen.stamp(update);
                }
            }
            Change::Delete(key) => {
                self.rows.remove(&key);
            }
        }
    }
}

impl Replicated for Stamped {
    type Value = Value;

    fn empty() -> Self {
        Self {
            rows: HashMap::new(),
            seen: Arc::default(),
        }
    }

    fn put(key: &Arc<str>, record: &Record) -> Result<Change, String> {
        let row = Row::parse(record.value()).map_err(|error| error.to_string())?;
        Ok(Change::Put(Arc::clone(key), row))
    }

    fn delete(key: &Arc<str>) -> Change {
        Change::Delete(Arc::clone(key))
    }
}

fn watcher(url: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
    Box::pin(async move {
        let client = client(url).await?;
        let table = data::table();
        let replica: Replica<Stamped> = client.replica(table.as_str()).await?;
        replica.state().read(|state| {
            let set = state.seen.set(seen);
            assert!(set.is_ok(), "a replica's state is new");
        });
        Ok(Box::pin(async move {
            // The replica follows the table for as long as it is held.
            let _replica = replica;
            std::future::pending::<Result<Infallible, Failure>>().await
        }) as Watching)
    })
}

/// Nanoseconds from a stamp to the return of the call that published it: the median of some updates
/// of such a state, by itself.
pub(super) fn publication() -> f64 {
    const UPDATES: u64 = 1_000;

    let state = hotread::HotRead::new(Stamped::empty());
    let seen = Arc::new(Seen::new(UPDATES as usize));
    let set = state.read(|state| state.seen.set(Arc::clone(&seen)).is_ok());
    assert!(set, "the state is new");
    let mut rng = fastrand::Rng::with_seed(5);
    let after: Vec<u64> = (0..UPDATES)
        .map(|number| {
            let value = row::value(number, &mut rng);
            let row = Row::parse(value.as_bytes()).expect("it was made here");
            let result = state.queue_update(Change::Put(row::key(number).into(), row));
            let now = super::clock::now();
            assert!(result.published, "no reader holds a copy");
            now
        })
        .collect();
    let gaps = after.iter().zip(seen.stamps());
    let gaps: Vec<f64> = gaps.map(|(after, stamp)| (after - stamp) as f64).collect();
    crate::stats::median(&gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_follows_its_stamp() {
        let gap = publication();
        assert!(gap > 0.0, "{gap}");
    }
}
