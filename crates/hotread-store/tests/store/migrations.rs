//! Versions of the schema: databases of each version, and the migrations up and down.

use crate::common::{HANG, Mounted, Scratch, category, files, key, name, put};
use hotread_proto::{Change, Code, Hasher, Position, Timestamp, Txn, TxnId};
use hotread_store::migrate::{self, MigrateError};
use hotread_store::{
    OpenError, Passphrase, ReadError, Role, Search, Store, TableOptions, TokenError, TokenInfo,
};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn fixture(version: i32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}.db"))
}

/// Copies a database that an older version left.
fn copy(version: i32, scratch: &Scratch) {
    std::fs::copy(fixture(version), scratch.path()).unwrap();
}

fn open(path: &Path) -> Store {
    let builder = Store::builder(path).passphrase(Passphrase::new("fixture").unwrap());
    builder.open().unwrap()
}

fn searched() -> TableOptions {
    TableOptions {
        search: true,
        ..TableOptions::default()
    }
}

/// Secrets of the fixtures' tokens: of an admin, and of one that may read the table `flags`.
const SECRETS: [&str; 2] = [
    "hr_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "hr_202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
];

/// Returns the tokens that have these secrets, and the number of all tokens.
fn tokens(store: &Store) -> ([Option<TokenInfo>; 2], usize) {
    let found = SECRETS.map(|secret| store.authenticate(secret).map(|info| (*info).clone()));
    (found, store.tokens().unwrap().len())
}

/// Writes the missing fixtures. They have the tables `flags`, `words` (searchable) and `secret`
/// (sealed), with two transactions each, and two tokens; each migration down writes the next fixture.
///
/// `cargo test -p hotread-store --test store migrations -- --ignored`
#[test]
#[ignore = "writes fixtures, and those that there are stay as they are"]
fn write_the_fixtures() {
    let scratch = Scratch::new();
    let store = open(&scratch.path());
    let sealed = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    for (table, options) in [
        ("flags", TableOptions::default()),
        ("words", searched()),
        ("secret", sealed),
    ] {
        let table = name(table);
        store.create_table(&table, options).unwrap();
        let mut filed = put("b", r#"{"name": "Zürich airport", "on": [1, 2.50]}"#);
        filed.category = category("airports");
        filed.expires_at = Some(Timestamp::MAX);
        let txn = Txn::new()
            .id(TxnId::new("first").unwrap())
            .put(put("a", "true"))
            .put(filed)
            .put(put("c", "1"));
        store.commit(&table, txn).unwrap();
        let txn = Txn::new().put(put("a", "\"again\"")).delete(key("c"));
        store.commit(&table, txn).unwrap();
    }
    let admin = store.create_token("ops", Role::Admin, None).unwrap();
    let tables = Some(vec![name("flags")]);
    let reader = store.create_token("api-7", Role::Read, tables).unwrap();
    drop(store);
    // Secrets are random, but those of the fixtures must be known.
    let db = Connection::open(scratch.path()).unwrap();
    for (token, secret) in [admin, reader].iter().zip(SECRETS) {
        let hash = Sha256::digest(secret).to_vec();
        let sql = "UPDATE tokens SET hash = ?2 WHERE id = ?1";
        db.execute(sql, params![token.info.id, hash]).unwrap();
    }
    drop(db);
    for version in (1..=migrate::LATEST).rev() {
        if version < migrate::LATEST {
            migrate::down(scratch.path(), version).unwrap();
        }
        Connection::open(scratch.path())
            .unwrap()
            .execute_batch("VACUUM")
            .unwrap();
        if !fixture(version).exists() {
            std::fs::copy(scratch.path(), fixture(version)).unwrap();
        }
    }
}

/// Checks the content of each table of the fixtures, as far as a database that was at `version` keeps
/// it.
fn check(store: &Store, version: i32) {
    // Deriving keys takes time, so some calls open the store without the passphrase.
    let opened = !matches!(
        store.get(&name("secret"), &key("a")),
        Err(ReadError::Seal { .. })
    );
    let names: Vec<_> = store
        .tables()
        .unwrap()
        .into_iter()
        .map(|info| info.name.to_string())
        .collect();
    assert_eq!(names, ["flags", "secret", "words"]);
    for table in &names {
        let table = name(table);
        let info = store.table_info(&table).unwrap();
        assert_eq!((info.position.seq, info.records, info.floor), (2, 2, 1));
        assert_eq!(info.options.sealed, table.as_str() == "secret");
        assert_eq!(
            info.options.search,
            version >= 3 && table.as_str() == "words"
        );
        if info.options.sealed && !opened {
            continue;
        }
        let a = store.get(&table, &key("a")).unwrap().unwrap();
        assert_eq!((a.value(), a.seq()), (&b"\"again\""[..], 2));
        let b = store.get(&table, &key("b")).unwrap().unwrap();
        let value = r#"{"name":"Zürich airport","on":[1,2.50]}"#;
        assert_eq!((b.value(), b.seq()), (value.as_bytes(), 1));
        if version >= 2 {
            assert_eq!(
                (b.category(), b.expires_at()),
                ("airports", Some(Timestamp::MAX))
            );
        } else {
            assert_eq!((b.category(), b.expires_at()), ("general", None));
        }
        let start = Position {
            seq: 0,
            ..info.position
        };
        let changes = store.changes(&table, start, 10).unwrap();
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[1].digest, info.digest);
        let live = store.live(&table).unwrap().snapshot();
        assert_eq!((live.len(), live.digest()), (2, info.digest));
        let search = Search {
            query: "zurich".into(),
            ..Search::default()
        };
        match store.search(&table, &search) {
            Ok(page) => assert_eq!((page.records.len(), info.options.search), (1, true)),
            Err(ReadError::NoSearch { .. }) => assert!(!info.options.search),
            Err(other) => panic!("{other}"),
        }
        if !store.is_read_only() {
            let again = Txn::new()
                .id(TxnId::new("first").unwrap())
                .put(put("other", "1"));
            let refused = store.commit(&table, again).unwrap_err();
            assert_eq!(refused.code(), Code::TxnIdReused);
        }
    }
    let infos = store.tokens().unwrap();
    if version >= 4 {
        // The oldest comes first, unless both were created in the same millisecond.
        let called = |name| infos.iter().find(|info| info.name == name).unwrap();
        let (ops, api) = (called("ops"), called("api-7"));
        assert_eq!((ops.role, api.role), (Role::Admin, Role::Read));
        assert_eq!(
            (&ops.tables, &api.tables),
            (&None, &Some(vec![name("flags")]))
        );
        if !store.is_read_only() {
            let found = [Some(ops.clone()), Some(api.clone())];
            assert_eq!(tokens(store), (found, 2));
        }
    } else {
        assert_eq!(infos, []);
        assert_eq!(tokens(store), ([None, None], 0));
    }
    let report = store.verify().unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(report.tables.iter().all(|table| table.checked || !opened));
}

#[test]
fn each_version_has_a_step_and_a_fixture() {
    let versions: Vec<_> = migrate::ALL.iter().map(|step| step.version).collect();
    assert_eq!(versions, (1..=migrate::LATEST).collect::<Vec<_>>());
    for step in migrate::ALL {
        assert!(!step.title.is_empty() && !step.loses.is_empty());
        let before = std::fs::read(fixture(step.version)).unwrap();
        let status = migrate::status(fixture(step.version)).unwrap();
        assert_eq!(status.version, step.version);
        assert!(std::fs::read(fixture(step.version)).unwrap() == before);
    }
    let present = files(fixture(1).parent().unwrap());
    assert_eq!(present.len(), versions.len(), "{:?}", present.keys());
}

#[test]
fn databases_of_all_versions_are_opened_and_have_their_data() {
    for version in 1..=migrate::LATEST {
        for by_itself in [true, false] {
            let scratch = Scratch::new();
            copy(version, &scratch);
            if !by_itself {
                assert_eq!(
                    migrate::up(scratch.path()).unwrap().version,
                    migrate::LATEST
                );
            }
            let store = if by_itself {
                open(&scratch.path())
            } else {
                Store::open(scratch.path()).unwrap()
            };
            check(&store, version);
            let infos = store.tables().unwrap();
            drop(store);
            assert_eq!(
                migrate::status(scratch.path()).unwrap().version,
                migrate::LATEST
            );
            // Commits succeed, and migrating to the same version again changes nothing.
            let before = std::fs::read(scratch.path()).unwrap();
            migrate::up(scratch.path()).unwrap();
            assert!(std::fs::read(scratch.path()).unwrap() == before);
            let store = Store::open(scratch.path()).unwrap();
            assert_eq!(store.tables().unwrap(), infos);
            for info in infos.into_iter().filter(|info| !info.options.sealed) {
                let mut new = put("new", "1");
                new.category = category("new");
                store.commit(&info.name, Txn::new().put(new)).unwrap();
                let live = store.live(&info.name).unwrap();
                assert_eq!(live.snapshot().len(), 3);
            }
            assert_eq!(store.verify().unwrap().problems, [""; 0]);
        }
    }
}

#[test]
fn down_and_up_again_loses_what_it_says_and_nothing_else() {
    for to in 1..migrate::LATEST {
        let scratch = Scratch::new();
        copy(migrate::LATEST, &scratch);
        // A database that was migrated down equals one of the older version.
        assert_eq!(migrate::down(scratch.path(), to).unwrap().version, to);
        assert_eq!(migrate::status(scratch.path()).unwrap().version, to);
        let schema = |path: &Path| -> Vec<String> {
            let db = Connection::open(path).unwrap();
            let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
            let mut statement = db.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        let old = Scratch::new();
        copy(to, &old);
        assert_eq!(schema(&scratch.path()), schema(&old.path()));

        let store = open(&scratch.path());
        check(&store, to);
        assert_eq!(store.has_tokens(), to >= 4);
        if to < 4 {
            // Therefore the next token is again the first.
            let refused = store.create_token("api-7", Role::Read, None);
            assert_eq!(refused.unwrap_err(), TokenError::FirstNotAdmin);
            store.create_token("ops", Role::Admin, None).unwrap();
        }
        let ends = store.create_expiring_token("short", Role::Read, None, Timestamp::MAX);
        let ends = ends.unwrap();
        // A searchable table can be created again.
        let words = name("words");
        store.drop_table(&words).unwrap();
        store.create_table(&words, searched()).unwrap();
        store
            .commit(&words, Txn::new().put(put("k", "\"found again\"")))
            .unwrap();
        let search = Search {
            query: "again".into(),
            ..Search::default()
        };
        assert_eq!(store.search(&words, &search).unwrap().records.len(), 1);
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
        let flags = store.live(&name("flags")).unwrap().snapshot();
        assert!(flags.verify(&Hasher::PLAIN));
        drop(store);
        // Migrates down with a searchable table that was created in the meantime.
        migrate::down(scratch.path(), to).unwrap();
        let store = Store::open(scratch.path()).unwrap();
        assert_eq!(store.table_info(&words).unwrap().options.search, to >= 3);
        // Without its expiry, an expiring token would be valid for good.
        let tokens = match to {
            ..4 => 0,
            4 => 2,
            _ => 3,
        };
        assert_eq!(store.tokens().unwrap().len(), tokens);
        assert_eq!(store.authenticate(&ends.secret).is_some(), to >= 5);
        assert_eq!(store.table_info(&words).unwrap().records, 1);
    }
}

/// Creates a table `t` with a deletion and an expiry; returns its history.
fn with_an_expiry(store: &Store) -> Vec<Change> {
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let start = store.table_info(&table).unwrap().position;
    let mut old = put("old", "1");
    old.expires_at = Some(Timestamp::from_millis(1).unwrap());
    let txn = Txn::new().put(old).put(put("a", "1"));
    store.commit(&table, txn).unwrap();
    let begun = Instant::now();
    while store.table_info(&table).unwrap().records > 1 {
        assert!(begun.elapsed() < HANG);
        std::thread::sleep(Duration::from_millis(5));
    }
    let txn = Txn::new().put(put("b", "1")).delete(key("a"));
    store.commit(&table, txn).unwrap();
    store.changes(&table, start, 10).unwrap()
}

#[test]
fn below_version_6_what_expired_looks_deleted() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.path()).unwrap();
    let changes = with_an_expiry(&store);
    let of = |changes: &[Change]| serde_json::to_string(&changes[1].ops).unwrap();
    assert_eq!(
        of(&changes),
        r#"[{"delete":{"key":"old","cause":"expired"}}]"#
    );
    drop(store);
    migrate::down(scratch.path(), 5).unwrap();
    migrate::up(scratch.path()).unwrap();
    let store = Store::open(scratch.path()).unwrap();
    let start = Position {
        seq: 0,
        ..changes[0].position
    };
    let after = store.changes(&name("t"), start, 10).unwrap();
    assert_eq!(of(&after), r#"[{"delete":{"key":"old"}}]"#);
    for (before, after) in changes.iter().zip(&after) {
        assert_eq!(before.digest, after.digest);
        assert_eq!(before.ops.len(), after.ops.len());
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn there_is_no_way_to_unknown_versions() {
    for version in 1..=migrate::LATEST {
        let scratch = Scratch::new();
        copy(version, &scratch);
        let before = std::fs::read(scratch.path()).unwrap();
        for to in [
            -1,
            0,
            version,
            version + 1,
            migrate::LATEST,
            i32::MAX,
            i32::MIN,
        ] {
            let error = migrate::down(scratch.path(), to).unwrap_err();
            assert!(
                matches!(error, MigrateError::NoSuchVersion { from, to: asked } if (from, asked) == (version, to)),
                "{error}"
            );
            assert_eq!(error.code(), Code::BadRequest);
            assert!(!error.to_string().contains("from 1 to 0"), "{error}");
        }
        assert!(std::fs::read(scratch.path()).unwrap() == before);
    }
    let nowhere = Scratch::new().path();
    assert_eq!(migrate::up(&nowhere).unwrap_err().code(), Code::NoSuchFile);
}

#[test]
fn an_older_database_is_not_read_without_being_migrated() {
    for version in 1..migrate::LATEST {
        let scratch = Scratch::new();
        copy(version, &scratch);
        let before = files(scratch.path().parent().unwrap());
        let error = Store::builder(scratch.path())
            .read_only(true)
            .open()
            .unwrap_err();
        assert!(
            matches!(error, OpenError::OlderSchema { found, known, .. } if (found, known) == (version, migrate::LATEST)),
            "{error}"
        );
        assert_eq!(error.code(), Code::OlderSchema);
        assert!(error.to_string().contains("open it for writing once"));
        assert!(files(scratch.path().parent().unwrap()) == before);
    }
}

/// Returns the content of all tables of a database, independent of its pages.
fn dump(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut statement = db.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    let names: Vec<String> = names.collect::<Result<_, _>>().unwrap();
    let version: i32 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    let mut dump = vec![version.to_string()];
    for table in names {
        if table.starts_with("search_") && table != "search_rows" {
            dump.push(table);
            continue;
        }
        let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap()));
            dump.push(format!("{table} {}", values.collect::<Vec<_>>().join(" ")));
        }
    }
    dump
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    // An object that makes the last step fail.
    for (version, obstacle) in [
        (1, "CREATE TABLE search_rows (x)"),
        (2, "CREATE TABLE search_rows (x)"),
        (1, "ALTER TABLE records ADD COLUMN category TEXT"),
        (1, "CREATE TABLE records_by_expiry (x)"),
        (1, "CREATE TABLE tokens (x)"),
        (3, "CREATE TABLE tokens (x)"),
    ] {
        let scratch = Scratch::new();
        copy(version, &scratch);
        let db = Connection::open(scratch.path()).unwrap();
        db.execute_batch(obstacle).unwrap();
        drop(db);
        let before = dump(&scratch.path());
        migrate::up(scratch.path()).unwrap_err();
        Store::open(scratch.path()).unwrap_err();
        assert_eq!(dump(&scratch.path()), before);
        let status = migrate::status(scratch.path()).unwrap();
        assert_eq!(status.version, version);
    }
    // The first steps down succeed, the last but one fails.
    let scratch = Scratch::new();
    copy(migrate::LATEST, &scratch);
    let db = Connection::open(scratch.path()).unwrap();
    db.execute_batch("DROP INDEX records_by_category").unwrap();
    drop(db);
    let before = dump(&scratch.path());
    migrate::down(scratch.path(), 1).unwrap_err();
    assert_eq!(dump(&scratch.path()), before);
}

#[test]
fn a_migration_that_finds_no_room_changes_nothing() {
    let scratch = Scratch::new();
    let directory = scratch.file("small");
    std::fs::create_dir(&directory).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&directory, 256) else {
        return;
    };
    let path = directory.join("test.db");
    std::fs::copy(fixture(1), &path).unwrap();
    // Room for the WAL's index, and for little else.
    let used: u64 = files(&directory).values().map(|f| f.len() as u64).sum();
    std::fs::write(
        directory.join("filler"),
        vec![1; (256 * 1024 - used - 52 * 1024) as usize],
    )
    .unwrap();
    let error = migrate::up(&path).unwrap_err();
    assert_eq!(error.code(), Code::StorageFull, "{error}");
    assert_eq!(migrate::status(&path).unwrap().version, 1);
    std::fs::remove_file(directory.join("filler")).unwrap();
    migrate::up(&path).unwrap();
    check(&Store::open(&path).unwrap(), 1);
}
