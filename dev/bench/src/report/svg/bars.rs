//! Horizontal bars; dots on stems where the axis is logarithmic, since a bar without a zero lies.

use super::scale::Scale;
use super::{Canvas, FAINT, GRID, QUIET, Text, is_limit, is_ours};
use crate::rounds::Unit;

const ROW: f64 = 22.0;
const HEAD: f64 = 30.0;
const FOOT: f64 = 24.0;
const NAMES: f64 = 168.0;
const VALUES: f64 = 74.0;

pub(super) fn height(bars: usize) -> f64 {
    HEAD + bars as f64 * ROW + FOOT
}

pub(super) fn draw(
    canvas: &mut Canvas,
    unit: Unit,
    bars: &[(&'static str, f64)],
    (x, y, width): (f64, f64, f64),
) {
    let scale = Scale::for_values(bars.iter().map(|(_, value)| *value), 25.0, 2.5);
    let (left, span) = (x + NAMES, width - NAMES - VALUES);
    let (top, bottom) = (y + HEAD, y + HEAD + bars.len() as f64 * ROW);
    for tick in scale.ticks() {
        let at = left + scale.place(tick) * span;
        canvas.line((at, top), (at, bottom), GRID, 1.0);
        let label = unit.tick(tick);
        let label = Text::new(&label).size(10.0).color(FAINT).anchor("middle");
        canvas.text(at, bottom + 13.0, &label);
    }
    for (index, (peer, value)) in bars.iter().enumerate() {
        let middle = top + (index as f64 + 0.5) * ROW;
        let color = match peer {
            peer if is_ours(peer) => "#c2410c",
            peer if is_limit(peer) => "#4b5563",
            _ => QUIET,
        };
        let name = Text::new(peer).anchor("end").bold_if(is_ours(peer));
        canvas.text(left - 8.0, middle + 4.0, &name);
        let length = scale.place(*value) * span;
        if scale.is_log() {
            canvas.line((left, middle), (left + length, middle), color, 2.0);
            canvas.dot(left + length, middle, 5.0, color);
        } else {
            canvas.rect(left, middle - 7.0, length, 14.0, color);
        }
        let label = unit.format(*value);
        let label = Text::new(&label).size(11.5).bold_if(is_ours(peer));
        canvas.text(left + length + 9.0, middle + 4.0, &label);
    }
}
