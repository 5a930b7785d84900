//! Lines over categories, each named at its right end.

use super::scale::Scale;
use super::{Canvas, FAINT, GRID, Text, is_limit, is_ours};
use crate::rounds::Unit;

const HEAD: f64 = 30.0;
const FOOT: f64 = 40.0;
const LEFT: f64 = 62.0;
/// Room for the names at the right: beside the longest name, and for each of its letters.
const RIGHT: f64 = 22.0;
const LETTER: f64 = 6.6;
const LABEL: f64 = 14.0;

pub(super) fn height(series: usize) -> f64 {
    HEAD + FOOT + (series as f64 * LABEL + 10.0).max(210.0)
}

/// One colour a peer, the same in all plots.
fn color(peer: &str) -> &'static str {
    match peer {
        "HotRead" | "HotRead, 2 copies" | "HotRead, quiet handles" => "#c2410c",
        peer if is_ours(peer) => "#f08a4b",
        peer if peer.starts_with("hotread 0.1.2") => "#9f1239",
        peer if is_limit(peer) => "#4b5563",
        "left-right" => "#2563eb",
        "evmap" => "#60a5fa",
        "arc-swap Cache" => "#047857",
        "ArcSwap::load" => "#34d399",
        "std RwLock" => "#7c3aed",
        "parking_lot RwLock" => "#a78bfa",
        "tokio watch" => "#db2777",
        "papaya" => "#0891b2",
        "dashmap" => "#65a30d",
        "scc HashMap" => "#a16207",
        "scc HashIndex" => "#d4a017",
        "liburcu QSBR" => "#111827",
        "etcd" => "#2563eb",
        "JetStream KV" => "#047857",
        peer if peer.starts_with("Redis") => "#db2777",
        _ => "#94a3b8",
    }
}

pub(super) fn draw(
    canvas: &mut Canvas,
    (unit, x_label): (Unit, &str),
    categories: &[String],
    series: &[(&'static str, Vec<f64>)],
    (x, y, width): (f64, f64, f64),
) {
    let values = series.iter().flat_map(|(_, values)| values.iter().copied());
    let scale = Scale::for_values(values, 8.0, 1.3);
    let longest = series.iter().map(|(peer, _)| peer.chars().count()).max();
    let names = RIGHT + LETTER * longest.unwrap_or(0) as f64;
    let (left, right) = (x + LEFT, x + width - names);
    let (top, bottom) = (y + HEAD, y + height(series.len()) - FOOT);
    let place_y = |value: f64| bottom - scale.place(value) * (bottom - top);
    let steps = (categories.len().max(2) - 1) as f64;
    let place_x = |index: usize| left + 10.0 + index as f64 / steps * (right - left - 20.0);

    for tick in scale.ticks() {
        let at = place_y(tick);
        canvas.line((left, at), (right, at), GRID, 1.0);
        let label = unit.tick(tick);
        let label = Text::new(&label).size(10.5).color(FAINT).anchor("end");
        canvas.text(left - 6.0, at + 3.5, &label);
    }
    for (index, category) in categories.iter().enumerate() {
        let label = Text::new(category).size(11.0).color(FAINT).anchor("middle");
        canvas.text(place_x(index), bottom + 17.0, &label);
    }
    let label = Text::new(x_label).size(11.0).color(FAINT).anchor("middle");
    canvas.text((left + right) / 2.0, bottom + 33.0, &label);

    // HotRead is drawn last, above the others.
    let mut order: Vec<_> = series.iter().collect();
    order.sort_by_key(|(peer, _)| is_ours(peer));
    let mut ends = Vec::new();
    for (peer, values) in order {
        let points: Vec<(f64, f64)> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .map(|(index, value)| (place_x(index), place_y(*value)))
            .collect();
        let Some(end) = points.last() else { continue };
        let thickness = if is_ours(peer) { 2.8 } else { 1.6 };
        canvas.path(&points, color(peer), thickness, is_limit(peer));
        for (x, y) in &points {
            let radius = if is_ours(peer) { 3.6 } else { 2.4 };
            canvas.dot(*x, *y, radius, color(peer));
        }
        ends.push((*peer, *end));
    }
    name_ends(canvas, &mut ends, right + 14.0, (top, bottom));
}

/// Names the lines beside their ends, moved apart where they would overlap.
fn name_ends(
    canvas: &mut Canvas,
    ends: &mut [(&str, (f64, f64))],
    x: f64,
    (top, bottom): (f64, f64),
) {
    ends.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
    let wanted: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
    let places = spread(&wanted, LABEL, (top, bottom));
    for ((peer, (end_x, end_y)), place) in ends.iter().zip(places) {
        canvas.line((end_x + 4.0, *end_y), (x - 3.0, place), "#d1d5db", 0.8);
        let name = Text::new(peer)
            .size(11.0)
            .color(color(peer))
            .bold_if(is_ours(peer));
        canvas.text(x, place + 3.5, &name);
    }
}

/// Sorted places, moved so that neighbours are `gap` apart and all lie within the bounds.
fn spread(wanted: &[f64], gap: f64, (top, bottom): (f64, f64)) -> Vec<f64> {
    let mut places = wanted.to_vec();
    let mut lowest = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(lowest);
        lowest = *place - gap;
    }
    let mut highest = top;
    for place in &mut places {
        *place = place.max(highest);
        highest = *place + gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_overlap_and_stay_inside() {
        let places = spread(&[10.0, 10.0, 11.0, 90.0, 99.0, 99.0], 12.0, (0.0, 100.0));
        assert!(
            places
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= 12.0 - 1e-9)
        );
        assert!(places.iter().all(|place| (0.0..=100.0).contains(place)));
    }

    #[test]
    fn names_with_room_stay_where_they_are() {
        assert_eq!(spread(&[10.0, 50.0], 12.0, (0.0, 100.0)), [10.0, 50.0]);
    }
}
