//! Plots as plain SVG: panels of bars or lines, HotRead in one strong colour.

mod bars;
mod lines;
mod scale;

use std::fmt::Write;

use crate::rounds::{Table, Unit};
use crate::stats;

const WIDTH: f64 = 980.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 28.0;
const INK: &str = "#1f2937";
const FAINT: &str = "#6b7280";
const GRID: &str = "#e5e7eb";
const QUIET: &str = "#9db2c9";

/// One panel of a plot.
pub enum Chart {
    /// One bar a peer.
    Bars {
        /// Above the panel.
        title: String,
        /// What the numbers are.
        unit: Unit,
        /// The peers and their numbers.
        bars: Vec<(&'static str, f64)>,
    },
    /// One line a peer, over categories.
    Lines {
        /// Above the panel.
        title: String,
        /// Below the axis.
        x_label: String,
        /// What the numbers are.
        unit: Unit,
        /// The categories.
        x: Vec<String>,
        /// The peers and their numbers.
        series: Vec<(&'static str, Vec<f64>)>,
    },
}

impl Chart {
    /// A column of a table as bars, the best first.
    pub fn bars(table: &Table, column: usize) -> Self {
        let unit = table.columns[column].unit;
        let rows = table.rows.iter();
        let mut bars: Vec<_> = rows
            .map(|row| (row.peer, stats::median(&row.samples[column])))
            .filter(|(_, value)| value.is_finite())
            .collect();
        bars.sort_by(|a, b| a.1.total_cmp(&b.1));
        if unit == Unit::PerSecond {
            bars.reverse();
        }
        Self::Bars {
            title: table.columns[column].label.clone(),
            unit,
            bars,
        }
    }

    /// All columns of a table as bars, one panel each.
    pub fn bars_of_all(table: &Table) -> Vec<Self> {
        let columns = 0..table.columns.len();
        columns.map(|column| Self::bars(table, column)).collect()
    }

    /// Some columns of a table as categories of a line chart.
    pub fn lines(table: &Table, columns: std::ops::Range<usize>, x_label: &str) -> Self {
        let series = table.rows.iter().map(|row| {
            let medians = row.samples[columns.clone()].iter();
            (row.peer, medians.map(|s| stats::median(s)).collect())
        });
        let series: Vec<(_, Vec<f64>)> = series.collect();
        Self::Lines {
            title: table.title.clone(),
            x_label: x_label.into(),
            unit: table.columns[columns.start].unit,
            x: table.columns[columns]
                .iter()
                .map(|column| column.label.clone())
                .collect(),
            series: series
                .into_iter()
                .filter(|(_, values)| values.iter().any(|v| v.is_finite()))
                .collect(),
        }
    }

    /// The same panel under another title.
    pub fn titled(mut self, new: &str) -> Self {
        match &mut self {
            Self::Bars { title, .. } | Self::Lines { title, .. } => *title = new.into(),
        }
        self
    }

    fn height(&self) -> f64 {
        match self {
            Self::Bars { bars, .. } => bars::height(bars.len()),
            Self::Lines { series, .. } => lines::height(series.len()),
        }
    }

    fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        match self {
            Self::Bars { title, unit, bars } => {
                canvas.text(x, y + 16.0, &Text::new(title).bold().size(13.5));
                bars::draw(canvas, *unit, bars, (x, y, width));
            }
            Self::Lines {
                title,
                x_label,
                unit,
                x: categories,
                series,
            } => {
                canvas.text(x, y + 16.0, &Text::new(title).bold().size(13.5));
                lines::draw(canvas, (*unit, x_label), categories, series, (x, y, width));
            }
        }
    }
}

/// Whether a peer is this workspace's HotRead.
fn is_ours(peer: &str) -> bool {
    peer.starts_with("HotRead")
}

/// Whether a peer is a bound rather than a competitor.
fn is_limit(peer: &str) -> bool {
    ["bare", "two maps", "two copies"]
        .iter()
        .any(|limit| peer.starts_with(limit))
}

/// A whole plot: a title and panels, two beside each other.
pub fn render(title: &str, charts: &[Chart]) -> String {
    let columns = if charts.len() > 1 { 2 } else { 1 };
    let width = (WIDTH - 2.0 * MARGIN - GAP * (columns - 1) as f64) / columns as f64;
    let top = MARGIN + 34.0;
    let rows: Vec<f64> = charts
        .chunks(columns)
        .map(|row| row.iter().map(Chart::height).fold(0.0, f64::max))
        .collect();
    let height = top + rows.iter().map(|row| row + GAP).sum::<f64>() - GAP + MARGIN;

    let mut canvas = Canvas::new(height.max(top));
    canvas.text(MARGIN, MARGIN + 14.0, &Text::new(title).bold().size(18.0));
    let mut y = top;
    for (row, height) in charts.chunks(columns).zip(&rows) {
        for (column, chart) in row.iter().enumerate() {
            let x = MARGIN + column as f64 * (width + GAP);
            chart.draw(&mut canvas, x, y, width);
        }
        y += height + GAP;
    }
    canvas.finish()
}

/// SVG under construction.
struct Canvas(String);

struct Text<'a> {
    text: &'a str,
    size: f64,
    bold: bool,
    color: &'a str,
    anchor: &'a str,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            size: 12.0,
            bold: false,
            color: INK,
            anchor: "start",
        }
    }

    fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    fn bold_if(self, bold: bool) -> Self {
        Self { bold, ..self }
    }

    fn size(self, size: f64) -> Self {
        Self { size, ..self }
    }

    fn color(self, color: &'a str) -> Self {
        Self { color, ..self }
    }

    fn anchor(self, anchor: &'a str) -> Self {
        Self { anchor, ..self }
    }
}

impl Canvas {
    fn new(height: f64) -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n\
             <rect width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"8\" fill=\"#ffffff\"/>\n"
        ))
    }

    fn finish(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }

    fn text(&mut self, x: f64, y: f64, text: &Text<'_>) {
        let weight = if text.bold {
            " font-weight=\"600\""
        } else {
            ""
        };
        let escaped = text
            .text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{}\"{weight}>{escaped}</text>",
            text.size, text.color, text.anchor
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), color: &str, width: f64) {
        self.push(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\" stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{color}\"/>",
            width.max(1.0)
        ));
    }

    fn dot(&mut self, x: f64, y: f64, radius: f64, color: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{color}\"/>"
        ));
    }

    fn path(&mut self, points: &[(f64, f64)], color: &str, width: f64, dashed: bool) {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{x:.1} {y:.1} ");
        }
        let dash = if dashed {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        self.push(format_args!(
            "<path d=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dash}/>",
            path.trim_end()
        ));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{element}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Rounds;

    fn table() -> Table {
        let mut rounds = Rounds::new("t", &[("one", Unit::Ns), ("two", Unit::Ns)]);
        rounds.add("HotRead, read(|s| …)", 0, || vec![1.0, 2.0]);
        rounds.add("a<b>&c", 0, || vec![0.5, 900.0]);
        rounds.add("missing", 0, || vec![f64::NAN, f64::NAN]);
        rounds.run(1)
    }

    #[test]
    fn plots_are_well_formed_and_escape_names() {
        let table = table();
        let mut charts = Chart::bars_of_all(&table);
        charts.push(Chart::lines(&table, 0..2, "x"));
        let svg = render("A <title>", &charts);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("A &lt;title&gt;") && svg.contains("a&lt;b&gt;&amp;c"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(
            !svg.contains("missing"),
            "a peer without numbers is left out"
        );
    }

    #[test]
    fn bars_start_with_the_best() {
        let Chart::Bars { bars, .. } = Chart::bars(&table(), 0) else {
            unreachable!("asked for bars")
        };
        assert_eq!(bars[0].0, "a<b>&c");
        assert_eq!(bars.len(), 2);
    }
}
