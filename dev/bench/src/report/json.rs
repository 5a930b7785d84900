//! The raw results, as a source of tables for other documents.

use serde_json::{Value, json};

use super::{Figure, Run};
use crate::rounds::{Table, Unit};
use crate::stats;

/// Formats the whole run: medians, and the lowest and highest round, of every cell. One line a row, so that
/// two runs can be compared as text.
pub fn document(run: &Run) -> String {
    let machine = &run.machine;
    let head = json!({
        "date": machine.date,
        "cpu": machine.cpu,
        "cores": machine.cores,
        "kernel": machine.kernel,
        "rustc": machine.rustc,
    });
    format!(
        "{{\"schema\":1,\"quick\":{},\"machine\":{head},\"figures\":[\n{}\n]}}\n",
        run.quick,
        lines(run.figures.iter().map(figure))
    )
}

fn figure(figure: &Figure) -> String {
    let goals = figure.goals.iter().map(|goal| {
        json!({
            "what": goal.what,
            "relation": goal.relation,
            "target": goal.target,
            "measured": rounded(goal.measured),
            "unit": goal.unit,
            "met": goal.met(),
        })
        .to_string()
    });
    format!(
        "{{\"id\":{},\"title\":{},\"tables\":[\n{}\n],\"goals\":[\n{}\n]}}",
        json!(figure.id),
        json!(figure.title),
        lines(figure.tables.iter().map(table)),
        lines(goals)
    )
}

fn table(table: &Table) -> String {
    let columns = table.columns.iter();
    let columns = columns.map(|(label, of)| json!({ "label": label, "unit": unit(*of) }));
    let rows = table.rows.iter().map(|row| {
        let each = |p: f64| -> Vec<Value> {
            let samples = row.samples.iter();
            samples.map(|s| rounded(stats::percentile(s, p))).collect()
        };
        let (median, low, high) = (each(50.0), each(0.0), each(100.0));
        json!({ "peer": row.peer, "median": median, "low": low, "high": high }).to_string()
    });
    format!(
        "{{\"title\":{},\"columns\":{},\"rows\":[\n{}\n]}}",
        json!(table.title),
        Value::from_iter(columns),
        lines(rows)
    )
}

fn lines(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(",\n")
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ns | Unit::NsAfter => "ns",
        Unit::PerSecond => "1/s",
        Unit::Count => "1",
        Unit::Bytes => "bytes",
        Unit::Percent => "%",
    }
}

/// Four significant digits; `null` for a cell that was not measured.
fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    format!("{value:.3e}")
        .parse::<f64>()
        .map_or(Value::Null, Value::from)
}
