//! The benchmark of abuse measures the built command, at sizes that only show that it works.

#![cfg(all(target_os = "linux", feature = "end-to-end"))]

use hotread_bench::end_to_end::abuse;
use hotread_bench::report::Figure;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The command `hotread`, which is next to other programs of the same profile once it is built.
fn server(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap();
    let server = folder.join("hotread");
    if !server.is_file() {
        let target = folder.parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "hotread-cli", "--target-dir"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.arg(target).status().unwrap().success());
    }
    server
}

/// The cells of a row, in all tables of a figure.
fn cells(figure: &Figure, peer: &str) -> Vec<f64> {
    let table = &figure.tables[0];
    let columns = 0..table.columns.len();
    columns.map(|column| table.median(peer, column)).collect()
}

#[test]
fn all_figures_of_abuse_can_be_measured() {
    let roles = PathBuf::from(env!("CARGO_BIN_EXE_hotread-roles"));
    let figures = abuse::tiny(server(&roles), roles).unwrap();
    let ids: Vec<_> = figures.iter().map(|figure| figure.id).collect();
    let known: Vec<_> = abuse::ALL.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, known);
    let [others, ttl, tables, cut_off, replace, expiry] = &figures[..] else {
        panic!("{ids:?}");
    };
    assert_eq!(others.tables[0].rows.len(), 6);
    for figure in [others, ttl, tables, cut_off, expiry] {
        for row in &figure.tables[0].rows {
            let cells = cells(figure, &row.peer);
            let finite = cells.iter().all(|cell| cell.is_finite());
            assert!(finite, "{}, {}: {cells:?}", figure.id, row.peer);
        }
    }
    let notes = &others.notes;
    let answered = |note: &String| !note.contains("no answer: ");
    assert!(notes.iter().all(answered), "{notes:?}");
    assert!(notes[3].contains("INVALID_OPTIONS"), "{notes:?}");
    let live = cells(cut_off, "HotRead")[3];
    assert_eq!(live, 5.0, "all are live again");
    for row in &replace.tables[0].rows {
        assert!(row.samples[0][0] > 0.0, "{} took no time", row.peer);
    }
    assert!(replace.notes.is_empty(), "{:?}", replace.notes);
    assert!(figures.iter().all(|figure| !figure.goals.is_empty()));
}
