//! One replicated write path in three shapes: a process, a thread, or a future for each component.
//!
//! ```text
//!              ┌─▶ log: written and synced ───┐
//! writes ─▶ core ─▶ replication to peer A ────┤─▶ core: two of three? ─▶ state machine ─▶ done
//!              └─▶ replication to peer B ─────┘
//! ```
//!
//! The work is the same in all shapes, and so are the two peers: processes that write, sync and
//! answer. Only what lies between the components differs. Each is the smallest honest version: no
//! elections, no recovery, one batch under way to each peer and to the disk.

mod future;
mod process;
mod thread;
pub(crate) mod work;

use std::io;
use std::path::Path;
use std::time::Duration;

use quorate::env::disk::SyncMode;
use quorate::env::{Clock, Time};

use crate::figures::Figures;
use crate::measure::{Memory, Spread, Usage, nanos};
use crate::workers::{Worker, numbers};

pub(crate) use process::{log_job, machine_job, replication_job};

const SECTION: &str = "The same replicated write path in three shapes";
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_millis(250);
const SPAN: Duration = Duration::from_millis(750);

/// The name of a shape, what it is called in the table, and its source.
const SHAPES: [(&str, &str, &str); 4] = [
    ("process", "a process for each", include_str!("process.rs")),
    ("thread", "a thread for each", include_str!("thread.rs")),
    ("future", "a future for each, sync in place", include_str!("future.rs")),
    ("helper", "a future for each, sync on a helper thread", include_str!("future.rs")),
];

/// Runs every shape several times, in turn, with one write and with 64 writes under way.
pub(crate) fn run(figures: &mut Figures, folder: &Path) -> io::Result<()> {
    const QUANTITIES: [[(&str, &str); 4]; 2] = [
        [
            ("writes/s, 1 under way", "/s"),
            ("processor per write, 1", "ns"),
            ("switches per write, 1", ""),
            ("private memory", "B"),
        ],
        [
            ("writes/s, 64 under way", "/s"),
            ("processor per write, 64", "ns"),
            ("switches per write, 64", ""),
            ("", ""),
        ],
    ];
    for (window, quantities) in [1, 64].into_iter().zip(QUANTITIES) {
        let mut samples = vec![vec![Vec::new(); 4]; SHAPES.len()];
        for _ in 0..ROUNDS {
            for ((shape, ..), samples) in SHAPES.iter().zip(&mut samples) {
                let folder = folder.to_string_lossy();
                let printed = numbers(&["shape", shape, &format!("{window}"), &folder])?;
                samples.iter_mut().zip(printed).for_each(|(all, one)| all.push(one));
            }
        }
        for ((_, subject, _), samples) in SHAPES.iter().zip(samples) {
            for ((quantity, unit), samples) in quantities.into_iter().zip(samples) {
                if !quantity.is_empty() {
                    figures.add(SECTION, subject, quantity, unit, Spread::of(samples));
                }
            }
        }
    }
    for (_, subject, source) in SHAPES {
        figures.count(SECTION, subject, "lines", "", lines(source) as f64);
    }
    Ok(())
}

/// Lines of code, without comments and empty ones.
pub(crate) fn lines(source: &str) -> usize {
    let code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    source.lines().filter(code).count()
}

/// The process in which one shape runs. It starts the peers, and whatever else it needs.
pub(crate) fn shape_job(shape: &str, window: u64, folder: &Path) -> io::Result<()> {
    let folder = folder.join(format!("shape-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = with_peers(shape, window, &folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn with_peers(shape: &str, window: u64, folder: &Path) -> io::Result<()> {
    let (_a, port_a) = work::start_peer(&folder.join("a"))?;
    let (_b, port_b) = work::start_peer(&folder.join("b"))?;
    let (peers, gauge) = ([port_a, port_b], Gauge::new());
    match shape {
        "process" => process::run(window, peers, folder, gauge),
        "thread" => thread::run(window, peers, folder, gauge),
        "future" => future::run(window, peers, folder, gauge, SyncMode::Inline),
        _ => future::run(window, peers, folder, gauge, SyncMode::Thread),
    }
}

/// Tells a shape when to stop, and prints what it used between warm-up and end.
pub(crate) struct Gauge {
    clock: Clock,
    pids: Vec<u32>,
    first: Option<Time>,
    began: Option<(Time, u64, Usage)>,
}

impl Gauge {
    fn new() -> Self {
        Self { clock: Clock::real(), pids: vec![std::process::id()], first: None, began: None }
    }

    /// Counts these processes, too.
    fn include(&mut self, workers: &[Worker]) {
        self.pids.extend(workers.iter().map(Worker::pid));
    }

    /// To be called now and then with the number of writes done; false when it is time to stop.
    fn goes_on(&mut self, done: u64) -> io::Result<bool> {
        let now = self.clock.now();
        match self.began {
            None if self.first.is_none() => self.first = (done > 0).then_some(now),
            None if self.first.is_some_and(|first| now > first + WARM_UP) => {
                self.began = Some((now, done, Usage::of(&self.pids)?));
            }
            Some((start, before, usage)) if now > start + SPAN => {
                let used = Usage::of(&self.pids)?.since(usage);
                let span = nanos(now.since(start)) / 1e9;
                let writes = (done - before) as f64;
                let mut memory = Memory::default();
                for &pid in &self.pids {
                    memory = memory.plus(Memory::of(pid)?);
                }
                quorate::env::output::line(format_args!(
                    "{}\n{}",
                    writes / span,
                    used.cpu_ns / writes
                ));
                quorate::env::output::line(format_args!(
                    "{}\n{}",
                    used.switches / writes,
                    memory.private
                ));
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }
}
