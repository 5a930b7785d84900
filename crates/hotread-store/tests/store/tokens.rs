//! Tokens: their creation, their permissions, and their traces on disk.

use crate::common::{Scratch, name};
use hotread_faultfs::Disk;
use hotread_proto::{Code, Timestamp};
use hotread_store::{
    CommitError, MAX_TOKEN_NAME_BYTES, MAX_TOKEN_TABLES, MAX_TOKENS, NewToken, OpenError, Role,
    Store, Synchronous, TokenError, TokenInfo,
};
use rusqlite::Connection;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

fn open(scratch: &Scratch) -> Store {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    builder.open().unwrap()
}

fn admin(store: &Store) -> NewToken {
    store.create_token("ops", Role::Admin, None).unwrap()
}

/// Returns the id of the token that has this secret.
fn who(store: &Store, secret: &str) -> Option<String> {
    store.authenticate(secret).map(|token| token.id.clone())
}

#[test]
fn a_token_is_valid_across_restarts_until_it_is_revoked() {
    let scratch = Scratch::new();
    let (first, second, infos) = {
        let store = open(&scratch);
        assert!(!store.has_tokens());
        assert_eq!(store.tokens(), Ok(Vec::new()));
        let first = admin(&store);
        let tables = Some(["b", "a", "b"].map(name).to_vec());
        let second = store.create_token("api-7", Role::Write, tables).unwrap();
        assert_eq!(second.info.tables, Some(["a", "b"].map(name).to_vec()));
        assert_eq!(
            store.authenticate(&second.secret).as_deref(),
            Some(&second.info)
        );
        (first, second, store.tokens().unwrap())
    };
    assert_eq!(infos.len(), 2);
    assert!(infos.contains(&first.info) && infos.contains(&second.info));
    {
        let store = open(&scratch);
        assert!(store.has_tokens());
        assert_eq!(store.tokens().unwrap(), infos);
        assert_eq!(
            store.authenticate(&first.secret).as_deref(),
            Some(&first.info)
        );
        let reader = Store::builder(scratch.path()).read_only(true);
        let reader = reader.open().unwrap();
        assert_eq!(reader.tokens().unwrap(), infos);
        // It accepts no token, and requires one of every caller.
        assert_eq!(who(&reader, &first.secret), None);
        assert!(reader.has_tokens());
        let refused = reader.create_token("x", Role::Admin, None).unwrap_err();
        assert_eq!(refused, TokenError::Commit(CommitError::ReadOnly));

        assert_eq!(store.revoke_token(&second.info.id).unwrap(), second.info);
        assert_eq!(who(&store, &second.secret), None);
        assert_eq!(reader.tokens().unwrap(), std::slice::from_ref(&first.info));
        let again = store.revoke_token(&second.info.id).unwrap_err();
        assert_eq!(again.code(), Code::UnknownToken);
        assert!(again.to_string().contains(&second.info.id));
    }
    let store = open(&scratch);
    assert_eq!(store.tokens().unwrap(), [first.info]);
    assert_eq!(who(&store, &second.secret), None);
    assert!(who(&store, &first.secret).is_some());
}

#[test]
fn only_the_secret_itself_lets_in() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let NewToken { info, secret, .. } = admin(&store);
    let digits = secret.strip_prefix("hr_").unwrap();
    assert!(digits.len() == 64 && digits.bytes().all(|b| b"0123456789abcdef".contains(&b)));
    assert!(info.id.len() == 8 && info.id.bytes().all(|b| b"0123456789abcdef".contains(&b)));
    assert_eq!(who(&store, &secret), Some(info.id.clone()));
    let other = if digits.starts_with('0') { "1" } else { "0" };
    for wrong in [
        String::new(),
        "hr_".to_owned(),
        digits.to_owned(),
        info.id.clone(),
        info.name.clone(),
        secret.to_uppercase(),
        format!("hr_{}", digits.to_uppercase()),
        format!("{secret} "),
        format!(" {secret}"),
        format!("{secret}0"),
        secret[..66].to_owned(),
        format!("hr_{other}{}", &digits[1..]),
        format!("hr_{}", "é".repeat(32)),
        format!("hr_{}", "f".repeat(1 << 20)),
    ] {
        assert_eq!(who(&store, &wrong), None, "{}", wrong.len());
    }
    // No two secrets are equal.
    let made: Vec<_> = (0..50)
        .map(|_| store.create_token("ops", Role::Admin, None).unwrap())
        .collect();
    let secrets: HashSet<_> = made.iter().map(|token| &token.secret).collect();
    let ids: HashSet<_> = made.iter().map(|token| &token.info.id).collect();
    assert_eq!((secrets.len(), ids.len()), (50, 50));
    for token in &made {
        assert_eq!(who(&store, &token.secret).as_ref(), Some(&token.info.id));
    }
}

#[test]
fn the_first_token_is_an_admin_and_the_last_admin_stays() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let some = || Some(vec![name("a")]);
    for (role, tables) in [
        (Role::Read, None),
        (Role::Write, None),
        (Role::Admin, some()),
        (Role::Read, some()),
    ] {
        let refused = store.create_token("x", role, tables).unwrap_err();
        assert_eq!(refused, TokenError::FirstNotAdmin);
        assert_eq!(refused.code(), Code::BadRequest);
    }
    assert!(!store.has_tokens());
    let first = admin(&store);
    let limited = store.create_token("x", Role::Admin, some()).unwrap();
    let reader = store.create_token("x", Role::Read, None).unwrap();
    // Neither of the other tokens could create or revoke tokens.
    let refused = store.revoke_token(&first.info.id).unwrap_err();
    assert_eq!(
        (&refused, refused.code()),
        (&TokenError::LastAdmin, Code::BadRequest)
    );
    assert!(who(&store, &first.secret).is_some());
    let next = admin(&store);
    store.revoke_token(&first.info.id).unwrap();
    for token in [&limited, &reader] {
        assert_eq!(
            store.revoke_token(&next.info.id),
            Err(TokenError::LastAdmin)
        );
        store.revoke_token(&token.info.id).unwrap();
    }
    // The last token may be revoked; then the store is as in the beginning.
    store.revoke_token(&next.info.id).unwrap();
    assert!(!store.has_tokens());
    let refused = store.create_token("x", Role::Read, None);
    assert_eq!(refused.unwrap_err(), TokenError::FirstNotAdmin);
}

#[test]
fn of_two_admins_that_are_revoked_at_once_one_stays() {
    for _ in 0..20 {
        let scratch = Scratch::new();
        let store = open(&scratch);
        let admins = [admin(&store), admin(&store)];
        store.create_token("x", Role::Read, None).unwrap();
        let revoked = std::thread::scope(|scope| {
            let threads = admins.each_ref().map(|token| {
                let store = &store;
                scope.spawn(move || store.revoke_token(&token.info.id).is_ok())
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(revoked.iter().filter(|&&done| done).count(), 1);
        let left = admins.map(|token| who(&store, &token.secret).is_some());
        assert_eq!(left, revoked.map(|done| !done));
    }
}

#[test]
fn a_token_ends_when_its_time_is_over() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let now = || Timestamp::from(SystemTime::now());
    let soon = now().saturating_add(Duration::from_secs(2));
    let first = store.create_expiring_token("ops", Role::Admin, None, soon);
    assert_eq!(first.unwrap_err(), TokenError::FirstNotAdmin);
    let admin = store.create_token("ops", Role::Admin, None).unwrap();
    let over = store.create_expiring_token("late", Role::Read, None, now());
    assert!(matches!(over, Err(TokenError::Expired { .. })), "{over:?}");

    let short = store.create_expiring_token("ci", Role::Admin, None, soon);
    let short = short.unwrap();
    assert_eq!(short.info.expires_at, Some(soon));
    let long = store.create_expiring_token("ci", Role::Read, None, Timestamp::MAX);
    let long = long.unwrap();
    let found = store.authenticate(&short.secret);
    assert!(found.is_some() || now() >= soon);
    // An admin token that expires does not count as the last admin.
    let last = store.revoke_token(&admin.info.id).unwrap_err();
    assert_eq!(last, TokenError::LastAdmin);

    let generation = store.token_generation();
    // Asked without a pause, so that the token expires before it is swept.
    let mut asked = now();
    while asked < soon.saturating_add(Duration::from_millis(50)) {
        let found = store.authenticate(&short.secret);
        assert!(found.is_none() || asked < soon, "at once");
        asked = now();
    }
    let ids = |store: &Store| -> Vec<_> {
        let tokens = store.tokens().unwrap().into_iter();
        tokens.map(|token| token.id).collect()
    };
    while ids(&store).contains(&short.info.id) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(store.token_generation() > generation, "sessions look again");
    let left = [admin.info.id, long.info.id];
    assert!(left.iter().all(|id| ids(&store).contains(id)));
    // The same from disk.
    drop(store);
    let store = scratch.open();
    assert_eq!(ids(&store).len(), 2);
    let kept = store.authenticate(&long.secret).unwrap();
    assert_eq!(kept.expires_at, Some(Timestamp::MAX));
}

#[test]
fn an_admin_stays_where_a_server_asks_for_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let admin = store.create_token("ops", Role::Admin, None).unwrap();
    let id = &admin.info.id;
    let last = store.revoke_token_but_last(id).unwrap_err();
    assert_eq!(last, TokenError::LastWhileServed);
    let other = store.create_token("ops", Role::Admin, None).unwrap();
    store.revoke_token_but_last(id).unwrap();
    store.revoke_token(&other.info.id).unwrap();
    assert!(!store.has_tokens());
}

#[test]
fn a_role_allows_what_is_below_it_in_its_tables() {
    let all = Role::ALL;
    assert!(all.is_sorted());
    let info = |role, tables: Option<Vec<_>>| TokenInfo {
        id: "00000000".to_owned(),
        name: "x".to_owned(),
        role,
        tables,
        created_at: hotread_proto::Timestamp::EPOCH,
        expires_at: None,
    };
    let (a, b) = (name("a"), name("b"));
    for has in all {
        for needs in all {
            let everywhere = info(has, None);
            for table in [None, Some(&a), Some(&b)] {
                assert_eq!(everywhere.allows(table, needs), has >= needs);
            }
            let in_a = info(has, Some(vec![a.clone()]));
            assert_eq!(in_a.allows(Some(&a), needs), has >= needs);
            assert!(!in_a.allows(Some(&b), needs));
            assert!(!in_a.allows(None, needs), "the store is more than a table");
        }
        assert_eq!(has.to_string().parse(), Ok(has));
        assert_eq!(serde_json::to_value(has).unwrap(), has.as_str());
    }
    for text in ["", "Admin", "root", "read "] {
        let error = text.parse::<Role>().unwrap_err();
        assert!(error.to_string().contains("`admin`"), "{text:?}");
    }
    let json = serde_json::to_string(&info(Role::Write, Some(vec![a]))).unwrap();
    let expected = r#"{"id":"00000000","name":"x","role":"write","tables":["a"],"created_at":"1970-01-01T00:00:00.000Z"}"#;
    assert_eq!(json, expected);
    let back: TokenInfo = serde_json::from_str(expected).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), expected);
}

#[test]
fn what_is_no_token_is_refused_and_changes_nothing() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    admin(&store);
    let before = (store.tokens().unwrap(), store.token_generation());
    let long = "x".repeat(MAX_TOKEN_NAME_BYTES + 1);
    for wrong in ["", " ", "a b", "ä", "a/b", "a\n", &long] {
        let refused = store.create_token(wrong, Role::Read, None).unwrap_err();
        assert_eq!(
            (&refused, refused.code()),
            (&TokenError::InvalidName, Code::InvalidName)
        );
        assert!(
            refused.to_string().contains("[A-Za-z0-9._-]{1,64}"),
            "{refused}"
        );
    }
    let tables = |n: usize| (0..n).map(|n| name(&n.to_string())).collect::<Vec<_>>();
    for (given, expected) in [
        (0, TokenError::NoTables),
        (
            MAX_TOKEN_TABLES + 1,
            TokenError::TooManyTables {
                given: MAX_TOKEN_TABLES + 1,
            },
        ),
    ] {
        let refused = store.create_token("x", Role::Read, Some(tables(given)));
        assert_eq!(refused.as_ref().unwrap_err(), &expected);
        assert_eq!(expected.code(), Code::BadRequest);
    }
    for id in ["", "x", &"\u{1b}".repeat(1_000)] {
        let refused = store.revoke_token(id).unwrap_err();
        assert_eq!(refused.code(), Code::UnknownToken);
        let text = refused.to_string();
        assert!(text.len() < 200 && !text.contains('\u{1b}'), "{text}");
    }
    assert_eq!((store.tokens().unwrap(), store.token_generation()), before);
    let longest = &long[1..];
    let most = Some(tables(MAX_TOKEN_TABLES));
    let token = store.create_token(longest, Role::Read, most).unwrap();
    drop(store);
    let store = open(&scratch);
    assert_eq!(
        store.authenticate(&token.secret).as_deref(),
        Some(&token.info)
    );
}

#[test]
fn the_generation_moves_when_tokens_do_and_only_then() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let mut last = store.token_generation();
    let mut moved = || {
        let now = store.token_generation();
        std::mem::replace(&mut last, now) != now
    };
    assert!(!moved());
    let first = admin(&store);
    assert!(moved());
    let second = admin(&store);
    assert!(moved());
    who(&store, &first.secret).unwrap();
    store.tokens().unwrap();
    store.create_table(&name("t"), Default::default()).unwrap();
    store.revoke_token("00").unwrap_err();
    assert!(!moved());
    store.revoke_token(&second.info.id).unwrap();
    assert!(moved());
}

#[test]
fn there_is_a_limit_to_tokens() {
    let scratch = Scratch::new();
    let first = admin(&open(&scratch));
    let db = Connection::open(scratch.path()).unwrap();
    let sql = format!(
        "WITH RECURSIVE ns (n) AS (VALUES (3) UNION ALL SELECT n + 1 FROM ns WHERE n < {MAX_TOKENS})
         INSERT INTO tokens SELECT format('%08x', n), 'x', 'read', NULL, 0, randomblob(32), NULL FROM ns"
    );
    db.execute_batch(&sql).unwrap();
    drop(db);
    let store = open(&scratch);
    let last = store.create_token("last", Role::Read, None).unwrap();
    assert_eq!(store.tokens().unwrap().len(), MAX_TOKENS);
    let refused = store.create_token("more", Role::Read, None).unwrap_err();
    assert_eq!(
        (&refused, refused.code()),
        (&TokenError::TooMany, Code::BadRequest)
    );
    store.revoke_token(&last.info.id).unwrap();
    store.create_token("more", Role::Read, None).unwrap();
    assert!(who(&store, &first.secret).is_some());
}

/// Searches the database, its log, backups, messages and debug output for the secrets.
#[test]
fn the_secret_is_nowhere_but_in_the_answer() {
    let scratch = Scratch::new();
    let disk = Disk::new();
    let store = Store::builder(scratch.path())
        .vfs(disk.vfs())
        .open()
        .unwrap();
    let tokens = [admin(&store), admin(&store)];
    let digits = |token: &NewToken| token.secret["hr_".len()..].to_owned();
    let raw = |token: &NewToken| -> Vec<u8> {
        let digits = digits(token);
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    };
    let check = |disk: &Disk| {
        for token in &tokens {
            assert!(
                disk.contains(token.info.id.as_bytes()),
                "the search does not find the id either"
            );
            assert!(!disk.contains(digits(token).as_bytes()));
            assert!(!disk.contains(&raw(token)));
            assert!(!disk.contains(&raw(token)[..8]));
        }
    };
    // In the log, and after the log was moved into the database.
    check(&disk);
    store.revoke_token(&tokens[0].info.id).unwrap();
    let image = disk.crash(0);
    drop(store);
    check(&disk);
    check(&image);
    for token in &tokens {
        let said = format!("{token:?} {:?}", token.info);
        assert!(said.contains(&token.info.id) && !said.contains(&digits(token)[..8]));
    }
    let json = serde_json::to_value(&tokens[0]).unwrap();
    assert_eq!(json["secret"], tokens[0].secret);
    assert_eq!(json["name"], "ops");
}

#[test]
fn damaged_rows_are_reported() {
    for damage in [
        "role = 'root'",
        "id = 'x'",
        "name = 'a b'",
        "tables = '{'",
        "tables = '[\"A\"]'",
        "hash = x'00'",
        "created_at = -1",
    ] {
        let scratch = Scratch::new();
        admin(&open(&scratch));
        let db = Connection::open(scratch.path()).unwrap();
        let sql = format!("UPDATE tokens SET {damage}");
        db.execute_batch(&sql).unwrap();
        drop(db);
        let error = Store::open(scratch.path()).unwrap_err();
        assert!(matches!(error, OpenError::Storage { .. }), "{error}");
        assert_eq!(error.code(), Code::Corrupt, "{damage}");
        let reader = Store::builder(scratch.path()).read_only(true);
        let reader = reader.open().unwrap();
        assert_eq!(reader.tokens().unwrap_err().code(), Code::Corrupt);
        let problems = reader.verify().unwrap().problems;
        assert!(problems.iter().any(|p| p.contains("token")), "{problems:?}");
    }
}
