//! Creating a worker, letting it end, and ending it while it waits.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use quorate::env::Clock;
use quorate::env::io::block_on;
use quorate::scope::notify::Notify;
use smol::LocalExecutor;

use crate::figures::Figures;
use crate::measure::{Spread, nanos, time_each};
use crate::workers::{Worker, command};

const CREATE: &str = "Creating a worker and letting it end";
const END: &str = "Ending a worker while it waits";
/// How often a thread that must not block for ever looks at its flag.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) fn run(figures: &mut Figures) -> io::Result<()> {
    create(figures)?;
    end_processes(figures)?;
    end_threads(figures)?;
    end_tasks(figures);
    Ok(())
}

fn create(figures: &mut Figures) -> io::Result<()> {
    let mut note = |subject: &str, spread| figures.add(CREATE, subject, "takes", "ns", spread);
    let [spawn, forked] = spawned(50)?;
    note("process: posix_spawn, exec, wait", spawn);
    note("process: fork, exec, wait", forked);
    let ballast = black_box(vec![1u8; 100 << 20]);
    let [spawn, forked] = spawned(50)?;
    drop(ballast);
    note("process: posix_spawn by a parent with 100 MiB", spawn);
    note("process: fork by a parent with 100 MiB", forked);
    let thread = || {
        let _ = thread::Builder::new().spawn(|| {}).map(thread::JoinHandle::join);
    };
    note("thread: spawn, join", time_each(20, 100, thread));
    let executor = Rc::new(LocalExecutor::new());
    let inner = executor.clone();
    // Measured in a task, as everything of ours runs in one.
    let tasks = executor.spawn(async move {
        let clock = Clock::real();
        let mut spans = Vec::new();
        for _ in 0..20 {
            let start = clock.now();
            for _ in 0..5_000 {
                inner.spawn(async {}).await;
            }
            spans.push(nanos(clock.now().since(start)) / 5_000.0);
        }
        Spread::of(spans)
    });
    let measured = block_on(executor.run(tasks));
    note("task: spawn, await", measured);
    let future = || smol::future::block_on(async { black_box(async {}).await });
    note("future: make, await", time_each(20, 5_000, future));
    Ok(())
}

/// Asks the standard library for a user: then it forks, and does not use `posix_spawn`.
fn fork(command: &mut Command) {
    command.uid(rustix::process::getuid().as_raw());
}

/// The time from starting a process that does nothing to having heard of its end, in the two ways
/// to start one; in turn, so that the machine's load is the same for both.
fn spawned(count: usize) -> io::Result<[Spread; 2]> {
    let clock = Clock::real();
    let mut spans = [Vec::new(), Vec::new()];
    let ways: [fn(&mut Command); 2] = [|_| {}, fork];
    for _ in 0..count {
        for (how, spans) in ways.iter().zip(&mut spans) {
            let mut nothing = command(&["nothing"])?;
            how(&mut nothing);
            let start = clock.now();
            nothing.status()?;
            spans.push(nanos(clock.now().since(start)));
        }
    }
    Ok(spans.map(Spread::of))
}

fn end_processes(figures: &mut Figures) -> io::Result<()> {
    let clock = Clock::real();
    let mut spans = Vec::new();
    for _ in 0..40 {
        let mut waiting: Child =
            command(&["echo"])?.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        thread_sleep(&clock, Duration::from_millis(5));
        let start = clock.now();
        let ended = waiting.kill().and_then(|()| waiting.wait());
        spans.push(nanos(clock.now().since(start)));
        drop(Worker::of(waiting));
        ended?;
    }
    figures.add(END, "process: SIGKILL, wait", "takes", "ns", Spread::of(spans));
    Ok(())
}

/// Blocks until the others have certainly come to wait.
fn thread_sleep(clock: &Clock, span: Duration) {
    block_on(clock.sleep(span));
}

fn end_threads(figures: &mut Figures) -> io::Result<()> {
    let parked = |flag: &AtomicBool| {
        while !flag.load(Ordering::Acquire) {
            thread::park();
        }
    };
    let spread = flagged(100, parked)?;
    figures.add(END, "thread: flag, unpark, join", "takes", "ns", spread);
    // It waits for something else than its end, so it can only look now and then.
    let looking = |flag: &AtomicBool| {
        let (_to, from) = mpsc::channel::<u64>();
        while !flag.load(Ordering::Acquire) {
            let _ = black_box(from.recv_timeout(LOOK));
        }
    };
    let spread = flagged(40, looking)?;
    figures.add(END, "thread: flag seen every 10 ms, join", "takes", "ns", spread);
    Ok(())
}

fn flagged(count: usize, wait: fn(&AtomicBool)) -> io::Result<Spread> {
    let clock = Clock::real();
    let mut spans = Vec::new();
    for round in 0..count {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = flag.clone();
        let worker = thread::Builder::new().spawn(move || wait(&seen))?;
        thread_sleep(&clock, Duration::from_micros(1_000 + round as u64 * 370 % 10_000));
        let start = clock.now();
        flag.store(true, Ordering::Release);
        worker.thread().unpark();
        let _ = worker.join();
        spans.push(nanos(clock.now().since(start)));
    }
    Ok(Spread::of(spans))
}

fn end_tasks(figures: &mut Figures) {
    let executor = Rc::new(LocalExecutor::new());
    let inner = executor.clone();
    let measured = executor.spawn(async move {
        let clock = Clock::real();
        let (mut tasks, mut futures) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let waiters: Vec<_> = (0..1_000).map(|_| inner.spawn(waiting())).collect();
            futures_lite::future::yield_now().await;
            let start = clock.now();
            for task in waiters {
                task.cancel().await;
            }
            tasks.push(nanos(clock.now().since(start)) / 1_000.0);
            let mut waiters = Vec::new();
            for _ in 0..1_000 {
                waiters.push(polled(Box::pin(waiting())).await);
            }
            let start = clock.now();
            drop(waiters);
            futures.push(nanos(clock.now().since(start)) / 1_000.0);
        }
        (Spread::of(tasks), Spread::of(futures))
    });
    let (tasks, futures) = block_on(executor.run(measured));
    figures.add(END, "task: Task::cancel, awaited", "takes", "ns", tasks);
    figures.add(END, "future in a box: drop", "takes", "ns", futures);
}

/// Waits for a notify of its own, which nobody notifies.
async fn waiting() {
    Notify::new().notified().await;
}

/// A future that has begun to wait.
async fn polled<F: Future<Output = ()> + Unpin>(mut future: F) -> F {
    assert_eq!(poll_once(&mut future).await, None, "it waits");
    future
}
