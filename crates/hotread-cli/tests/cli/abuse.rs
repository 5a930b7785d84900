//! The benchmark of abuse measures the built command: at sizes that show only that it can.

use hotread_bench::end_to_end::abuse;
use hotread_bench::report::Figure;

/// The cells of a row, in all tables of a figure.
fn cells(figure: &Figure, peer: &str) -> Vec<f64> {
    let table = &figure.tables[0];
    let columns = 0..table.columns.len();
    columns.map(|column| table.median(peer, column)).collect()
}

#[test]
fn all_figures_of_abuse_can_be_measured() {
    let figures = abuse::tiny(env!("CARGO_BIN_EXE_hotread").into()).unwrap();
    let ids: Vec<_> = figures.iter().map(|figure| figure.id).collect();
    let known: Vec<_> = abuse::ALL.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, known);
    let [others, ttl, tables, cut_off, replace, expiry] = &figures[..] else {
        panic!("{ids:?}");
    };
    assert_eq!(others.tables[0].rows.len(), 6);
    for row in &others.tables[0].rows {
        let cells = cells(others, row.peer);
        assert!(
            cells.iter().all(|cell| cell.is_finite()),
            "{} {cells:?}",
            row.peer
        );
    }
    assert!(
        others
            .notes
            .iter()
            .all(|note| !note.contains("no answer: ")),
        "{:?}",
        others.notes
    );
    assert!(
        others.notes[3].contains("INVALID_OPTIONS"),
        "{:?}",
        others.notes
    );
    for figure in [ttl, tables, cut_off, expiry] {
        let cells = cells(figure, "HotRead");
        assert!(
            cells.iter().all(|cell| cell.is_finite()),
            "{} {cells:?}",
            figure.id
        );
    }
    let live = cells(cut_off, "HotRead")[3];
    assert_eq!(live, 5.0, "all are live again");
    for row in &replace.tables[0].rows {
        assert!(row.samples[0][0] > 0.0, "{} took no time", row.peer);
    }
    assert!(replace.notes.is_empty(), "{:?}", replace.notes);
    assert!(figures.iter().all(|figure| !figure.goals.is_empty()));
}
