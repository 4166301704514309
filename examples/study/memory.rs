//! Memory of a worker that waits for its first message.
//!
//! Threads, tasks and futures are made in a process of their own, which prints what it grew by.

use std::io;
use std::sync::mpsc;
use std::thread;

use async_channel::bounded;
use futures_lite::future::{block_on, poll_once};
use quorate::scope::notify::Notify;
use quorate::scope::nursery::Nursery;
use smol::LocalExecutor;
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::figures::Figures;
use crate::measure::{Memory, kernel_stacks};
use crate::workers::{Worker, numbers};

const SECTION: &str = "Memory of one idle worker";

const PROCESSES: usize = 100;
const THREADS: usize = 1_000;
const TASKS: usize = 10_000;

pub(crate) fn run(figures: &mut Figures) -> io::Result<()> {
    processes(figures)?;
    for (subject, kind, count) in [
        ("thread that waits for a channel", "threads", THREADS),
        ("task that waits for a channel of its own", "tasks", TASKS),
        ("future in a nursery that waits for a notify", "futures", TASKS),
    ] {
        let printed = numbers(&["idle", kind, &count.to_string()])?;
        if let [resident, reserved, kernel, heap] = printed[..] {
            record(figures, subject, count, [resident, reserved, kernel]);
            figures.count(SECTION, subject, "of it from the allocator", "B", heap);
        }
    }
    Ok(())
}

fn record(figures: &mut Figures, subject: &str, count: usize, each: [f64; 3]) {
    let [resident, reserved, kernel] = each;
    figures.count(SECTION, subject, "workers", "", count as f64);
    figures.count(SECTION, subject, "resident", "B", resident);
    figures.count(SECTION, subject, "reserved", "B", reserved);
    figures.count(SECTION, subject, "kernel's tables and stack", "B", kernel);
}

fn processes(figures: &mut Figures) -> io::Result<()> {
    let stacks = kernel_stacks();
    let mut workers = Vec::new();
    for _ in 0..PROCESSES {
        let mut started = Worker::start(&["echo"])?;
        // Its answer says that it has begun to wait.
        io::Write::write_all(&mut started.1, &[7; 64])?;
        io::Read::read_exact(&mut started.2, &mut [0; 64])?;
        workers.push(started);
    }
    let mut sum = Memory::default();
    for (worker, ..) in &workers {
        sum = sum.plus(Memory::of(worker.pid())?);
    }
    let count = PROCESSES as f64;
    let kernel = (sum.page_tables + kernel_stacks() - stacks) / count;
    let each = [sum.private / count, sum.reserved / count, kernel];
    record(figures, "process that waits for a pipe", PROCESSES, each);
    Ok(())
}

/// The process in which idle workers of one kind are made.
pub(crate) fn idle_job(kind: &str, count: usize) -> io::Result<()> {
    match kind {
        "threads" => threads(count),
        "tasks" => tasks(count),
        _ => futures(count),
    }
}

/// Makes workers and prints bytes for each: resident, reserved, of the kernel, of the allocator.
fn grown<T>(count: usize, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let pid = std::process::id();
    let (before, stacks) = (Memory::of(pid)?, kernel_stacks());
    let region = Region::new(ALLOCATOR);
    let made = make()?;
    let heap = region.change();
    let grown = Memory::of(pid)?.since(before);
    let heap = (heap.bytes_allocated as f64 - heap.bytes_deallocated as f64).max(0.0);
    let kernel = match count {
        // One thread makes all tasks: a difference would be that of other programs.
        TASKS => grown.page_tables,
        _ => grown.page_tables + kernel_stacks() - stacks,
    };
    for bytes in [grown.private, grown.reserved, kernel, heap] {
        quorate::env::output::line(format_args!("{}", bytes / count as f64));
    }
    Ok(made)
}

fn threads(count: usize) -> io::Result<()> {
    let waiting = grown(count, || {
        let mut waiting = Vec::with_capacity(count);
        for _ in 0..count {
            let (to, from) = mpsc::sync_channel::<u64>(1);
            let (ready, begun) = mpsc::sync_channel(1);
            let worker = move || {
                let _ = ready.send(());
                let _ = from.recv();
            };
            waiting.push((thread::Builder::new().spawn(worker)?, to));
            let _ = begun.recv();
        }
        Ok(waiting)
    })?;
    for (worker, to) in waiting {
        drop(to);
        let _ = worker.join();
    }
    Ok(())
}

fn tasks(count: usize) -> io::Result<()> {
    let executor = LocalExecutor::new();
    grown(count, || {
        let mut waiting = Vec::with_capacity(count);
        for _ in 0..count {
            let (to, from) = bounded::<u64>(1);
            let worker = async move { from.recv().await.unwrap_or(0) };
            waiting.push((executor.spawn(worker), to));
        }
        while executor.try_tick() {}
        Ok(waiting)
    })?;
    Ok(())
}

fn futures(count: usize) -> io::Result<()> {
    grown(count, || {
        let mut nursery = Nursery::<u64>::new();
        for _ in 0..count {
            let wake = Notify::new();
            nursery.add(async move {
                wake.notified().await;
                0
            });
        }
        let polled = block_on(poll_once(nursery.next()));
        assert_eq!(polled, None, "all wait");
        Ok(nursery)
    })?;
    Ok(())
}
