//! The interface for tasks, which must not block: answers, changes and positions. The tests use no
//! runtime, and make wakers themselves.

use crate::common::{Flag, HANG, Numbers, Scratch, block_on, key, name, put};
use hotread_proto::{Code, Position, Replace, TableName, Txn};
use hotread_store::{
    CommitError, History, Passphrase, ReadError, Recent, Replaced, Store, Subscription,
    Synchronous, TableOptions,
};
use rusqlite::Connection;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

fn with_table(scratch: &Scratch) -> (Store, TableName) {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let (store, table) = (builder.open().unwrap(), name("t"));
    store.create_table(&table, TableOptions::default()).unwrap();
    (store, table)
}

fn txn(n: u64) -> Txn {
    Txn::new().put(put(&(n % 50).to_string(), &n.to_string()))
}

fn subscribe(store: &Store, table: &TableName) -> Subscription {
    let head = store.head(table).unwrap();
    store.subscribe(table, head.position).unwrap()
}

fn poll_once(following: &mut Subscription, waker: &Waker) -> Poll<Result<Recent, ReadError>> {
    following.poll_next(&mut Context::from_waker(waker))
}

/// Returns the sequence number of the next change, read from disk if necessary.
async fn next(following: &mut Subscription, behind: &mut u64) -> Result<u64, ReadError> {
    match poll_fn(|cx| following.poll_next(cx)).await? {
        Recent::Change(change) => Ok(change.position.seq),
        Recent::Behind => {
            *behind += 1;
            let change = following.next(Duration::ZERO)?;
            Ok(change.expect("it has been committed").position.seq)
        }
    }
}

#[test]
fn tasks_follow_a_table_while_threads_write_it_and_miss_nothing() {
    const LAST: u64 = 8_000;
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    std::thread::scope(|scope| {
        for slowness in [0, 0, 3] {
            let mut following = subscribe(&store, &table);
            scope.spawn(move || {
                let (mut numbers, mut behind) = (Numbers(slowness), 0);
                for seq in 1..=LAST {
                    assert_eq!(block_on(next(&mut following, &mut behind)), Ok(seq));
                    if numbers.below(200) < slowness {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                assert_eq!(following.position().seq, LAST);
                assert!(poll_once(&mut following, Waker::noop()).is_pending());
                println!("fell behind {behind} times");
            });
        }
        for writer in 0..2 {
            let (store, table) = (&store, &table);
            scope.spawn(move || {
                for n in 0..LAST / 2 {
                    let ticket = store.submit(table, txn(n)).unwrap();
                    // Pauses now and then, so that tasks fall asleep in between.
                    if n % (20 + writer) == 0 {
                        block_on(ticket).unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn a_task_that_fell_behind_goes_on_from_disk() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let mut following = subscribe(&store, &table);
    // More than is kept in memory.
    const LAST: u64 = 1_500;
    for n in 0..LAST {
        store.submit(&table, txn(n)).unwrap();
    }
    store.commit(&table, txn(LAST)).unwrap();
    for _ in 0..3 {
        let polled = poll_once(&mut following, Waker::noop());
        assert!(matches!(polled, Poll::Ready(Ok(Recent::Behind))));
        assert_eq!(following.position().seq, 0);
    }
    let mut behind = 0;
    for seq in 1..=LAST + 1 {
        assert_eq!(block_on(next(&mut following, &mut behind)), Ok(seq));
    }
    assert_eq!(behind, 1);
    assert!(poll_once(&mut following, Waker::noop()).is_pending());
}

#[test]
fn a_task_that_fell_behind_the_history_is_told_when_it_reads_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    let history = History {
        max_changes: 10,
        ..History::default()
    };
    let options = TableOptions {
        history,
        ..TableOptions::default()
    };
    store.create_table(&table, options).unwrap();
    let mut following = subscribe(&store, &table);
    for n in 0..1_200 {
        store.submit(&table, txn(n)).unwrap();
    }
    store.commit(&table, txn(0)).unwrap();
    let polled = poll_once(&mut following, Waker::noop());
    assert!(matches!(polled, Poll::Ready(Ok(Recent::Behind))));
    let error = following.next(Duration::ZERO).unwrap_err();
    assert_eq!(error.code(), Code::Gone);
}

#[test]
fn waiting_tasks_are_woken_by_a_change_and_by_the_end() {
    let scratch = Scratch::new();
    let passphrase = || Passphrase::new("p").unwrap();
    let builder = Store::builder(scratch.path())
        .passphrase(passphrase())
        .quick_keys();
    let store = builder.open().unwrap();
    let tables = ["changed", "sealed", "dropped", "closed"].map(name);
    for table in &tables {
        let options = TableOptions {
            sealed: table.as_str() == "sealed",
            ..TableOptions::default()
        };
        store.create_table(table, options).unwrap();
    }
    let mut following = tables.each_ref().map(|table| subscribe(&store, table));
    let flags = tables.each_ref().map(|_| Flag::new());
    let wakers = flags.each_ref().map(|flag| Waker::from(flag.clone()));
    for (following, waker) in following.iter_mut().zip(&wakers) {
        assert!(poll_once(following, waker).is_pending());
    }
    let woken = || flags.each_ref().map(|flag| flag.was_woken());
    let unknown = |at: usize| ReadError::UnknownTable {
        table: tables[at].clone(),
    };

    // When a commit returns, the waiting tasks have been woken.
    store.commit(&tables[0], txn(1)).unwrap();
    assert_eq!(woken(), [true, false, false, false]);
    let polled = poll_once(&mut following[0], &wakers[0]);
    assert!(matches!(polled, Poll::Ready(Ok(Recent::Change(_)))));
    // The task has not asked to be woken again.
    store.commit(&tables[0], txn(2)).unwrap();
    assert_eq!(woken(), [false; 4]);

    store.rekey(&tables[1], &passphrase()).unwrap();
    assert_eq!(woken(), [false, true, false, false]);
    let polled = poll_once(&mut following[1], &wakers[1]);
    assert!(matches!(polled, Poll::Ready(Err(e)) if e == unknown(1)));

    store.drop_table(&tables[2]).unwrap();
    assert_eq!(woken(), [false, false, true, false]);
    let polled = poll_once(&mut following[2], &wakers[2]);
    assert!(matches!(polled, Poll::Ready(Err(e)) if e == unknown(2)));

    drop(store);
    assert_eq!(woken(), [false, false, false, true]);
    let polled = poll_once(&mut following[3], &wakers[3]);
    assert!(matches!(polled, Poll::Ready(Err(ReadError::Closed))));
    // Pending changes come before the end.
    let polled = poll_once(&mut following[0], &wakers[0]);
    assert!(matches!(polled, Poll::Ready(Ok(Recent::Change(_)))));
    let polled = poll_once(&mut following[0], &wakers[0]);
    assert!(matches!(polled, Poll::Ready(Err(ReadError::Closed))));
}

#[test]
fn wakers_are_let_go_of() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let flag = Flag::new();
    let mut following = subscribe(&store, &table);
    for _ in 0..100 {
        let waker = Waker::from(flag.clone());
        assert!(poll_once(&mut following, &waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&flag), 2, "one of them is kept");
    drop(following);
    assert_eq!(Arc::strong_count(&flag), 1);

    // The committer waits, and the tickets with it.
    let other = Connection::open(scratch.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut tickets = [0, 1].map(|n| store.submit(&table, txn(n)).unwrap());
    for ticket in &mut tickets {
        let waker = Waker::from(flag.clone());
        let polled = Pin::new(ticket).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    let [dropped, kept] = tickets;
    drop(dropped);
    other.execute_batch("ROLLBACK").unwrap();
    kept.wait().unwrap();
    // Both are committed: dropping a ticket does not cancel the transaction.
    assert_eq!(store.head(&table).unwrap().position.seq, 2);
    assert!(flag.was_woken());
    drop(store);
    assert_eq!(Arc::strong_count(&flag), 1);
}

/// Wakers are user code, and may panic.
#[test]
fn a_waker_that_panics_stops_no_other_task() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker's panic");
        }
    }

    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let bomb = Waker::from(Arc::new(Bomb));
    let flag = Flag::new();
    let mut following: Vec<_> = (0..8).map(|_| subscribe(&store, &table)).collect();
    for (at, following) in following.iter_mut().enumerate() {
        let waker = match at {
            7 => &Waker::from(flag.clone()),
            _ => &bomb,
        };
        assert!(poll_once(following, waker).is_pending());
    }
    let mut ticket = store.submit(&table, txn(1)).unwrap();
    let _ = Pin::new(&mut ticket).poll(&mut Context::from_waker(&bomb));
    ticket.wait().unwrap();
    assert!(flag.was_woken());
    for following in &mut following {
        let polled = poll_once(following, &bomb);
        assert!(matches!(polled, Poll::Ready(Ok(Recent::Change(_)))));
    }
    store.commit(&table, txn(2)).unwrap();
}

#[test]
fn tickets_are_awaited_or_waited_for() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let records =
        |n: u64| Replace::new((0..n).map(|n| put(&n.to_string(), "1")).collect()).unguarded();
    block_on(async {
        let committed = store.submit(&table, txn(1)).unwrap().await.unwrap();
        assert_eq!(committed.position.seq, 1);
        let refused = Txn::new().put(put("a", "1")).if_seq(key("a"), 9);
        let refused = store.try_submit(&table, refused).unwrap().await;
        assert_eq!(refused.unwrap_err().code(), Code::PreconditionFailed);
        let replaced = store.submit_replace(&table, records(3)).unwrap().await;
        let Replaced {
            committed,
            written,
            deleted,
            ..
        } = replaced.unwrap();
        // One of the records existed before.
        assert_eq!((committed.position.seq, written, deleted), (2, 2, 0));
    });
    let replaced = store.submit_replace(&table, records(1)).unwrap().wait();
    assert_eq!(replaced.unwrap().deleted, 2);

    // However late, and a second time.
    let mut ticket = store.submit(&table, txn(1)).unwrap();
    store.commit(&table, txn(2)).unwrap();
    for _ in 0..2 {
        let polled = Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(committed)) = polled else {
            panic!("{polled:?}");
        };
        assert_eq!(committed.position.seq, 4);
    }
    assert_eq!(ticket.wait().unwrap().position.seq, 4);
}

#[test]
fn of_several_polls_of_a_ticket_the_last_ones_waker_is_woken() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let other = Connection::open(scratch.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut ticket = store.submit(&table, txn(1)).unwrap();
    let flags = [(); 3].map(|()| Flag::new());
    for flag in &flags {
        let waker = Waker::from(flag.clone());
        let polled = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    other.execute_batch("ROLLBACK").unwrap();
    // Answered after the first one.
    store.commit(&table, txn(2)).unwrap();
    block_on(ticket).unwrap();
    let woken = flags.each_ref().map(|flag| flag.was_woken());
    assert_eq!(woken, [false, false, true]);
}

/// `submit` would wait ten seconds for room each time.
#[test]
fn without_room_a_task_is_told_at_once() {
    let scratch = Scratch::new();
    let (store, table) = with_table(&scratch);
    let other = Connection::open(scratch.path()).unwrap();
    other.busy_timeout(HANG).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut tickets = Vec::new();
    let (mut busy, mut waited) = (0, Duration::ZERO);
    while busy < 40 {
        let begun = Instant::now();
        let replace = Replace::new(Vec::new()).unguarded();
        let answer = match busy % 2 {
            0 => store.try_submit(&table, txn(1)).map(|t| tickets.push(t)),
            _ => store.submit_replace(&table, replace).map(drop),
        };
        match answer {
            Ok(()) => assert!(tickets.len() < 20_000, "there is no end to the room"),
            Err(CommitError::Busy { waiting }) => {
                assert!(waiting >= 1_024);
                waited += begun.elapsed();
                busy += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        waited < Duration::from_secs(200),
        "{waited:?} for 40 refusals"
    );
    other.execute_batch("ROLLBACK").unwrap();
    drop(store);
    for ticket in tickets {
        // Submitted transactions are answered; some fail if the lock was held for too long.
        let answer = block_on(ticket);
        assert!(matches!(answer, Ok(_) | Err(CommitError::Storage(_))));
    }
}

#[test]
fn head_and_floor_are_those_on_disk() {
    let scratch = Scratch::new();
    let table = name("t");
    let history = History {
        max_changes: 7,
        ..History::default()
    };
    let options = TableOptions {
        history,
        ..TableOptions::default()
    };
    let agree = |store: &Store| {
        let (floor, head) = (store.floor(&table).unwrap(), store.head(&table).unwrap());
        let info = store.table_info(&table).unwrap();
        assert_eq!((floor, head.position), (info.floor, info.position));
        assert_eq!((head.digest, head.records), (info.digest, info.records));
        assert_eq!(head.at, info.updated_at);
    };
    {
        let store = scratch.open();
        store.create_table(&table, options).unwrap();
        agree(&store);
        for n in 0..40 {
            store.commit(&table, txn(n)).unwrap();
            agree(&store);
        }
    }
    let store = scratch.open();
    agree(&store);
    assert!(store.floor(&table).unwrap() > 30);
    let nowhere = name("nowhere");
    assert_eq!(store.head(&nowhere).unwrap_err().code(), Code::UnknownTable);
    assert_eq!(
        store.floor(&nowhere).unwrap_err().code(),
        Code::UnknownTable
    );
    let reader = Store::builder(scratch.path()).read_only(true);
    let reader = reader.open().unwrap();
    assert_eq!(reader.head(&table).unwrap_err(), ReadError::NotTold);
    assert_eq!(reader.floor(&table).unwrap_err(), ReadError::NotTold);
    store.drop_table(&table).unwrap();
    assert_eq!(store.head(&table).unwrap_err().code(), Code::UnknownTable);
    // The next table of that name is another table.
    store.create_table(&table, TableOptions::default()).unwrap();
    agree(&store);
}

#[test]
fn the_head_has_what_was_acknowledged_and_the_floor_is_not_beyond_it() {
    let scratch = Scratch::new();
    let store = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let (store, table) = (store.open().unwrap(), name("t"));
    let history = History {
        max_changes: 0,
        ..History::default()
    };
    let options = TableOptions {
        history,
        ..TableOptions::default()
    };
    store.create_table(&table, options).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (store, table) = (&store, &table);
            scope.spawn(move || {
                let mut last = 0;
                for n in 0..500 {
                    let Position { seq, .. } = store.commit(table, txn(n)).unwrap().position;
                    let (floor, head) = (store.floor(table).unwrap(), store.head(table).unwrap());
                    assert!(head.position.seq >= seq.max(last));
                    assert!(floor <= head.position.seq + 1);
                    last = head.position.seq;
                }
            });
        }
    });
}
