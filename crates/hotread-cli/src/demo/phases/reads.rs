//! Flat out: how fast workers read their replicas, and the same over HTTP.

use super::{Stage, whole_millis};
use crate::demo::WAIT;
use crate::demo::display::{nanos, whole};
use crate::demo::fleet::odd;
use crate::demo::protocol::{Ask, Rate, Said};
use anyhow::Result;

pub(in crate::demo) async fn reads(stage: &mut Stage<'_>) -> Result<()> {
    let Stage { display, .. } = stage;
    display.heading("2  Reading, flat out")?;
    display.prose(
        "What a service looks up on every request (a flag, a route, a limit) must cost next to \
         nothing. Each worker looks up real keys in a loop: in its replica, where that is one load, \
         one compare and a look-up in a map; then, for contrast, over HTTP, one by one, on a \
         connection that is kept open.",
    )?;
    let millis = whole_millis(stage.time);
    let local = rates(stage, &Ask::Read { millis }, "reading replicas").await?;
    let http = rates(stage, &Ask::Http { millis }, "reading over HTTP").await?;
    let display = &mut stage.display;
    display.done();
    let mut rows = Vec::new();
    for ((worker, local), http) in stage.facts.workers.iter_mut().zip(local).zip(http) {
        worker.reads_per_s = local.per_second();
        worker.ns_per_read = local.nanos_each();
        worker.http_reads_per_s = http.per_second();
        worker.ns_per_http_read = http.nanos_each();
        worker.factor = http.nanos_each() / local.nanos_each().max(f64::MIN_POSITIVE);
        worker.misses += local.misses + http.misses;
        rows.push([
            worker.name.clone(),
            whole(worker.reads_per_s),
            nanos(worker.ns_per_read),
            whole(worker.http_reads_per_s),
            nanos(worker.ns_per_http_read),
            format!("{} x", whole(worker.factor)),
        ]);
    }
    display.table(
        ["", "reads/s", "a read", "over HTTP/s", "a read", "factor"],
        &rows,
    )?;
    if cfg!(debug_assertions) {
        display.prose(
            "This is a build for debugging: a release build reads many times as fast \
             (cargo run --release -- demo).",
        )?;
    }
    Ok(())
}

async fn rates(stage: &mut Stage<'_>, ask: &Ask, doing: &str) -> Result<Vec<Rate>> {
    stage.display.doing(doing);
    let said = stage.fleet.ask(ask, stage.time + WAIT).await?;
    let rate = |said| match said {
        Said::Rate(rate) => Ok(rate),
        said => Err(odd(&said)),
    };
    said.into_iter().map(rate).collect()
}
