//! The files of TLS: what keeps a server from being built, and when they are read.

use crate::common::secure::HOST;
use hotread_server::{OptionsError, Server, Store, Tls, TlsError};
use hotread_testkit::certificates::Authority;
use std::io::Write;
use std::os::fd::AsRawFd;

#[tokio::test]
async fn files_that_cannot_be_used_keep_a_server_from_being_built() {
    let folder = hotread_testkit::folder();
    let authority = Authority::new();
    let files = authority.issue(&[HOST]).write(folder.path(), "server");
    let store = Store::open(folder.path().join("test.db")).unwrap();
    let build = |tls: Tls| match Server::builder(store.clone()).tls(tls).build() {
        Err(OptionsError::Tls(error)) => error,
        other => panic!("{other:?}"),
    };
    let missing = folder.path().join("missing.pem");
    let error = build(Tls::from_files(&missing, &files.key));
    assert!(
        matches!(&error, TlsError::Unreadable { path, .. } if *path == missing),
        "{error}"
    );
    let error = build(Tls::from_files(&files.chain, &files.chain));
    assert!(
        matches!(&error, TlsError::NoKey { path } if *path == files.chain),
        "{error}"
    );
    let tls = Tls::from_files(&files.chain, &files.key);
    let error = build(tls.clone().client_ca(&files.key));
    assert!(
        matches!(&error, TlsError::NoCertificate { path } if *path == files.key),
        "{error}"
    );
    let large = folder.path().join("large.pem");
    std::fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    let error = build(tls.clone().client_ca(&large));
    assert!(
        error.to_string().contains("larger than 1048576 bytes"),
        "{error}"
    );
    // A pipe that no process writes.
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let error = build(tls.clone().client_ca(&pipe));
    assert!(
        matches!(&error, TlsError::NoCertificate { path } if *path == pipe),
        "{error}"
    );
    // Both in one file.
    let both = folder.path().join("both.pem");
    let issued = authority.issue(&[HOST]);
    std::fs::write(&both, format!("{}{}", issued.key, issued.chain)).unwrap();
    Server::builder(store)
        .tls(Tls::from_files(&both, &both))
        .build()
        .unwrap();
}

#[tokio::test]
async fn files_are_read_once_even_before_there_is_a_store() {
    let folder = hotread_testkit::folder();
    let issued = Authority::new().issue(&[HOST]);
    let files = issued.write(folder.path(), "server");
    // The key comes out of a pipe, as by `<(command)` in a shell.
    let (pipe, mut writer) = std::io::pipe().unwrap();
    writer.write_all(issued.key.as_bytes()).unwrap();
    drop(writer);
    let key = format!("/dev/fd/{}", pipe.as_raw_fd());
    let tls = Tls::from_files(&files.chain, key).read().unwrap();
    std::fs::remove_file(&files.chain).unwrap();
    let store = Store::open(folder.path().join("test.db")).unwrap();
    Server::builder(store).tls(tls.clone()).build().unwrap();
    // Other files are not those that were read.
    let missing = tls.client_ca(folder.path().join("missing.pem")).read();
    assert!(
        matches!(missing, Err(TlsError::Unreadable { .. })),
        "{missing:?}"
    );
}
