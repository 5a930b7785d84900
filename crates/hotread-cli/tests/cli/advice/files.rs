//! Messages about the file of the database, and the choice of a database.

use super::{bare, quoted, said};
use crate::{Place, serving::Serving};
use hotread_testkit::certificates::Authority;
use std::path::Path;

#[test]
fn the_database_or_the_server_is_named_as_the_message_says() {
    let place = Place::with_table();
    let db = place.db();
    let db = db.to_str().unwrap();
    let serving_place = Place::with_table();
    let serving = Serving::start(&serving_place, &[]);
    let url = serving.url();
    let (db_path, url_path) = (Path::new(db), Path::new(&url));

    said(
        bare(&["table", "list"], &[]),
        2,
        "give --db FILE or --url URL, or set HOTREAD_DB or HOTREAD_URL",
    );
    bare(&["table", "list", "--db", db], &[]).ok();
    bare(&["table", "list", "--url", &url], &[]).ok();
    bare(&["table", "list"], &[("HOTREAD_DB", db_path)]).ok();
    bare(&["table", "list"], &[("HOTREAD_URL", url_path)]).ok();

    said(
        bare(&["status"], &[]),
        2,
        "give --url http://127.0.0.1:7400, or set HOTREAD_URL",
    );
    assert_eq!(bare(&["status", "--url", &url], &[]).code, 0);
    said(
        bare(&["verify"], &[]),
        2,
        "give --db FILE, or set HOTREAD_DB",
    );
    bare(&["verify", "--db", db], &[]).ok();

    let both = [("HOTREAD_DB", db_path), ("HOTREAD_URL", url_path)];
    said(bare(&["table", "list"], &both), 2, "give --db or --url");
    bare(&["table", "list", "--db", db], &both).ok();
    bare(&["table", "list", "--url", &url], &both).ok();
    let twice = ["table", "list", "--db", db, "--url", &url];
    said(bare(&twice, &[]), 2, "omit one of them");

    said(
        bare(&["verify", "--url", &url], &[]),
        2,
        "leave --url out, and give --db FILE",
    );
    said(
        bare(&["verify"], &[("HOTREAD_URL", url_path)]),
        2,
        "give --db FILE, or set HOTREAD_DB",
    );
    bare(&["verify", "--db", db], &[("HOTREAD_URL", url_path)]).ok();
    let message = said(
        place.run(&["status", "--db", db]),
        2,
        "starts one, and says which URL",
    );
    assert_eq!(quoted(&message), [["serve", "--db", "FILE"]]);
    said(
        bare(&["table", "list", "--db", db, "--token", "x"], &[]),
        2,
        "leave --token out",
    );

    // No server is there yet.
    let message = said(
        bare(&["table", "list", "--url", "http://127.0.0.1:9"], &[]),
        5,
        "check that it is running",
    );
    assert!(message.contains("http://127.0.0.1:9"), "{message}");
    let secure = url.replace("http:", "https:");
    let ca = Authority::new().write(place.0.path());
    let ca = ca.to_str().unwrap();
    said(
        bare(&["table", "list", "--url", &secure, "--tls-ca", ca], &[]),
        5,
        "does not speak TLS; give an address with http://",
    );
    said(
        bare(&["table", "list", "--url", &url, "--tls-ca", ca], &[]),
        2,
        "give its address as https://HOST:PORT, or leave --tls-ca out",
    );
    said(
        bare(&["table", "list", "--db", db, "--tls-ca", ca], &[]),
        2,
        "leave it out, or give --url https://HOST:PORT",
    );
    said(
        bare(
            &["table", "list", "--url", &secure, "--tls-client-cert", ca],
            &[],
        ),
        2,
        "give --tls-client-key FILE",
    );
    said(
        bare(
            &["table", "list", "--url", &secure, "--tls-ca", "no.pem"],
            &[],
        ),
        5,
        "no.pem cannot be used for TLS: No such file",
    );
    // A variable is for the addresses that it is about.
    bare(
        &["table", "list", "--url", &url],
        &[("HOTREAD_TLS_CA", Path::new(ca))],
    )
    .ok();
}

#[test]
fn a_database_that_is_not_there_is_begun() {
    let place = Place::new();
    let message = said(
        place.run(&["set", "t", "k", "1"]),
        5,
        "does not exist; check the path",
    );
    let commands = quoted(&message);
    assert_eq!(commands.len(), 1, "{message}");
    place.typed(&commands[0], &["t"]).ok();
    place.run(&["set", "t", "k", "1"]).ok();
    let backup = ["backup", "b.db"];
    place.run(&backup).ok();
    said(place.run(&backup), 4, "give a path where nothing is");
    place.run(&["backup", "c.db"]).ok();
    said(place.run(&["backup", "-"]), 2, "name the file");

    let message = said(
        place.run(&["--db", "n.db", "restore", "nothing.db"]),
        5,
        "nothing.db does not exist; check the path",
    );
    assert!(
        quoted(&message).is_empty(),
        "a backup is not created: {message}"
    );
    place.run(&["--db", "n.db", "restore", "b.db"]).ok();

    let deep = ["--db", "sub/a.db", "table", "create", "t"];
    said(place.run(&deep), 5, "is not a directory; create it first");
    std::fs::create_dir(place.path("sub")).unwrap();
    place.run(&deep).ok();
    said(
        place.run(&["--db", "sub", "table", "list"]),
        5,
        "give the path of a database",
    );
}

#[cfg(unix)]
#[test]
fn a_path_that_names_no_file_is_corrected_as_the_message_says() {
    let place = Place::new();
    let create = |db: &str| place.run(&["--db", db, "table", "create", "t"]);
    std::os::unix::fs::symlink("loop.db", place.path("loop.db")).unwrap();
    let message = said(
        create("loop.db"),
        5,
        "check the permissions and symbolic links",
    );
    assert!(
        message.contains("loop.db cannot be reached: Too many levels"),
        "{message}"
    );
    std::fs::remove_file(place.path("loop.db")).unwrap();
    create("loop.db").ok();
    let words = "x.db/ is not a file; give the path of a database, without the slash at its end";
    said(create("x.db/"), 5, words);
    create("x.db").ok();
    said(create("x.db/"), 5, words);
    for name in [":memory:", "file:y.db"] {
        said(create(name), 2, "a database is a file here: give its path");
        let from_variable = [("HOTREAD_DB", Path::new(name))];
        said(bare(&["table", "list"], &from_variable), 2, "give its path");
        assert!(!place.path(name).exists());
    }
}

#[test]
fn a_database_in_use_is_reached_through_its_server_or_later() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let message = said(place.run(&["set", "t", "k", "1"]), 5, "instead of --db");
    let (_, rest) = message.split_once("give --url ").unwrap();
    let (url, _) = rest.split_once(' ').unwrap();
    bare(&["set", "t", "k", "1", "--url", url], &[]).ok();
    let down = ["migrate", "down", "1", "--yes"];
    for args in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &down,
        &["migrate", "up"],
    ] {
        let message = said(place.run(args), 5, "is in use by");
        assert!(
            message.contains("when it has ended, or stop it"),
            "{message}"
        );
    }
    serving.stop();
    assert_eq!(place.run(&down).code, 0);
    place.run(&["migrate", "up"]).ok();

    let store = hotread_store::Store::open(place.db()).unwrap();
    let set = ["set", "t", "k", "2", "--wait", "0s"];
    said(place.run(&set), 5, "try again when it has ended");
    drop(store);
    place.run(&set).ok();
}

#[test]
fn a_file_with_several_names_gets_one() {
    let place = Place::with_table();
    std::fs::hard_link(place.db(), place.path("other.db")).unwrap();
    said(
        place.run(&["set", "t", "k", "1"]),
        5,
        "remove the other hard links",
    );
    std::fs::remove_file(place.path("other.db")).unwrap();
    place.run(&["set", "t", "k", "1"]).ok();
}

#[cfg(target_os = "linux")]
#[test]
fn permissions_are_named_where_they_are_what_is_wrong() {
    use crate::Ran;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    const UNPRIVILEGED: u32 = 65_534;
    let place = Place::with_table();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // A copy in a place where every user finds the program.
    let program = place.path("hotread");
    std::fs::copy(env!("CARGO_BIN_EXE_hotread"), &program).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command
            .uid(UNPRIVILEGED)
            .gid(UNPRIVILEGED)
            .args(args)
            .env("HOTREAD_DB", place.db());
        command.current_dir("/").output()
    };
    mode(&place.path(""), 0o755);
    mode(&program, 0o755);
    mode(&place.db(), 0o600);
    let Ok(read) = run(&["table", "list"]) else {
        println!("skipped: this process may not become another user");
        return;
    };
    let read = Ran::from(read);
    assert!(read.err.contains("check its permissions"), "{read:?}");
    let written = Ran::from(run(&["set", "t", "k", "1"]).unwrap());
    assert!(
        written.err.contains("check") && written.err.contains("permissions"),
        "{written:?}"
    );
    // Follows the advice.
    mode(&place.db(), 0o666);
    mode(&place.path(""), 0o777);
    for file in ["test.db.lock", "test.db-wal", "test.db-shm"] {
        if place.path(file).exists() {
            mode(&place.path(file), 0o666);
        }
    }
    Ran::from(run(&["set", "t", "k", "1"]).unwrap()).ok();
    Ran::from(run(&["table", "list"]).unwrap()).ok();
}

#[test]
fn an_older_database_is_migrated() {
    let place = Place::with_table();
    said(
        place.run(&["migrate", "down", "1"]),
        2,
        "give --yes if that is meant",
    );
    assert_eq!(place.run(&["migrate", "down", "1", "--yes"]).code, 0);
    let message = said(place.run(&["table", "list"]), 5, "open it for writing once");
    place.typed(&quoted(&message)[0], &[]).ok();
    place.run(&["table", "list"]).ok();
}

#[test]
fn a_newer_database_is_left_to_the_newer_version() {
    /// Place of SQLite's `user_version` in the header of a file: four bytes, the last of which counts here.
    const USER_VERSION: usize = 63;
    let place = Place::with_table();
    place.run(&["set", "t", "k", "1"]).ok();
    let db = place.db();
    let known = std::fs::read(&db).unwrap();
    // As a newer version would leave it.
    let mut newer = known.clone();
    newer[USER_VERSION] += 1;
    std::fs::write(&db, &newer).unwrap();
    let version = known[USER_VERSION];
    for command in [&["get", "t", "k"][..], &["set", "t", "k", "2"]] {
        let advice =
            format!("use the newer version, which can migrate it down to version {version}");
        said(place.run(command), 5, &advice);
    }
    assert_eq!(std::fs::read(&db).unwrap(), newer, "it was left as it is");
    // As the newer version migrates it down.
    std::fs::write(&db, &known).unwrap();
    place.run(&["set", "t", "k", "2"]).ok();
}

#[test]
fn a_damaged_database_is_verified_and_restored() {
    let place = Place::with_table();
    let filler = "x".repeat(100);
    let row = |key| format!("{{\"key\":\"{key}\",\"value\":\"{filler}\"}}\n");
    let rows = place.file("rows.ndjson", (0..200).map(row).collect::<String>());
    assert_eq!(place.run(&["import", "t", &rows]).code, 0);
    place.run(&["backup", "good.db"]).ok();
    let mut bytes = std::fs::read(place.db()).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page..page + 4096].fill(0xa5);
    std::fs::write(place.db(), bytes).unwrap();
    let export = place.run(&["export", "t"]);
    let verify = place.run(&["verify"]);
    assert_eq!(verify.code, 6, "{verify:?}");
    assert!(verify.err.contains("restore a backup"), "{verify:?}");
    if export.code != 0 {
        let commands = quoted(&export.err);
        assert_eq!(commands, [vec!["verify"], vec!["restore"]], "{export:?}");
    }
    // The path is taken by the damaged database, as the message says.
    said(
        place.run(&["restore", "good.db"]),
        4,
        "give a path where nothing is",
    );
    place
        .run(&["--db", "restored.db", "restore", "good.db"])
        .ok();
    assert_eq!(
        place
            .run(&["--db", "restored.db", "export", "t"])
            .ok()
            .lines()
            .count(),
        200
    );
}
