//! What the gateway counts, and how `/metrics` tells it.
//!
//! On the way of a request a counter is a number in a cell; the registry of the Prometheus library
//! is made anew for each scrape.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::api::gateway::Shared;
use crate::api::route::Endpoint;
use crate::env::process::resident_bytes;
use crate::node::{Engine, Role, Status};

/// gRPC codes are 0 to 16.
const CODES: usize = 17;

/// Upper bounds of the latency buckets, in seconds: a sync on a fast device to a lost leader.
pub(crate) const LATENCY_BOUNDS: [f64; 14] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 7.0];

/// A histogram of latencies.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    buckets: RefCell<[u64; LATENCY_BOUNDS.len() + 1]>,
    sum: Cell<f64>,
}

impl Latencies {
    /// Counts one.
    pub(crate) fn observe(&self, span: Duration) {
        let seconds = span.as_secs_f64();
        let at = LATENCY_BOUNDS.partition_point(|&bound| bound < seconds);
        self.buckets.borrow_mut()[at] += 1;
        self.sum.set(self.sum.get() + seconds);
    }
}

/// The counters of one gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    answers: RefCell<[[u64; CODES]; Endpoint::COUNT]>,
    /// From a write's being proposed to its being applied.
    pub(crate) propose: Latencies,
    /// Connections at present.
    pub(crate) connections: Cell<u64>,
    /// Connections refused because there were too many.
    pub(crate) refused: Cell<u64>,
    /// Failed accepts: no file descriptors, no memory.
    pub(crate) accept_errors: Cell<u64>,
    /// Watches at present.
    pub(crate) watches: Cell<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            answers: RefCell::new([[0; CODES]; Endpoint::COUNT]),
            propose: Latencies::default(),
            connections: Cell::new(0),
            refused: Cell::new(0),
            accept_errors: Cell::new(0),
            watches: Cell::new(0),
        }
    }
}

impl Metrics {
    /// Counts one answer by endpoint and gRPC code.
    pub(crate) fn answered(&self, endpoint: Endpoint, code: u8) {
        let code = usize::from(code).min(CODES - 1);
        self.answers.borrow_mut()[endpoint as usize][code] += 1;
    }
}

/// Adds `by` to a counter in a cell.
pub(crate) fn add(cell: &Cell<u64>, by: i64) {
    cell.set(cell.get().saturating_add_signed(by));
}

/// One scrape, as text.
pub(crate) fn render(shared: &Shared) -> String {
    let mut registry = Registry::with_prefix("quorate");
    let metrics = &shared.metrics;
    let status = shared.node.status();
    let answers = Family::<Vec<(&'static str, String)>, Counter>::default();
    for (endpoint, codes) in Endpoint::NAMES.iter().zip(metrics.answers.borrow().iter()) {
        for (code, &count) in codes.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let labels = vec![("endpoint", (*endpoint).to_owned()), ("code", code.to_string())];
            answers.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("answers", "Answers by endpoint and gRPC code", answers);
    registry.register(
        "propose_seconds",
        "From a write's being proposed to its being applied",
        metrics.propose.snapshot(),
    );
    let counters = [
        ("connections_refused", "Connections beyond the limit", metrics.refused.get()),
        ("accept_errors", "Failed accepts", metrics.accept_errors.get()),
        ("frames_dropped", "Frames to peers dropped from full queues", status.vitals.dropped),
        ("frames_malformed", "Frames of peers that made no sense", status.vitals.malformed),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    for (name, help, value) in gauges(shared, &status) {
        registry.register(name, help, ConstGauge::new(value));
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = encode(&mut text, &registry);
    text
}

/// The present values.
fn gauges(shared: &Shared, status: &Status) -> Vec<(&'static str, &'static str, u64)> {
    let metrics = &shared.metrics;
    let mut gauges = vec![
        ("connections", "Connections at present", metrics.connections.get()),
        ("watches", "Watches at present", metrics.watches.get()),
        ("resident_bytes", "Memory of this process", resident_bytes()),
        ("is_leader", "1 if this node leads", u64::from(status.role == Role::Leader)),
        ("has_leader", "1 if this node knows a leader", u64::from(status.leader.is_some())),
        ("term", "The term, or the epoch of another engine", status.epoch),
        ("last_index", "The last entry of the log", status.last_index.0),
        ("commit_index", "The last decided entry", status.commit_index.0),
        ("applied_index", "The last applied entry", status.applied_index.0),
        ("journal_bytes", "Bytes of the journal on disk", status.vitals.journal_bytes),
        ("sync_median_us", "Median of the last syncs", status.vitals.sync_us),
        ("loop_lag_us", "How late the loop came to a timer lately", status.vitals.loop_lag_us),
        ("waiting", "Requests that wait for a decision", status.vitals.waiting as u64),
        (
            "disk_full",
            "1 if writes are refused for lack of room",
            u64::from(status.vitals.disk_full),
        ),
    ];
    match &status.engine {
        Engine::Raft { snapshot_index, .. } => {
            gauges.push(("snapshot_index", "The last entry in the snapshot", snapshot_index.0));
        }
        Engine::Helix { height, view, evidence, trouble, signed, verified, .. } => {
            let pieces = evidence.iter().map(|(_, pieces)| pieces).sum();
            gauges.push(("height", "The height that is being decided", height.0));
            gauges.push(("view", "The view that it is in", view.0));
            gauges.push(("evidence", "Pieces of evidence against members", pieces));
            gauges.push(("in_trouble", "1 if it cannot go on", u64::from(trouble.is_some())));
            gauges.push(("signed", "Signatures made", *signed));
            gauges.push(("verified", "Signatures checked", *verified));
        }
    }
    shared.node.read_stale(|store| {
        gauges.push(("revision", "The store's revision", store.revision().unsigned_abs()));
        gauges.push(("keys", "Keys in the store", store.key_count()));
        gauges.push(("data_bytes", "Bytes of keys and values", store.data_bytes()));
        gauges.push(("history_bytes", "Bytes of history", store.history_bytes()));
    });
    gauges
}

/// A histogram at one moment: counts by upper bound, and the sum of all.
#[derive(Debug)]
struct Snapshot {
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Latencies {
    fn snapshot(&self) -> Snapshot {
        let bounds = LATENCY_BOUNDS.iter().copied().chain([f64::MAX]);
        Snapshot {
            buckets: bounds.zip(self.buckets.borrow().iter().copied()).collect(),
            sum: self.sum.get(),
        }
    }
}

impl EncodeMetric for Snapshot {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let count = self.buckets.iter().map(|&(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
