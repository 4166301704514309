//! What `bench` has found, as a table and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::histogram::Histogram;
use crate::load::{Op, Plan, Tally};
use crate::process::Usage;

/// The result of one run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) plan: Plan,
    pub(crate) elapsed: Duration,
    pub(crate) warmup: Duration,
    pub(crate) tally: Tally,
    /// What the generator itself used.
    pub(crate) own: Usage,
    /// What the servers used, by process.
    pub(crate) servers: Vec<(u32, Usage)>,
}

/// What a process used, divided by the operations.
struct PerOperation {
    cpu_seconds_per_100k: f64,
    switches: f64,
    written_bytes: Option<f64>,
}

impl Report {
    fn operations(&self) -> u64 {
        self.tally.puts.count() + self.tally.gets.count()
    }

    fn errors(&self) -> u64 {
        self.tally.errors.values().map(|(count, _)| count).sum()
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    fn per_operation(&self, usage: &Usage) -> PerOperation {
        let operations = self.operations().max(1) as f64;
        PerOperation {
            cpu_seconds_per_100k: usage.cpu_seconds / operations * 1e5,
            switches: usage.context_switches as f64 / operations,
            written_bytes: usage.written_bytes.map(|bytes| bytes as f64 / operations),
        }
    }

    /// All servers together: sums, but the largest member's memory.
    fn all_servers(&self) -> Usage {
        self.servers.iter().fold(
            Usage { written_bytes: Some(0), ..Usage::default() },
            |sum, (_, usage)| Usage {
                cpu_seconds: sum.cpu_seconds + usage.cpu_seconds,
                context_switches: sum.context_switches + usage.context_switches,
                written_bytes: sum.written_bytes.zip(usage.written_bytes).map(|(a, b)| a + b),
                resident_bytes: sum.resident_bytes.max(usage.resident_bytes),
                peak_bytes: sum.peak_bytes.max(usage.peak_bytes),
            },
        )
    }

    fn kinds(&self) -> Vec<(&'static str, &Histogram)> {
        let mut kinds = Vec::new();
        if self.plan.op != Op::Get {
            kinds.push(("put", &self.tally.puts));
        }
        if self.plan.op != Op::Put {
            kinds.push(("get", &self.tally.gets));
        }
        kinds
    }

    /// Whether this run says anything.
    ///
    /// # Errors
    /// If not one operation succeeded.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        if self.operations() > 0 {
            return Ok(());
        }
        let answered = self.tally.errors.keys().any(|kind| {
            kind.starts_with("HTTP") || kind.starts_with("not HTTP") || kind.starts_with("key")
        });
        let exit = if answered { Exit::Refused } else { Exit::Unreachable };
        Err(Failure::new(exit, "not one operation succeeded"))
    }

    /// One object with everything that the table shows; spans in microseconds.
    pub(crate) fn json(&self) -> Value {
        let latency: serde_json::Map<_, _> = self
            .kinds()
            .into_iter()
            .map(|(name, spans)| (name.to_owned(), spans_json(spans, self)))
            .collect();
        let errors: serde_json::Map<_, _> = self
            .tally
            .errors
            .iter()
            .map(|(kind, (count, sample))| {
                (kind.clone(), json!({ "count": count, "first": sample }))
            })
            .collect();
        let servers: Vec<_> =
            self.servers.iter().map(|(pid, usage)| self.usage_json(Some(*pid), usage)).collect();
        let all = (!servers.is_empty()).then(|| self.usage_json(None, &self.all_servers()));
        json!({
            "op": format!("{:?}", self.plan.op).to_lowercase(),
            "clients": self.plan.clients,
            "value_size": self.plan.value_size,
            "keys": self.plan.keys,
            "endpoints": self.plan.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "warmup_seconds": self.warmup.as_secs_f64(),
            "seconds": self.elapsed.as_secs_f64(),
            "operations": self.operations(),
            "per_second": self.per_second(self.operations()),
            "latency_us": latency,
            "longest_stall_us": micros(self.tally.longest_stall),
            "errors": self.errors(),
            "errors_by_kind": errors,
            "generator": self.usage_json(None, &self.own),
            "servers": servers,
            "all_servers": all,
        })
    }

    fn usage_json(&self, pid: Option<u32>, usage: &Usage) -> Value {
        let per = self.per_operation(usage);
        json!({
            "pid": pid,
            "cpu_seconds": usage.cpu_seconds,
            "cpu_seconds_per_100k": per.cpu_seconds_per_100k,
            "context_switches_per_operation": per.switches,
            "written_bytes_per_operation": per.written_bytes,
            "peak_bytes": usage.peak_bytes,
            "resident_bytes": usage.resident_bytes,
        })
    }
}

fn spans_json(spans: &Histogram, report: &Report) -> Value {
    json!({
        "count": spans.count(),
        "per_second": report.per_second(spans.count()),
        "p50": micros(spans.percentile(500)),
        "p90": micros(spans.percentile(900)),
        "p99": micros(spans.percentile(990)),
        "p99.9": micros(spans.percentile(999)),
        "max": micros(spans.max()),
    })
}

fn micros(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let endpoints: Vec<_> = plan.endpoints.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            "{} clients, {}-byte values, {} keys, {:.1} s after {:.1} s of warm-up, to {}",
            plan.clients,
            plan.value_size,
            plan.keys,
            self.elapsed.as_secs_f64(),
            self.warmup.as_secs_f64(),
            endpoints.join(" ")
        )?;
        writeln!(
            f,
            "\n          operations  per second      p50      p90      p99    p99.9      max  (ms)"
        )?;
        for (name, spans) in self.kinds() {
            writeln!(
                f,
                "{name:8} {:>11} {:>11.1} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>8.3}",
                spans.count(),
                self.per_second(spans.count()),
                millis(spans.percentile(500)),
                millis(spans.percentile(900)),
                millis(spans.percentile(990)),
                millis(spans.percentile(999)),
                millis(spans.max()),
            )?;
        }
        writeln!(
            f,
            "\nlongest time without a success: {:.1} ms\nerrors: {}",
            millis(self.tally.longest_stall),
            self.errors()
        )?;
        for (kind, (count, sample)) in &self.tally.errors {
            writeln!(f, "  {count} x {kind}; the first: {sample}")?;
        }
        self.processes(f)
    }
}

impl Report {
    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nprocess      cpu s  cpu s/100k  switches/op  written/op  peak MB  resident MB"
        )?;
        self.process(f, "generator", &self.own)?;
        for (pid, usage) in &self.servers {
            self.process(f, &format!("pid {pid}"), usage)?;
        }
        if self.servers.len() > 1 {
            self.process(f, "servers", &self.all_servers())?;
        }
        Ok(())
    }

    fn process(&self, f: &mut fmt::Formatter<'_>, name: &str, usage: &Usage) -> fmt::Result {
        let per = self.per_operation(usage);
        let written = per.written_bytes.map_or("-".to_owned(), |bytes| format!("{bytes:.0}"));
        writeln!(
            f,
            "{name:10} {:>7.2} {:>11.3} {:>12.3} {written:>11} {:>8.1} {:>12.1}",
            usage.cpu_seconds,
            per.cpu_seconds_per_100k,
            per.switches,
            usage.peak_bytes as f64 / 1e6,
            usage.resident_bytes as f64 / 1e6,
        )
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
