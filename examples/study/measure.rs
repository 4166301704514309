//! Samples and counters: medians with their spread, and what the kernel has counted.

use std::fs;
use std::io;
use std::time::Duration;

use quorate::env::Clock;

/// Several samples of one quantity: the median, and the tenth and ninetieth percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) samples: usize,
}

impl Spread {
    /// One count, which has no spread.
    pub(crate) fn exactly(value: f64) -> Self {
        Self { median: value, low: value, high: value, samples: 1 }
    }

    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        if samples.is_empty() {
            return Self { samples: 0, ..Self::exactly(f64::NAN) };
        }
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| samples[((samples.len() - 1) * percent + 50) / 100];
        Self { median: at(50), low: at(10), high: at(90), samples: samples.len() }
    }
}

/// The mean time in nanoseconds that one call takes, once for each of `batches` batches.
pub(crate) fn time_each(batches: usize, calls: usize, mut call: impl FnMut()) -> Spread {
    let clock = Clock::real();
    let batch = |_| {
        let start = clock.now();
        (0..calls).for_each(|_| call());
        nanos(clock.now().since(start)) / calls as f64
    };
    Spread::of((0..batches).map(batch).collect())
}

pub(crate) fn nanos(span: Duration) -> f64 {
    span.as_nanos() as f64
}

/// What the kernel has counted for some processes, or some threads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: f64,
    /// Voluntary and involuntary ones.
    pub(crate) switches: f64,
    /// The involuntary ones: the kernel took the processor away.
    pub(crate) involuntary: f64,
    /// Bytes that it caused to be written to a device.
    pub(crate) written: f64,
}

impl Usage {
    /// Of all living threads of these processes.
    pub(crate) fn of(pids: &[u32]) -> io::Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                sum.add(&task?.path().to_string_lossy());
            }
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            sum.written += field(&io, "write_bytes");
        }
        Ok(sum)
    }

    /// Of one thread of this process.
    pub(crate) fn of_thread(tid: &str) -> Self {
        let mut sum = Self::default();
        sum.add(&format!("/proc/self/task/{tid}"));
        sum
    }

    /// A thread that has ended meanwhile counts nothing.
    fn add(&mut self, task: &str) {
        let status = fs::read_to_string(format!("{task}/status")).unwrap_or_default();
        let statistics = fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
        let involuntary = field(&status, "nonvoluntary_ctxt_switches");
        self.switches += field(&status, "voluntary_ctxt_switches") + involuntary;
        self.involuntary += involuntary;
        let run = statistics.split_ascii_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
        self.cpu_ns += run.unwrap_or(0.0);
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns - before.cpu_ns,
            switches: self.switches - before.switches,
            involuntary: self.involuntary - before.involuntary,
            written: self.written - before.written,
        }
    }
}

/// Bytes of memory of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Memory {
    /// In memory and of no other process: what ending it would give back, without page tables.
    pub(crate) private: f64,
    /// In memory, shared libraries and program included.
    pub(crate) resident: f64,
    /// Addresses taken.
    pub(crate) reserved: f64,
    /// Page tables, which the kernel keeps beside.
    pub(crate) page_tables: f64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib = |text: &str, name| field(text, name) * 1024.0;
        Ok(Self {
            private: kib(&rollup, "Private_Clean") + kib(&rollup, "Private_Dirty"),
            resident: kib(&status, "VmRSS"),
            reserved: kib(&status, "VmSize"),
            page_tables: kib(&status, "VmPTE"),
        })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            private: self.private - before.private,
            resident: self.resident - before.resident,
            reserved: self.reserved - before.reserved,
            page_tables: self.page_tables - before.page_tables,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            private: self.private + other.private,
            resident: self.resident + other.resident,
            reserved: self.reserved + other.reserved,
            page_tables: self.page_tables + other.page_tables,
        }
    }
}

/// Bytes of kernel stacks of the whole machine.
pub(crate) fn kernel_stacks() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, "KernelStack") * 1024.0
}

/// The number behind `name:` at the start of a line; zero if there is none.
fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    number.unwrap_or(0.0)
}

/// The machine in one line: processor, cores, kernel, and its load at this moment.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, Linux {}",
        model.unwrap_or("a processor without a name"),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

/// The load of the last minute, as the kernel averages it.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
