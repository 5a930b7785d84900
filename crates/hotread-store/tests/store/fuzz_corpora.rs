//! The seed corpora of the fuzz targets, run through the same checks.

use hotread_store::import::{
    At, Columns, Delimiter, Detector, Empty, Format, ImportError, Input, Options, RowError, Rows,
    check_arrays,
};
use std::path::{Path, PathBuf};

// The module uses the imports above through `super`.
#[allow(dead_code)]
#[path = "../../src/import/exercise.rs"]
mod exercise;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/fuzz/corpus");
    let files: Vec<_> = std::fs::read_dir(root.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    assert!(files.len() > 10, "{target}");
    files
}

fn run(target: &str, check: fn(&[u8])) {
    for (path, data) in corpus(target) {
        println!("{}", path.display());
        check(&data);
        for end in 0..data.len() {
            check(&data[..end]);
        }
    }
}

#[test]
fn stored_rows() {
    run("stored_rows", hotread_store::fuzzing::stored_row);
}

#[test]
fn import_csv() {
    run("import_csv", exercise::csv);
}

#[test]
fn import_ndjson() {
    run("import_ndjson", exercise::ndjson);
}

#[test]
fn import_json() {
    run("import_json", exercise::json);
}

#[test]
fn each_target_has_a_corpus_and_is_run_here() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/fuzz");
    let mut targets: Vec<_> = std::fs::read_dir(fuzz.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort();
    assert_eq!(
        targets,
        ["import_csv", "import_json", "import_ndjson", "stored_rows"]
    );
}
