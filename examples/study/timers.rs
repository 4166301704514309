//! Ten thousand timers: as sleeping threads, and as sleeping tasks of one executor.
//!
//! All end within 300 ms. Counted is what happens between the moment at which all sleep and the one
//! at which all wait for something else, so it is what one timer costs a worker that goes on.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use quorate::env::Clock;
use quorate::env::clock::Time;
use quorate::env::io::block_on;
use smol::LocalExecutor;

use crate::figures::Figures;
use crate::measure::{Memory, Spread, Usage, nanos};
use crate::workers::numbers;

const SECTION: &str = "Ten thousand timers within 300 ms";
const TIMERS: usize = 10_000;
/// When the first is due, after the beginning: by then all sleep.
const FIRST: Duration = Duration::from_millis(3_000);

pub(crate) fn run(figures: &mut Figures) -> io::Result<()> {
    for (subject, kind) in [("threads", "threads"), ("tasks of one executor", "tasks")] {
        let printed = numbers(&["timers", kind, &TIMERS.to_string()])?;
        let [count, resident, reserved, switches, cpu, median, low, high] = printed[..] else {
            return Err(io::Error::other("eight numbers were expected"));
        };
        figures.count(SECTION, subject, "timers", "", count);
        figures.count(SECTION, subject, "resident for each", "B", resident);
        figures.count(SECTION, subject, "reserved for each", "B", reserved);
        figures.count(SECTION, subject, "switches for each", "", switches);
        figures.count(SECTION, subject, "processor for each", "ns", cpu);
        let late = Spread { median, low, high, samples: count as usize };
        figures.add(SECTION, subject, "late by", "ns", late);
    }
    Ok(())
}

/// When timer number `number` is due.
fn due(number: usize) -> Duration {
    FIRST + Duration::from_micros(30 * (number * 7_919 % TIMERS) as u64)
}

/// The process in which one kind of timers runs.
pub(crate) fn timers_job(kind: &str, count: usize) -> io::Result<()> {
    match kind {
        "threads" => threads(count),
        _ => tasks(count),
    }
}

fn print(count: usize, grown: Memory, used: Usage, late: Vec<f64>) {
    let Spread { median, low, high, .. } = Spread::of(late);
    let each = [grown.private, grown.reserved, used.switches, used.cpu_ns];
    quorate::env::output::line(format_args!("{count}"));
    each.iter().for_each(|sum| quorate::env::output::line(format_args!("{}", sum / count as f64)));
    quorate::env::output::line(format_args!("{median}\n{low}\n{high}"));
}

/// Of all threads but the first, which only looks on.
fn others() -> io::Result<Usage> {
    let own = std::process::id().to_string();
    let mut sum = Usage::default();
    for task in fs::read_dir("/proc/self/task")? {
        let name = task?.file_name().to_string_lossy().into_owned();
        if name != own {
            let one = Usage::of_thread(&name);
            sum.switches += one.switches;
            sum.cpu_ns += one.cpu_ns;
        }
    }
    Ok(sum)
}

#[allow(clippy::disallowed_methods)] // what threads do in place of timers
fn threads(count: usize) -> io::Result<()> {
    let clock = std::time::Instant::now();
    let before = Memory::of(std::process::id())?;
    let (said, heard) = mpsc::channel();
    let mut sleeping = Vec::new();
    for number in 0..count {
        let said = said.clone();
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let worker = move || {
            thread::sleep(due(number).saturating_sub(clock.elapsed()));
            let _ = said.send(clock.elapsed().saturating_sub(due(number)));
            drop(said);
            let _ = ended.recv();
        };
        // A machine may allow fewer: then it is as many as it allows.
        match thread::Builder::new().spawn(worker) {
            Ok(worker) => sleeping.push((worker, end)),
            Err(_) => break,
        }
    }
    drop(said);
    let used = others()?;
    let grown = Memory::of(std::process::id())?.since(before);
    if clock.elapsed() > FIRST {
        return Err(io::Error::other("the threads took too long to make"));
    }
    let late = heard.iter().map(nanos).collect();
    thread::sleep(Duration::from_millis(50));
    let used = others()?.since(used);
    print(sleeping.len(), grown, used, late);
    for (worker, end) in sleeping {
        drop(end);
        let _ = worker.join();
    }
    Ok(())
}

fn tasks(count: usize) -> io::Result<()> {
    let executor = LocalExecutor::new();
    block_on(executor.run(async {
        let clock = Clock::real();
        let pid = std::process::id();
        let before = Memory::of(pid)?;
        let late = Rc::new(RefCell::new(Vec::with_capacity(count)));
        let sleeper = |number| {
            let (clock, late) = (clock.clone(), late.clone());
            executor.spawn(async move {
                let due = Time::ZERO + due(number);
                clock.sleep_until(due).await;
                late.borrow_mut().push(nanos(clock.now().since(due)));
            })
        };
        let sleeping: Vec<_> = (0..count).map(sleeper).collect();
        clock.sleep_until(Time::ZERO + (FIRST - Duration::from_millis(300))).await;
        let grown = Memory::of(pid)?.since(before);
        let used = Usage::of(&[pid])?;
        for task in sleeping {
            task.await;
        }
        let used = Usage::of(&[pid])?.since(used);
        print(count, grown, used, late.take());
        Ok(())
    }))
}
