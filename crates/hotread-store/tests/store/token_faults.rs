//! Tokens on a disk that fails: a caller can rely on an acknowledged creation or revocation.

use crate::common::{Scratch, name, put};
use crate::crash::{self, check_verify};
use hotread_faultfs::{Disk, Fault, Op};
use hotread_proto::{Code, Txn};
use hotread_store::{CommitError, Role, Store, StoreBuilder, TableOptions, TokenError};
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

fn on(scratch: &Scratch, disk: &Disk) -> StoreBuilder {
    Store::builder(scratch.path()).vfs(disk.vfs())
}

fn base(scratch: &Scratch) -> Disk {
    let disk = Disk::new();
    let store = on(scratch, &disk).open().unwrap();
    store
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    disk
}

/// Creating and revoking tokens while each operation fails in turn: afterwards the valid tokens are
/// those on disk, and no acknowledgement was wrong.
#[test]
fn tokens_are_known_afterwards_as_they_are_on_disk() {
    let mut failed = 0;
    for (op, times) in [
        (Op::Sync, 1),
        (Op::Sync, 3),
        (Op::Write, 1),
        (Op::Write, 50),
    ] {
        for after in 0..40 {
            let scratch = Scratch::new();
            let disk = base(&scratch);
            let store = on(&scratch, &disk).open().unwrap();
            let admin = store.create_token("admin", Role::Admin, None).unwrap();
            let old = store.create_token("old", Role::Read, None).unwrap();
            disk.fail(Fault {
                after,
                times,
                ..Fault::nth(op, 1)
            });
            let created = store.create_token("new", Role::Write, None);
            let revoked = store.revoke_token(&old.info.id);
            let is_met = disk.counts().faults > 0;
            disk.heal();
            // A write makes sure that the store has been reconciled.
            store
                .commit(&name("t"), Txn::new().put(put("x", "1")))
                .unwrap();
            let tokens = store.tokens().unwrap();
            let has = |name: &str| tokens.iter().any(|token| token.name == name);
            let is_let_in = |store: &Store, secret: &str| store.authenticate(secret).is_some();
            assert!(has("admin") && is_let_in(&store, &admin.secret));
            match &created {
                Ok(new) => assert!(has("new") && is_let_in(&store, &new.secret)),
                // Reconciliation was tried immediately, and only another failure of the disk prevents it.
                Err(TokenError::Commit(CommitError::Unknown { .. })) => assert!(times > 1),
                Err(TokenError::Commit(CommitError::Storage(_))) => assert!(!has("new")),
                Err(e) => panic!("{e}"),
            }
            match &revoked {
                Ok(_) => assert!(!has("old")),
                Err(TokenError::Commit(CommitError::Unknown { .. })) => {}
                Err(TokenError::Commit(CommitError::Storage(_))) => assert!(has("old")),
                Err(e) => panic!("{e}"),
            }
            assert_eq!(is_let_in(&store, &old.secret), has("old"));
            failed += u64::from(created.is_err()) + u64::from(revoked.is_err());
            // The known tokens are those on disk, and stay so.
            let other = Scratch::new();
            let image = crash::moved(&disk.crash(after), &other);
            let reopened = on(&other, &image).open().unwrap();
            assert_eq!(reopened.tokens().unwrap(), tokens);
            assert_eq!(is_let_in(&reopened, &old.secret), has("old"));
            check_verify(&reopened);
            if !is_met {
                break;
            }
        }
    }
    assert!(failed > 20, "{failed}");
}

/// A COMMIT failed, but its writes are on disk after all: here they are made by hand, without the sync
/// that fails.
#[test]
fn tokens_of_a_failed_commit_are_known_if_they_are_there() {
    let scratch = Scratch::new();
    let disk = base(&scratch);
    let store = on(&scratch, &disk).open().unwrap();
    let admin = store.create_token("admin", Role::Admin, None).unwrap();
    let old = store.create_token("old", Role::Read, None).unwrap();
    disk.fail(Fault {
        times: u64::MAX,
        ..Fault::nth(Op::Sync, 1)
    });
    for answer in [
        store.create_token("new", Role::Read, None).map(drop),
        store.revoke_token(&old.info.id).map(drop),
    ] {
        assert!(matches!(answer, Err(TokenError::Commit(_))));
    }
    let secret = format!("hr_{}", "5".repeat(64));
    let db = Connection::open_with_flags_and_vfs(scratch.path(), OpenFlags::default(), disk.vfs());
    let db = db.unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; DELETE FROM tokens WHERE name = 'old'")
        .unwrap();
    let sql = "INSERT INTO tokens VALUES ('00000001', 'new', 'read', NULL, 0, ?1, NULL)";
    db.execute(sql, [Sha256::digest(&secret).to_vec()]).unwrap();
    drop(db);
    let generation = store.token_generation();
    // Until reconciliation, the tokens that were valid before are valid.
    assert!(store.authenticate(&old.secret).is_some());
    disk.heal();
    let txn = Txn::new().put(put("x", "1"));
    store.commit(&name("t"), txn).unwrap();
    assert_eq!(store.authenticate(&secret).unwrap().name, "new");
    assert!(store.authenticate(&old.secret).is_none());
    assert!(store.authenticate(&admin.secret).is_some());
    assert_ne!(store.token_generation(), generation);
    let gone = store.revoke_token(&old.info.id).unwrap_err();
    assert_eq!(gone.code(), Code::UnknownToken);
}
