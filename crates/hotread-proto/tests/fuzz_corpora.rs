//! Seeds of the session's fuzz targets, run through the same checks.

mod fuzzing;
// The table of the simulation, only part of which is needed here.
#[allow(dead_code)]
#[path = "session/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "session/table.rs"]
mod table;

use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/fuzz")
}

fn run(target: &str, check: fn(&[u8])) {
    let corpus = fuzz().join("corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() > 10, "{target}");
    for path in files {
        println!("{}", path.display());
        let data = std::fs::read(path).unwrap();
        check(&data);
        // Half of an input is another input, at little cost.
        check(&data[..data.len() / 2]);
    }
}

#[test]
fn decode() {
    run("decode", fuzzing::decode::decode);
}

#[test]
fn follow() {
    run("follow", fuzzing::follow::follow);
}

#[test]
fn serve() {
    run("serve", fuzzing::serve::serve);
}

#[test]
fn each_target_has_a_corpus_and_is_run_here() {
    let mut targets: Vec<_> = std::fs::read_dir(fuzz().join("session"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort();
    assert_eq!(targets, ["decode", "follow", "serve"]);
}
