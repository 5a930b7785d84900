//! Actors and notes of transactions: their storage, their readers, and their share in limits.

use crate::common::{self, HANG, Scratch, files, name, put};
use hotread_proto::limits::MAX_NOTE_BYTES;
use hotread_proto::{Change, Code, Position, Replace, TableName, Timestamp, Txn, TxnId};
use hotread_store::{
    Actor, History, Note, Passphrase, PutOptions, ReadError, SealError, Store, TableOptions,
    migrate,
};
use rusqlite::Connection;
use std::time::{Duration, Instant};

fn actor(text: &str) -> Actor {
    Actor::new(text).unwrap()
}

fn note(text: &str) -> Note {
    Note::new(text).unwrap()
}

/// Returns a store of the actor `job`, with a table `t` and the position of its beginning.
fn store(scratch: &Scratch, options: TableOptions) -> (Store, TableName, Position) {
    let builder = Store::builder(scratch.path()).actor(actor("job"));
    let passphrase = Passphrase::new("long enough to be one").unwrap();
    let (store, table) = (builder.passphrase(passphrase).open().unwrap(), name("t"));
    let at = match store.table_info(&table) {
        Ok(info) => Position {
            seq: 0,
            ..info.position
        },
        Err(_) => store.create_table(&table, options).unwrap().position,
    };
    (store, table, at)
}

fn sealed() -> TableOptions {
    TableOptions {
        sealed: true,
        ..TableOptions::default()
    }
}

/// Returns the actor and the note of a change.
fn said(change: &Change) -> (Option<&str>, Option<&str>) {
    let actor = change.actor.as_ref().map(Actor::as_str);
    (actor, change.note.as_ref().map(Note::as_str))
}

#[test]
fn history_and_subscribers_say_who_and_why() {
    for options in [TableOptions::default(), sealed()] {
        let scratch = Scratch::new();
        let (store, table, start) = store(&scratch, options.clone());
        let mut following = store.subscribe(&table, start).unwrap();
        let put = |n: &str| Txn::new().put(put("a", n));
        store.commit(&table, put("1")).unwrap();
        store
            .commit(&table, put("2").note(note("why „not“?")))
            .unwrap();
        let other = store.acting_as(Some(actor("api")));
        other.commit(&table, put("3")).unwrap();
        let new = |n: &str| Replace::new(vec![common::put("a", n)]).note(note("all of it"));
        other.replace(&table, new("4")).unwrap();
        let ticket = other.submit_compared(&table, new("5"), 10).unwrap();
        ticket.wait().unwrap();
        store.acting_as(None).commit(&table, put("6")).unwrap();
        let wanted = [
            (Some("job"), None),
            (Some("job"), Some("why „not“?")),
            (Some("api"), None),
            (Some("api"), Some("all of it")),
            (Some("api"), Some("all of it")),
            (None, None),
        ];
        for wanted in wanted {
            let change = following.next(HANG).unwrap().unwrap();
            assert_eq!(said(&change), wanted);
        }
        drop((following, other, store));
        let (store, table, _) = self::store(&scratch, options);
        let changes = store.changes(&table, start, 10).unwrap();
        assert_eq!(changes.iter().map(said).collect::<Vec<_>>(), wanted);
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
    }
}

#[test]
fn a_store_writes_in_the_name_of_its_program_unless_told_otherwise() {
    let scratch = Scratch::new();
    let table = name("t");
    let store = scratch.open();
    let start = store.create_table(&table, TableOptions::default()).unwrap();
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    let program = std::env::current_exe().unwrap();
    let program = program.file_stem().unwrap().to_str().unwrap();
    let changes = store.changes(&table, start.position, 10).unwrap();
    assert_eq!(said(&changes[0]), (Some(program), None));
    drop(store);

    let store = Store::builder(scratch.path()).actor(None).open().unwrap();
    assert_eq!(store.actor(), None);
    store.commit(&table, Txn::new().put(put("a", "2"))).unwrap();
    let changes = store.changes(&table, start.position, 10).unwrap();
    assert_eq!(said(&changes[1]), (None, None));
}

#[test]
fn what_expires_has_no_author() {
    let scratch = Scratch::new();
    let (store, table, start) = store(&scratch, TableOptions::default());
    let mut old = put("old", "1");
    old.expires_at = Some(Timestamp::from_millis(1).unwrap());
    let txn = Txn::new().put(old).note(note("for a moment"));
    store.commit(&table, txn).unwrap();
    let begun = Instant::now();
    while store.table_info(&table).unwrap().records > 0 {
        assert!(begun.elapsed() < HANG);
        std::thread::sleep(Duration::from_millis(5));
    }
    let changes = store.changes(&table, start, 10).unwrap();
    let wanted = [(Some("job"), Some("for a moment")), (None, None)];
    assert_eq!(changes.iter().map(said).collect::<Vec<_>>(), wanted);
}

#[test]
fn the_first_note_of_a_repeated_transaction_stays() {
    let scratch = Scratch::new();
    let (store, table, start) = store(&scratch, TableOptions::default());
    let txn = Txn::new().id(TxnId::new("once").unwrap());
    let txn = txn.put(put("a", "1"));
    let first = store.commit(&table, txn.clone().note(note("first")));
    let first = first.unwrap();
    let other = store.acting_as(Some(actor("api")));
    let again = txn.clone().note(note("second"));
    assert_eq!(other.commit(&table, again).unwrap(), first);
    assert_eq!(store.commit(&table, txn.clone()).unwrap(), first);
    let changed = txn.put(put("b", "1")).note(note("first"));
    let refused = store.commit(&table, changed).unwrap_err();
    assert_eq!(refused.code(), Code::TxnIdReused);
    let changes = store.changes(&table, start, 10).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(said(&changes[0]), (Some("job"), Some("first")));
}

#[test]
fn a_note_of_a_sealed_table_is_nowhere_in_clear() {
    const SECRET: &str = "the merger is on friday";
    let scratch = Scratch::new();
    let (store, table, start) = store(&scratch, sealed());
    let txn = Txn::new().put(put("a", "1")).note(note(SECRET));
    store.commit(&table, txn).unwrap();
    let new = Replace::new(vec![put("a", "2")]).note(note(SECRET));
    store.replace(&table, new).unwrap();
    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    // The files are copied while the store is open, in a way that keeps SQLite's locks.
    let copy = Scratch::new();
    let copied = std::process::Command::new("cp")
        .args(["-r", scratch.path().parent().unwrap().to_str().unwrap()])
        .arg(copy.file("all"))
        .status();
    assert!(copied.unwrap().success());
    let changes = store.changes(&table, start, 10).unwrap();
    assert!(changes.iter().all(|change| said(change).1 == Some(SECRET)));
    drop(store);
    let (open, closed) = (copy.file("all"), scratch.path());
    for folder in [open.as_path(), closed.parent().unwrap()] {
        for (file, bytes) in files(folder) {
            let part = SECRET.as_bytes();
            let is_there = bytes.windows(part.len()).any(|window| window == part);
            assert!(!is_there, "{file} in {}", folder.display());
        }
    }
}

#[test]
fn a_sealed_note_that_was_moved_or_damaged_does_not_open() {
    let scratch = Scratch::new();
    let (store, table, start) = store(&scratch, sealed());
    for text in ["first", "other"] {
        let txn = Txn::new().put(put("a", "1")).note(note(text));
        store.commit(&table, txn).unwrap();
    }
    drop(store);
    for damage in [
        "UPDATE changes SET note = (SELECT note FROM changes WHERE seq = 1) WHERE seq = 2",
        "UPDATE changes SET note = CAST('in clear' AS BLOB) WHERE seq = 2",
    ] {
        let db = Connection::open(scratch.path()).unwrap();
        db.execute_batch(damage).unwrap();
        drop(db);
        let (store, ..) = self::store(&scratch, sealed());
        let error = store.changes(&table, start, 10).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
        assert!(
            matches!(
                error,
                ReadError::Seal {
                    source: SealError::DamagedNote { seq: 2, .. },
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(store.verify().unwrap().problems.len(), 1);
    }
}

#[test]
fn what_cannot_be_an_actor_or_a_note_is_damage() {
    let scratch = Scratch::new();
    let (store, table, start) = store(&scratch, TableOptions::default());
    let txn = Txn::new().put(put("a", "1")).note(note("fine"));
    store.commit(&table, txn).unwrap();
    drop(store);
    for damage in [
        "actor = ''",
        "actor = CAST(x'ff' AS TEXT)",
        "actor = 'a', note = x'0a'",
        "note = x'c3'",
    ] {
        let db = Connection::open(scratch.path()).unwrap();
        db.execute_batch(&format!("UPDATE changes SET {damage}"))
            .unwrap();
        drop(db);
        let (store, ..) = self::store(&scratch, sealed());
        let error = store.changes(&table, start, 10).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt, "{damage}: {error}");
        assert_eq!(store.verify().unwrap().problems.len(), 1, "{damage}");
    }
}

/// Returns the number of changes that a history of 100,000 bytes keeps of transactions with such a note.
fn kept(options: TableOptions, transactions: u64, note: Option<&Note>) -> u64 {
    let scratch = Scratch::new();
    let history = History {
        max_bytes: 100_000,
        ..History::default()
    };
    let (store, table, _) = store(&scratch, TableOptions { history, ..options });
    let tickets: Vec<_> = (0..transactions)
        .map(|_| {
            let mut txn = Txn::new().put(put("a", "1"));
            txn.note = note.cloned();
            store.submit(&table, txn).unwrap()
        })
        .collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let info = store.table_info(&table).unwrap();
    info.position.seq + 1 - info.floor
}

#[test]
fn notes_count_in_the_size_of_the_history() {
    let long = note(&"n".repeat(MAX_NOTE_BYTES));
    for options in [TableOptions::default(), sealed()] {
        assert_eq!(kept(options.clone(), 400, None), 400);
        let kept = kept(options, 400, Some(&long));
        // Each change takes at least 550 bytes; an excess of a sixteenth is tolerated.
        assert!((150..200).contains(&kept), "{kept}");
    }
}

#[test]
fn below_version_10_actors_and_notes_are_lost() {
    let scratch = Scratch::new();
    let (store, table, start) = store(&scratch, TableOptions::default());
    let txn = Txn::new().put(put("a", "1"));
    store.commit(&table, txn.clone().note(note("why"))).unwrap();
    store.acting_as(None).commit(&table, txn).unwrap();
    let before = store.changes(&table, start, 10).unwrap();
    drop(store);
    let sizes = || -> (i64, i64, i64) {
        let db = Connection::open(scratch.path()).unwrap();
        let sql = "SELECT history_bytes, (SELECT sum(bytes) FROM changes),
                          (SELECT sum(length(ops)) FROM changes) FROM tables";
        let row = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        row.unwrap()
    };
    let (history, changes, ops) = sizes();
    assert_eq!((history, changes), (changes, ops + 6), "`job` and `why`");
    migrate::down(scratch.path(), 9).unwrap();
    assert_eq!(sizes(), (ops, ops, ops));
    migrate::up(scratch.path()).unwrap();
    let (store, ..) = self::store(&scratch, TableOptions::default());
    let after = store.changes(&table, start, 10).unwrap();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.digest, after.digest);
        assert_eq!(said(after), (None, None));
    }
    assert_eq!(after.len(), 2);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn typed_tables_say_who_and_why() {
    let scratch = Scratch::new();
    let (store, _, _) = store(&scratch, TableOptions::default());
    let ours = store.table::<u32>("t").unwrap();
    let start = Position {
        seq: 0,
        ..ours.position()
    };
    // Both handles share one state, and each has an actor.
    let other = store.acting_as(Some(actor("api")));
    let theirs = other.table::<u32>("t").unwrap();
    ours.put("a", &1).unwrap();
    let options = PutOptions::new().note("because");
    theirs.put_with("a", &2, options).unwrap();
    let txn = ours.txn().put("a", &3).unwrap().note("twice").unwrap();
    txn.note("the last counts").unwrap().commit().unwrap();
    theirs.clone().delete("a").unwrap();
    let wanted = [
        (Some("job"), None),
        (Some("api"), Some("because")),
        (Some("job"), Some("the last counts")),
        (Some("api"), None),
    ];
    let changes = ours.changes(start, 10).unwrap();
    assert_eq!(changes.iter().map(said).collect::<Vec<_>>(), wanted);
    for text in ["", "a\nb", &"n".repeat(MAX_NOTE_BYTES + 1)] {
        assert!(ours.txn().note(text).is_err(), "{text:?}");
        let options = PutOptions::new().note(text);
        assert!(ours.put_with("a", &4, options).is_err(), "{text:?}");
    }
    assert_eq!(ours.get("a").unwrap(), None);
}
