//! The first load of a replica of 10,000, 100,000 and 1,000,000 records, and the memory of
//! both sides afterwards; compared with the same JSON downloaded from a plain HTTP server, which has it
//! ready in memory, and parsed into a `HashMap` of the same rows.
//!
//! Each load is a process of its own with tokio's default runtime. The plain download has two
//! forms: one array, parsed when it is complete; and lines, parsed as they arrive.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use hotread_client::Replica;
use hotread_store::{Store, Synchronous};
use serde::{Deserialize, Serialize};

use super::hotread::{self, Server};
use super::row::Row;
use super::{OURS, clock};
use crate::process::{Failure, Role, Status};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};
use crate::store::data;
use crate::store::scratch::Plan;

/// The roles' names.
pub(super) const LOAD: &str = "load";
pub(super) const BODY: &str = "body";

const NEXT: &str = "HotRead, the next replica";
const ARRAY: &str = "bare HTTP, one array";
const LINES: &str = "bare HTTP, lines";
/// Columns of one size.
const STRIDE: usize = 5;

/// Subject of a child's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Replica,
    Array,
    Lines,
}

pub(super) fn run(plan: &Plan) -> Figure {
    let sizes = plan.pick([10_000, 100_000, 1_000_000], [1_000, 10_000, 100_000]);
    let columns = sizes.map(|records| {
        let memory = ["reader", "reader, at most", "server", "server, at most"];
        let time = [(format!("{records} records"), Unit::Ns)].into_iter();
        time.chain(Unit::Bytes.of(memory.map(str::to_owned)))
    });
    let columns = columns.into_iter().flatten();
    let mut rounds = Rounds::new("Time until all records can be read", columns);
    for (index, records) in sizes.into_iter().enumerate() {
        let mut add = |name, measure: fn(&Plan, usize) -> Vec<f64>| {
            let plan = plan.clone();
            rounds.add(name, index * STRIDE, move || measure(&plan, records));
        };
        add(OURS, |plan, records| replica(plan, records, 0));
        add(NEXT, |plan, records| replica(plan, records, 1));
        add(ARRAY, |plan, records| plain(plan, records, Kind::Array));
        add(LINES, |plan, records| plain(plan, records, Kind::Lines));
    }
    let all = rounds.run(plan.pick(3, 1));
    let largest = (sizes.len() - 1) * STRIDE;
    let against = |ours, plain| all.ratio((ours, largest), (plain, largest));
    let times = all.pick(
        "Time until all records can be read",
        (0..sizes.len()).map(|size| size * STRIDE),
    );
    let title = format!(
        "Memory of {} records, in bytes a record",
        sizes[sizes.len() - 1]
    );
    let memory = all.pick(title, largest + 1..largest + STRIDE);
    let fastest = match all.median(ARRAY, largest) < all.median(LINES, largest) {
        true => ARRAY,
        false => LINES,
    };
    Figure::new(
        "First load",
        format!(
            "A new process fills a `HashMap` with a table of {} to {} records of about 100 bytes. \
             HotRead: until `replica()` returns, from a server that has not touched the table \
             since it started; and from the same server for the process after that. Plain HTTP: \
             the same records with the same fields, which the server has in memory in the form \
             that it sends; the reader keeps key and value. Memory is anonymous resident memory of the \
             whole process; `at most` is the maximum.",
            sizes[0],
            sizes[sizes.len() - 1],
        ),
    )
    .goals([
        Goal::at_most(
            format!("HotRead, from a fresh server / {fastest}"),
            2.0,
            against(OURS, fastest),
        ),
        Goal::at_most(
            format!("HotRead, the next replica / {fastest}"),
            2.0,
            against(NEXT, fastest),
        ),
    ])
    .notes([
        "A fresh server reads the table from disk for its first replica. Each record is checked \
             against its hash, and the complete table against its digest; the plain download is \
             not checked. A replica has two copies of the map once the first change has arrived.",
    ])
    .tables([times, memory])
}

/// Loads a replica from a new server, after a number of other replicas.
fn replica(plan: &Plan, records: usize, others: usize) -> Vec<f64> {
    let copy = plan.scratch.copy(records);
    let mut server = Server::start(&copy.path, Synchronous::Full);
    for _ in 0..others {
        load(Kind::Replica, &server.url, records);
    }
    let (ns, reader) = load(Kind::Replica, &server.url, records);
    row(ns, [reader, server.process().status()], records)
}

fn plain(plan: &Plan, records: usize, kind: Kind) -> Vec<f64> {
    let base = plan.scratch.base(records);
    let mut server = Role::start(BODY, (base, kind));
    let url = format!("http://{}", server.hear());
    let (ns, reader) = load(kind, &url, records);
    row(ns, [reader, server.process().status()], records)
}

/// Time of a load, and the memory of reader and server per record.
fn row(ns: f64, processes: [Status; 2], records: usize) -> Vec<f64> {
    let memory = processes.map(|process| [process.anonymous, process.peak]);
    let memory = memory.as_flattened().iter();
    let each = memory.map(|bytes| bytes / records as f64);
    [ns].into_iter().chain(each).collect()
}

/// Starts a child that loads, and waits for it.
fn load(kind: Kind, url: &str, records: usize) -> (f64, Status) {
    let mut child = Role::start(LOAD, (kind, url, records));
    let [ns] = child.hear_numbers();
    (ns, child.process().status())
}

/// A replica in a process of its own; returns once it has this number of records.
pub(super) fn replica_of(url: &str, records: usize) -> Role {
    let mut child = Role::start(LOAD, (Kind::Replica, url, records));
    child.hear();
    child
}

/// Runs a child that loads: prints the duration, and stays until it is killed.
pub(super) fn main((kind, url, records): (Kind, String, usize)) -> Result<(), Failure> {
    let url = &url;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        let start = clock::now();
        match kind {
            Kind::Replica => {
                let client = hotread::client(url).await?;
                let table = data::table();
                let replica: Replica<HashMap<Arc<str>, Row>> =
                    client.replica(table.as_str()).await?;
                let found = replica.state().read(HashMap::len);
                finish(start, found, records, &replica)
            }
            Kind::Array => {
                let rows = array(url).await?;
                finish(start, rows.len(), records, &rows)
            }
            Kind::Lines => {
                let rows = lines(url).await?;
                finish(start, rows.len(), records, &rows)
            }
        }
    })
}

fn finish<T>(start: u64, found: usize, records: usize, rows: &T) -> Result<(), Failure> {
    let ns = clock::now() - start;
    if found != records {
        return Err(format!("{found} of {records} records came").into());
    }
    println!("{ns}");
    // Waits until the parent has measured the memory and closes the pipe.
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    black_box(rows);
    Ok(())
}

/// The members of a record that a reader uses.
#[derive(Deserialize)]
struct Plain {
    key: String,
    value: Row,
}

async fn array(url: &str) -> Result<HashMap<String, Row>, Failure> {
    let body = reqwest::get(url).await?.bytes().await?;
    let records: Vec<Plain> = serde_json::from_slice(&body)?;
    drop(body);
    let pairs = records.into_iter().map(|record| (record.key, record.value));
    Ok(pairs.collect())
}

async fn lines(url: &str) -> Result<HashMap<String, Row>, Failure> {
    let mut body = reqwest::get(url).await?.bytes_stream();
    let (mut rows, mut line) = (HashMap::new(), Vec::new());
    let mut add = |line: &[u8]| {
        let record: Plain = serde_json::from_slice(line)?;
        rows.insert(record.key, record.value);
        Ok::<_, Failure>(())
    };
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        let mut rest = &chunk[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if line.is_empty() {
                add(&rest[..end])?;
            } else {
                line.extend_from_slice(&rest[..end]);
                add(&line)?;
                line.clear();
            }
            rest = &rest[end + 1..];
        }
        line.extend_from_slice(rest);
    }
    Ok(rows)
}

/// Runs a child that is a plain HTTP server: builds the body, prints its address, and
/// answers each request with the body.
pub(super) fn serve_body((database, kind): (PathBuf, Kind)) -> Result<(), Failure> {
    let body = body(&database, kind)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for connection in listener.incoming() {
        let mut connection = connection?;
        let request = BufReader::new(connection.try_clone()?);
        // The request ends with an empty line; its content does not matter.
        for line in request.lines() {
            if line?.is_empty() {
                break;
            }
        }
        let length = body.len();
        write!(
            connection,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )?;
        connection.write_all(&body)?;
    }
    Ok(())
}

/// The records in the wire format.
fn body(database: &Path, kind: Kind) -> Result<Vec<u8>, Failure> {
    let store = Store::builder(database).read_only(true).open()?;
    let records = store.snapshot(&data::table())?;
    let mut body = Vec::new();
    for record in records.iter() {
        body.push(match kind {
            Kind::Array if body.is_empty() => b'[',
            Kind::Array => b',',
            _ => b'\n',
        });
        serde_json::to_writer(&mut body, record)?;
    }
    match kind {
        Kind::Array => body.push(b']'),
        // Moves the separator before the first line to the end of the last one.
        _ => body.rotate_left(1),
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[test]
    fn both_bodies_hold_all_records() {
        let folder = tempfile::tempdir().expect("the folder is writable");
        let path = folder.path().join("a.db");
        scratch::fill(&path, 3);
        let array: Vec<Plain> =
            serde_json::from_slice(&body(&path, Kind::Array).expect("it can be read"))
                .expect("an array");
        assert_eq!(array.len(), 3);
        let lines = body(&path, Kind::Lines).expect("it can be read");
        let lines = str::from_utf8(&lines).expect("text");
        assert!(lines.ends_with('\n'));
        assert_eq!(lines.lines().count(), 3);
        for (line, record) in lines.lines().zip(array) {
            let parsed: Plain = serde_json::from_str(line).expect("a record");
            assert_eq!((parsed.key, parsed.value), (record.key, record.value));
        }
    }
}
