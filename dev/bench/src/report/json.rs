//! The raw results, for other documents to draw their tables from.

use serde_json::{Value, json};

use super::{Figure, Run};
use crate::rounds::{Table, Unit};
use crate::stats;

/// The whole run; medians, and the lowest and highest round, of every cell. One line a row, so that
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
    let figures: Vec<String> = run.figures.iter().map(figure).collect();
    format!(
        "{{\"schema\":1,\"quick\":{},\"machine\":{head},\"figures\":[\n{}\n]}}\n",
        run.quick,
        figures.join(",\n")
    )
}

fn figure(figure: &Figure) -> String {
    let goals: Vec<String> = figure
        .goals
        .iter()
        .map(|goal| {
            json!({
                "what": goal.what,
                "relation": goal.relation,
                "target": goal.target,
                "measured": rounded(goal.measured),
                "unit": goal.unit,
                "met": goal.met(),
            })
            .to_string()
        })
        .collect();
    let tables: Vec<String> = figure.tables.iter().map(table).collect();
    format!(
        "{{\"id\":{},\"title\":{},\"tables\":[\n{}\n],\"goals\":[\n{}\n]}}",
        json!(figure.id),
        json!(figure.title),
        tables.join(",\n"),
        goals.join(",\n")
    )
}

fn table(table: &Table) -> String {
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|column| json!({ "label": column.label, "unit": unit(column.unit) }))
        .collect();
    let rows: Vec<String> = table
        .rows
        .iter()
        .map(|row| {
            let each = |p: f64| -> Vec<Value> {
                let samples = row.samples.iter();
                samples.map(|s| rounded(stats::percentile(s, p))).collect()
            };
            json!({
                "peer": row.peer,
                "median": each(50.0),
                "low": each(0.0),
                "high": each(100.0),
            })
            .to_string()
        })
        .collect();
    format!(
        "{{\"title\":{},\"columns\":{},\"rows\":[\n{}\n]}}",
        json!(table.title),
        json!(columns),
        rows.join(",\n")
    )
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

/// Four significant digits; `null` where nothing was measured.
fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    format!("{value:.3e}")
        .parse::<f64>()
        .map_or(Value::Null, Value::from)
}
