//! Interleaved rounds, and the samples they leave.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stats;

/// Durations and repetitions of measurements, and the files that figures start from.
#[derive(Clone, Debug, Default)]
pub struct Plan<S = ()> {
    /// `true` for the short run, which only shows that everything works.
    pub quick: bool,
    /// Files of the figures, made when they are first needed.
    pub scratch: S,
}

impl<S> Plan<S> {
    /// `full` or `quick`, depending on the run.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A duration in milliseconds.
    pub(crate) fn millis(&self, full: u64, quick: u64) -> Duration {
        Duration::from_millis(self.pick(full, quick))
    }
}

/// One measurement of one peer: fills its row from some column on.
struct Cell {
    row: usize,
    column: usize,
    run: Box<dyn FnMut() -> Vec<f64>>,
}

/// Unit of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds; less is better.
    Ns,
    /// Nanoseconds after an event, or before it if negative; without ratios.
    NsAfter,
    /// Per second; more is better.
    PerSecond,
    /// A count.
    Count,
    /// Bytes.
    Bytes,
    /// Percent.
    Percent,
}

impl Unit {
    /// Columns that have this unit.
    pub fn of<L, const N: usize>(self, labels: [L; N]) -> [(L, Self); N] {
        labels.map(|label| (label, self))
    }

    /// A number with its unit, at three significant digits.
    pub fn format(self, value: f64) -> String {
        if value.is_nan() {
            return "–".into();
        }
        match self {
            Unit::Ns | Unit::NsAfter => match value.abs() {
                v if v < 1e3 => format!("{} ns", digits(value)),
                v if v < 1e6 => format!("{} µs", digits(value / 1e3)),
                v if v < 1e9 => format!("{} ms", digits(value / 1e6)),
                _ => format!("{} s", digits(value / 1e9)),
            },
            Unit::PerSecond => format!("{}/s", scaled(value)),
            Unit::Count => scaled(value),
            Unit::Bytes if value.abs() < 1e3 => format!("{} B", digits(value)),
            Unit::Bytes if value.abs() < 1e6 => format!("{} KB", digits(value / 1e3)),
            Unit::Bytes => format!("{} MB", digits(value / 1e6)),
            Unit::Percent => format!("{} %", digits(value)),
        }
    }
}

fn scaled(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{} G", digits(value / 1e9)),
        v if v >= 1e6 => format!("{} M", digits(value / 1e6)),
        v if v >= 1e4 => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// Three significant digits, no exponent.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.0995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Columns by their unit, in the order of a table.
pub fn columns<'a>(
    groups: &'a [(Unit, &'a [&'a str])],
) -> impl Iterator<Item = (&'a str, Unit)> + 'a {
    let each =
        |(unit, labels): &'a (Unit, &'a [&'a str])| labels.iter().map(|label| (*label, *unit));
    groups.iter().flat_map(each)
}

/// The samples of one peer: one list a column, one number a round.
#[derive(Clone, Debug)]
pub struct Row {
    /// The peer.
    pub peer: String,
    /// Samples by column; `NaN` or nothing where the peer takes no part.
    pub samples: Vec<Vec<f64>>,
}

/// The measured numbers of one table of a figure.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its title.
    pub title: String,
    /// Its columns: their heads and units.
    pub columns: Vec<(String, Unit)>,
    /// Its rows, HotRead first.
    pub rows: Vec<Row>,
}

impl Table {
    fn samples(&self, peer: &str, column: usize) -> &[f64] {
        let row = self.rows.iter().find(|row| row.peer == peer);
        row.map_or(&[], |row| &row.samples[column])
    }

    /// The median over the rounds; `NaN` if the peer takes no part.
    pub fn median(&self, peer: &str, column: usize) -> f64 {
        stats::median(self.samples(peer, column))
    }

    /// The median of the ratios of each round, of two cells of this table; the ratio of their
    /// medians if no round has both (a measurement may come out empty on a busy machine).
    pub fn ratio(&self, over: (&str, usize), under: (&str, usize)) -> f64 {
        let (a, b) = (self.samples(over.0, over.1), self.samples(under.0, under.1));
        let paired = stats::median_ratio(a, b);
        if paired.is_nan() {
            return stats::median(a) / stats::median(b);
        }
        paired
    }

    /// Like [`Table::ratio`], with an allowance added to the divisor in each round: two runs of the same
    /// code differ by up to that much.
    pub fn ratio_allowing(&self, over: (&str, usize), under: (&str, usize), allowance: f64) -> f64 {
        let (a, b) = (self.samples(over.0, over.1), self.samples(under.0, under.1));
        let allowed: Vec<f64> = b.iter().map(|value| value + allowance).collect();
        stats::median_ratio(a, &allowed)
    }

    /// The table with only some of its columns, and the rows that have numbers there.
    pub fn pick(&self, title: impl Into<String>, columns: impl IntoIterator<Item = usize>) -> Self {
        let columns: Vec<usize> = columns.into_iter().collect();
        let samples = |row: &Row| columns.iter().map(|at| row.samples[*at].clone()).collect();
        let rows = self.rows.iter().map(|row| Row {
            peer: row.peer.clone(),
            samples: samples(row),
        });
        let rows = rows.filter(|row| row.samples.iter().any(|s| !stats::median(s).is_nan()));
        Self {
            title: title.into(),
            columns: columns.iter().map(|at| self.columns[*at].clone()).collect(),
            rows: rows.collect(),
        }
    }

    /// The table without the rows of other peers than HotRead, of any version.
    pub fn only_hotread(mut self) -> Self {
        let is_ours = |row: &Row| row.peer.to_lowercase().starts_with("hotread");
        self.rows.retain(is_ours);
        self
    }
}

/// Cells to be measured in interleaved rounds.
pub struct Rounds {
    table: Table,
    cells: Vec<Cell>,
}

impl Rounds {
    /// Creates a table without cells. Columns are (label, unit).
    pub fn new(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = (impl Into<String>, Unit)>,
    ) -> Self {
        let columns = columns
            .into_iter()
            .map(|(label, unit)| (label.into(), unit));
        Self {
            table: Table {
                title: title.into(),
                columns: columns.collect(),
                rows: Vec::new(),
            },
            cells: Vec::new(),
        }
    }

    /// Adds a measurement: `run` is called once a round, builds the peer, and returns one
    /// number for each column from `column` on.
    pub fn add(
        &mut self,
        peer: impl Into<String>,
        column: usize,
        run: impl FnMut() -> Vec<f64> + 'static,
    ) {
        let peer = peer.into();
        let known = self.table.rows.iter().position(|row| row.peer == peer);
        let row = known.unwrap_or_else(|| {
            self.table.rows.push(Row {
                peer,
                samples: vec![Vec::new(); self.table.columns.len()],
            });
            self.table.rows.len() - 1
        });
        self.cells.push(Cell {
            row,
            column,
            run: Box::new(run),
        });
    }

    /// Runs all cells `rounds` times. In a round, cells of the same column follow each other, and
    /// each round starts with another peer and runs in the other direction.
    pub fn run(mut self, rounds: usize) -> Table {
        let mut by_column: BTreeMap<usize, Vec<Cell>> = BTreeMap::new();
        for cell in self.cells {
            by_column.entry(cell.column).or_default().push(cell);
        }
        for round in 0..rounds {
            for cells in by_column.values_mut() {
                for turn in order(cells.len(), round) {
                    let cell = &mut cells[turn];
                    let row = &mut self.table.rows[cell.row];
                    for (offset, value) in (cell.run)().into_iter().enumerate() {
                        row.samples[cell.column + offset].push(value);
                    }
                }
            }
        }
        self.table
    }
}

/// The order of `len` cells in one round: rotated by the round, every second one backwards.
fn order(len: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    if len > 0 {
        // A step that shares no factor with small lengths brings every cell to every place.
        order.rotate_left(round * 7 % len);
    }
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn every_cell_runs_once_a_round_and_no_peer_is_always_first() {
        let firsts: std::collections::HashSet<usize> = (0..12).map(|r| order(5, r)[0]).collect();
        assert_eq!(firsts.len(), 5);
        for round in 0..12 {
            let mut cells = order(9, round);
            cells.sort_unstable();
            assert_eq!(cells, (0..9).collect::<Vec<_>>());
        }
        assert!(order(0, 3).is_empty());
    }

    #[test]
    fn samples_land_in_their_row_and_column() {
        let mut rounds = Rounds::new("t", Unit::Ns.of(["x", "y", "z"]));
        let mut n = 0.0;
        rounds.add("a", 0, move || {
            n += 1.0;
            vec![n]
        });
        rounds.add("b", 0, || vec![10.0]);
        rounds.add("a", 1, || vec![5.0, 6.0]);
        let table = rounds.run(3);
        assert_eq!(table.rows[0].samples[0], [1.0, 2.0, 3.0]);
        assert_eq!(table.median("a", 0), 2.0);
        assert_eq!(table.median("a", 2), 6.0);
        assert_eq!(table.ratio(("b", 0), ("a", 0)), 5.0);
        assert_eq!(table.ratio_allowing(("b", 0), ("a", 0), 3.0), 2.0);
        assert!(table.ratio(("b", 1), ("a", 0)).is_nan());
        assert!(table.median("b", 1).is_nan());
        assert!(table.median("unknown", 0).is_nan());
        let part = table.pick("part", 1..3);
        assert_eq!(part.rows.len(), 1);
        assert_eq!(part.columns.len(), 2);
    }

    #[test]
    fn cells_of_one_column_follow_each_other() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut rounds = Rounds::new("t", Unit::Ns.of(["x", "y"]));
        for (peer, column) in [("a", 0), ("a", 1), ("b", 0), ("b", 1)] {
            let log = Rc::clone(&log);
            rounds.add(peer, column, move || {
                log.borrow_mut().push((peer, column));
                vec![0.0]
            });
        }
        rounds.run(1);
        let columns: Vec<usize> = log.borrow().iter().map(|(_, column)| *column).collect();
        assert_eq!(columns, [0, 0, 1, 1]);
    }

    #[test]
    fn numbers_carry_three_digits_and_a_unit() {
        assert_eq!(Unit::Ns.format(0.5234), "0.52 ns");
        assert_eq!(Unit::Ns.format(12.345), "12.3 ns");
        assert_eq!(Unit::Ns.format(1_234_567.0), "1.23 ms");
        assert_eq!(Unit::NsAfter.format(-65_988.0), "-66.0 µs");
        assert_eq!(Unit::PerSecond.format(123_456_789.0), "123 M/s");
        assert_eq!(Unit::PerSecond.format(9_999.0), "9999/s");
        assert_eq!(Unit::Bytes.format(0.0), "0 B");
        assert_eq!(Unit::Count.format(f64::NAN), "–");
    }
}
