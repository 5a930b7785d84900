//! `GET /metrics`: what is counted, as OpenMetrics text, which Prometheus reads. Labels are routes, classes
//! of status, and tables: never names of clients, of which there is no end.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::metrics::read;
use crate::state::AppState;
use crate::work::Unit;
use axum::http::StatusCode;
use hotread_proto::TableName;
use hotread_proto::http::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The type of the text.
const TEXT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`, in the OpenMetrics text format.
pub(super) async fn get(call: Call) -> Answer {
    let state = call.state.clone();
    let text = call
        .state
        .blocking(Unit::own(), move |_| text(state))
        .await?;
    let text = text.map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Failure::internal()
    })?;
    Ok(answer::with_type(StatusCode::OK, TEXT_TYPE, text.into()))
}

/// All metrics as text.
fn text(state: Arc<AppState>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("hotread");
    registry.register_collector(Box::new(Scrape(state)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// One look at everything.
struct Scrape(Arc<AppState>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        self.store(&mut out)?;
        self.server(&mut out)?;
        self.sessions(&mut out)
    }
}

impl Scrape {
    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = self.0.store.stats();
        out.counter("commits", "Transactions committed", stats.committed)?;
        out.counter(
            "commit_groups",
            "Groups of transactions committed",
            stats.groups,
        )?;
        out.counter("refusals", "Transactions refused", stats.refused)?;
        out.counter(
            "failed_groups",
            "Groups of transactions that failed",
            stats.failed_groups,
        )?;
        out.gauge(
            "commit_queue",
            "Transactions that wait",
            stats.waiting as u64,
        )?;
        let (help, waiting) = ("Bytes of the transactions that wait", stats.waiting_bytes);
        out.gauge("commit_queue_bytes", help, waiting as u64)?;
        out.gauge(
            "wal_bytes",
            "Size of SQLite's write-ahead log",
            stats.wal_bytes,
        )?;
        let help = "Does a reader keep the write-ahead log from beginning anew?";
        out.gauge("wal_held", help, u64::from(stats.wal_held))?;
        let halted = u64::from(stats.halted.is_some());
        out.gauge("halted", "Can nothing be written at the moment?", halted)?;
        let help = "Time from BEGIN to the end of COMMIT of a group, in SQLite";
        out.seconds("sqlite_group_seconds", help, &stats.group_us)?;
        let help = "Time of a group's COMMIT alone, with its fsync";
        out.seconds("sqlite_commit_seconds", help, &stats.commit_us)?;
        let help = "Transactions in a group";
        out.histogram("commit_group_size", help, &stats.group_sizes, 1.0)
    }

    fn server(&self, out: &mut Out<'_>) -> fmt::Result {
        let (state, metrics) = (&self.0, &self.0.metrics);
        out.gauge(
            "connections",
            "Connections that are open",
            state.places.taken() as u64,
        )?;
        let (running, waiting) = state.turns.depth();
        out.gauge("calls", "Calls to the store that run", running as u64)?;
        out.gauge(
            "calls_waiting",
            "Calls to the store that wait",
            waiting as u64,
        )?;
        for (name, what, of) in [
            (
                "snapshots",
                "Snapshots that are sent",
                &state.sessions.snapshots,
            ),
            ("history_readers", "Readers of the history", &state.history),
        ] {
            let (running, waiting) = of.depth();
            let name_waiting = format!("{name}_waiting");
            out.gauge(&format!("{name}_running"), what, running as u64)?;
            out.gauge(
                &name_waiting,
                &format!("{what}, waiting for a turn"),
                waiting as u64,
            )?;
        }
        out.gauge(
            "sessions_at_risk",
            "Sessions whose clients refuse a value of their table, or stand still",
            state.sessions.at_risk().len() as u64,
        )?;
        let (streams, _) = state.streams.depth();
        out.gauge(
            "event_streams",
            "Streams of events that are open",
            streams as u64,
        )?;
        let counters = [
            (
                "accepted_connections",
                "Connections taken in",
                &metrics.connections,
            ),
            (
                "refused_connections",
                "Connections without a place",
                &metrics.refused_connections,
            ),
            (
                "rate_limited",
                "Requests that came too fast",
                &metrics.rate_limited,
            ),
            (
                "accepted_event_streams",
                "Streams of events begun",
                &metrics.event_streams,
            ),
            ("events", "Events sent on streams", &metrics.events_sent),
            (
                "frames",
                "Frames sent on sync sessions",
                &metrics.frames_sent,
            ),
            ("frame_bytes", "Bytes of those frames", &metrics.bytes_sent),
            (
                "resumes",
                "Sync sessions that went on where they were",
                &metrics.resumes,
            ),
            ("snapshots", "Snapshots sent", &metrics.snapshots),
            ("folds", "Times that changes were folded", &metrics.folds),
            ("nacks", "Values that clients refused", &metrics.nacks),
            (
                "failed_sessions",
                "Sync sessions that ended with an error",
                &metrics.failed_sessions,
            ),
            (
                "lost_sessions",
                "Sync sessions whose connection was lost",
                &metrics.lost_sessions,
            ),
            (
                "received_frames",
                "Frames received on sync sessions",
                &metrics.frames_received,
            ),
        ];
        for (name, help, counter) in counters {
            out.counter(name, help, read(counter))?;
        }
        let mut encoder = out.family("http_requests", "Requests answered", MetricType::Counter)?;
        for (method, path, classes) in &metrics.requests {
            for (class, counter) in classes.iter().enumerate() {
                let (number, class) = (read(counter), format!("{}xx", class + 1));
                if number > 0 {
                    let labels = [("method", *method), ("route", *path), ("status", &class)];
                    let one = encoder.encode_family(&labels)?;
                    ConstCounter::new(number).encode(one)?;
                }
            }
        }
        Ok(())
    }

    /// By table: how many follow it, and how far the last of them is behind.
    fn sessions(&self, out: &mut Out<'_>) -> fmt::Result {
        let mut tables: BTreeMap<TableName, (u64, u64)> = BTreeMap::new();
        for session in self.0.sessions.list() {
            let head = self.0.store.head(&session.table);
            let head = head.map_or(session.acked, |head| head.position.seq);
            let (sessions, lag) = tables.entry(session.table).or_default();
            *sessions += 1;
            *lag = head.saturating_sub(session.acked).max(*lag);
        }
        type Read = fn(&(u64, u64)) -> u64;
        let gauges: [(&str, &str, Read); 2] = [
            ("sessions", "Sync sessions", |(sessions, _)| *sessions),
            (
                "lag",
                "Transactions that the last replica has not acknowledged",
                |(_, lag)| *lag,
            ),
        ];
        for (name, help, of) in gauges {
            let mut encoder = out.family(name, help, MetricType::Gauge)?;
            for (table, numbers) in &tables {
                let labels = [("table", table.as_str())];
                let one = encoder.encode_family(&labels)?;
                ConstGauge::new(of(numbers)).encode(one)?;
            }
        }
        Ok(())
    }
}

/// Where metrics are written.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        // The full stop is what the crate's own registry adds.
        self.0
            .encode_descriptor(name, &format!("{help}."), None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstCounter::new(number).encode(self.family(name, help, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstGauge::new(number).encode(self.family(name, help, MetricType::Gauge)?)
    }

    /// Of microseconds.
    fn seconds(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.histogram(name, help, histogram, 1e6)
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram,
        unit: f64,
    ) -> fmt::Result {
        let bounds = histogram.bounds.iter().map(|&bound| bound as f64 / unit);
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(histogram.counts.iter().copied()).collect();
        let count = histogram.counts.iter().sum();
        self.family(name, help, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(histogram.sum as f64 / unit, count, &buckets, None)
    }
}
