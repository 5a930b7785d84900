//! The cost of a replica's read, compared with a read of a `HotRead` without a server: the same
//! map in the same process, filled by the same inserts. And the same look-up by an HTTP call, for
//! contrast.

use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use hotread::{HotRead, HotReadHandle, MapUpdate};
use hotread_client::{Client, Replica};
use hotread_store::Synchronous;
use tokio::runtime::Runtime;

use super::hotread::{self as ours, Server};
use super::row::Row;
use super::{OURS, clock};
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};
use crate::store::data;
use crate::store::scratch::Plan;
use crate::timing::ns_per_call;

type Rows = HashMap<Arc<str>, Row>;

const LOCAL: &str = "HotRead, local";
const CALL: &str = "an HTTP call";
const COLUMNS: [(&str, Unit); 2] = [("current()", Unit::Ns), ("look-up", Unit::Ns)];
/// Look-ups in one run of the measured loop.
const CALLS: usize = 100_000;

pub(super) fn run(plan: &Plan) -> Figure {
    let records = plan.pick(100_000, 1_000);
    let setup = Rc::new(Setup::new(plan, records));
    let samples = plan.pick(21, 3);
    let mut rounds = Rounds::new("A read", COLUMNS);
    let mut add = |name, create: fn(&Setup) -> HotReadHandle<Rows>| {
        let setup = Rc::clone(&setup);
        rounds.add(name, 0, move || setup.reads(create(&setup), samples));
    };
    add(OURS, |setup| setup.replica.create_handle());
    add(LOCAL, |setup| setup.local.create_handle());
    let calls = plan.pick(2_000, 100);
    let same = Rc::clone(&setup);
    rounds.add(CALL, 1, move || vec![same.call(calls)]);
    let all = rounds.run(plan.pick(9, 2));
    let than_local = |column| all.ratio((OURS, column), (LOCAL, column));
    Figure::new(
        "A read of a replica",
        format!(
            "A handle of a replica of {records} records, and a handle of a `HotRead` of the same \
             map in the same process: `current()` alone, and with a look-up of a random key. The \
             replica's session is up, and quiet. The HTTP call gets a record through the client, \
             one after another on one connection."
        ),
    )
    .goals([
        Goal::at_most("current(): replica / local", 1.1, than_local(0)),
        Goal::at_most("look-up: replica / local", 1.1, than_local(1)),
    ])
    .notes([format!(
        "An HTTP call takes {} times as long as a look-up in the replica.",
        Unit::Count.format(all.ratio((CALL, 1), (OURS, 1)))
    )])
    .tables([all])
}

struct Setup {
    runtime: Runtime,
    client: Client,
    replica: Replica<Rows>,
    local: HotRead<Rows>,
    /// Keys to look up.
    keys: Vec<Arc<str>>,
    _server: Server,
}

impl Setup {
    fn new(plan: &Plan, records: usize) -> Self {
        let copy = plan.scratch.copy(records);
        let server = Server::start(&copy.path, Synchronous::Full);
        // The session runs next to the reader, as in a service.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the system has a thread to give");
        let (client, replica) = runtime.block_on(async {
            let client = ours::client(&server.url)
                .await
                .expect("an address of a server");
            let replica = client.replica::<Rows>(data::table().as_str()).await;
            (client, replica.expect("the server has the table"))
        });
        let mut rows: Vec<(Arc<str>, Row)> = replica.state().read(|rows| {
            rows.iter()
                .map(|(key, row)| (Arc::clone(key), row.clone()))
                .collect()
        });
        // In the order in which the replica received them.
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut rng = fastrand::Rng::with_seed(9);
        let keys = (0..CALLS)
            .map(|_| Arc::clone(&rows[rng.usize(..rows.len())].0))
            .collect();
        let local = HotRead::new(Rows::new());
        // Keys of its own, like the replica.
        let inserts = rows
            .into_iter()
            .map(|(key, row)| MapUpdate::Insert(Arc::from(&*key), row));
        local.queue_updates(inserts);
        Self {
            runtime,
            client,
            replica,
            local,
            keys,
            _server: server,
        }
    }

    /// Nanoseconds of `current()`, and of a look-up.
    fn reads(&self, mut handle: HotReadHandle<Rows>, samples: usize) -> Vec<f64> {
        let current = ns_per_call(samples, CALLS, || {
            for _ in 0..CALLS {
                black_box(handle.current());
            }
        });
        let look_up = ns_per_call(samples, CALLS, || {
            for key in &self.keys {
                black_box(handle.current().get(&**key));
            }
        });
        vec![current, look_up]
    }

    /// Nanoseconds of a look-up by an HTTP call.
    fn call(&self, calls: usize) -> f64 {
        let table = data::table();
        self.runtime.block_on(async {
            let start = clock::now();
            for key in &self.keys[..calls] {
                let record = self.client.get(table.as_str(), key).await;
                assert!(
                    record.is_ok_and(|record| record.is_some()),
                    "the record is there"
                );
            }
            (clock::now() - start) as f64 / calls as f64
        })
    }
}
