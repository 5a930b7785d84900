//! `GET /metrics`: the counters as OpenMetrics text, which Prometheus reads. Labels are routes, classes of
//! status, and tables, but never names of clients, whose number is unbounded.

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

/// Content type of the text.
const TEXT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn get(call: Call) -> Answer {
    let state = call.state.clone();
    let text = call.state.blocking(Unit::own(), move |_| text(state));
    let text = text.await?.map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Failure::internal()
    })?;
    Ok(answer::with_type(StatusCode::OK, TEXT_TYPE, text.into()))
}

fn text(state: Arc<AppState>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("hotread");
    registry.register_collector(Box::new(Scrape(state)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// One pass over all metrics.
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

/// Writes a metric a line: its kind, name, help and number.
macro_rules! write_all {
    ($out:ident: $($kind:ident $name:literal $help:literal = $number:expr;)*) => {
        $($out.$kind($name, $help, $number)?;)*
    };
}

impl Scrape {
    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = self.0.store.stats();
        write_all! { out:
            counter "commits" "Transactions committed" = stats.committed;
            counter "commit_groups" "Groups of transactions committed" = stats.groups;
            counter "refusals" "Transactions refused" = stats.refused;
            counter "failed_groups" "Groups of transactions that failed" = stats.failed_groups;
            gauge "commit_queue" "Transactions that wait" = stats.waiting as u64;
            gauge "commit_queue_bytes" "Bytes of the transactions that wait" = stats.waiting_bytes as u64;
            gauge "wal_bytes" "Size of SQLite's write-ahead log" = stats.wal_bytes;
            gauge "wal_held" "1 while a reader keeps the write-ahead log from restarting, else 0" = stats.wal_held.into();
            gauge "halted" "1 while writes fail, else 0" = stats.halted.is_some().into();
            micros "sqlite_group_seconds" "Time from BEGIN to the end of COMMIT of a group, in SQLite" = &stats.group_us;
            micros "sqlite_commit_seconds" "Time of a group's COMMIT alone, with its fsync" = &stats.commit_us;
            sizes "commit_group_size" "Transactions in a group" = &stats.group_sizes;
        }
        Ok(())
    }

    fn server(&self, out: &mut Out<'_>) -> fmt::Result {
        let (state, metrics) = (&self.0, &self.0.metrics);
        let (calls, snapshots) = (state.turns.depth(), state.snapshots.depth());
        let (history, (streams, _)) = (state.history.depth(), state.streams.depth());
        let at_risk = state.sessions.at_risk().len();
        write_all! { out:
            gauge "connections" "Connections that are open" = state.places.depth().0 as u64;
            gauge "calls" "Calls to the store that run" = calls.0 as u64;
            gauge "calls_waiting" "Calls to the store that wait" = calls.1 as u64;
            gauge "snapshots_running" "Snapshots being sent" = snapshots.0 as u64;
            gauge "snapshots_waiting" "Snapshots waiting to be sent" = snapshots.1 as u64;
            gauge "history_readers_running" "Readers of the history" = history.0 as u64;
            gauge "history_readers_waiting" "Readers waiting for the history" = history.1 as u64;
            gauge "sessions_at_risk" "Sessions whose clients refuse a value of their table, or are stuck" = at_risk as u64;
            gauge "event_streams" "Streams of events that are open" = streams as u64;
        }
        if let Some(tls) = &state.tls {
            let seconds = u64::try_from(tls.expires().millis() / 1_000).unwrap_or(0);
            let help = "Time at which the server's certificate expires, in seconds since 1970";
            out.gauge("tls_certificate_expires_seconds", help, seconds)?;
        }
        for (name, help, number) in metrics.counters() {
            out.counter(name, help, number)?;
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

    /// Writes, for each table, the number of its sessions and the lag of the slowest one.
    fn sessions(&self, out: &mut Out<'_>) -> fmt::Result {
        let mut tables: BTreeMap<TableName, (u64, u64)> = BTreeMap::new();
        for session in self.0.sessions.list() {
            let head = self.0.store.head(&session.table);
            let head = head.map_or(session.acked, |head| head.position.seq);
            let (sessions, lag) = tables.entry(session.table).or_default();
            *sessions += 1;
            *lag = head.saturating_sub(session.acked).max(*lag);
        }
        let mut write = |name: &str, help: &str, of: fn(&(u64, u64)) -> u64| -> fmt::Result {
            let mut encoder = out.family(name, help, MetricType::Gauge)?;
            for (table, numbers) in &tables {
                let labels = [("table", table.as_str())];
                let one = encoder.encode_family(&labels)?;
                ConstGauge::new(of(numbers)).encode(one)?;
            }
            Ok(())
        };
        write("sessions", "Sync sessions", |(sessions, _)| *sessions)?;
        let help = "Transactions that the slowest replica has not acknowledged";
        write("lag", help, |(_, lag)| *lag)
    }
}

/// Destination of the metrics.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        // The crate's own registry also adds the full stop.
        let help = format!("{help}.");
        self.0.encode_descriptor(name, &help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstCounter::new(number).encode(self.family(name, help, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstGauge::new(number).encode(self.family(name, help, MetricType::Gauge)?)
    }

    /// Writes a histogram of microseconds in seconds.
    fn micros(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.histogram(name, help, histogram, 1e6)
    }

    fn sizes(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.histogram(name, help, histogram, 1.0)
    }

    fn histogram(&mut self, name: &str, help: &str, of: &Histogram, unit: f64) -> fmt::Result {
        let bounds = of.bounds.iter().map(|&bound| bound as f64 / unit);
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(of.counts.iter().copied()).collect();
        let count = of.counts.iter().sum();
        self.family(name, help, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(of.sum as f64 / unit, count, &buckets, None)
    }
}
