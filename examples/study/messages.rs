//! One message from one worker to another, and one back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;

use async_channel::{Receiver, Sender, bounded};
use quorate::env::Clock;
use quorate::env::io::block_on;
use quorate::scope::first::{First, first};
use quorate::scope::notify::Notify;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use smol::LocalExecutor;

use crate::figures::Figures;
use crate::measure::{Spread, Usage, nanos, time_each};
use crate::workers::{Worker, input, output};

const SECTION: &str = "A message there and one back";
const BATCHES: usize = 20;

/// 64 bytes: a command's head, or a vote.
type Message = [u8; 64];
const MESSAGE: Message = [7; 64];

pub(crate) fn run(figures: &mut Figures) -> io::Result<()> {
    processes(figures, "pipes, two processes")?;
    pipes_between_threads(figures, "pipes, two threads")?;
    on_one_core(|| {
        processes(figures, "pipes, two processes, one core")?;
        pipes_between_threads(figures, "pipes, two threads, one core")
    })?;
    std_channels(figures)?;
    async_channels_between_threads(figures)?;
    tasks(figures);
    futures(figures);
    call(figures);
    Ok(())
}

/// Runs `work` while everything that starts in it stays on one core.
fn on_one_core(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    let core = (0..CpuSet::MAX_CPU).find(|&core| all.is_set(core));
    one.set(core.unwrap_or(0));
    sched_setaffinity(None, &one)?;
    let outcome = work();
    sched_setaffinity(None, &all)?;
    outcome
}

/// Measures `round` with `rounds` round trips a batch; `others` are the processes beside this one.
fn measure(
    figures: &mut Figures,
    subject: &str,
    rounds: usize,
    others: &[u32],
    round: impl FnMut(),
) -> io::Result<()> {
    let pids = [&[std::process::id()], others].concat();
    let before = Usage::of(&pids)?;
    let spread = time_each(BATCHES, rounds, round);
    let used = Usage::of(&pids)?.since(before);
    let messages = (2 * rounds * BATCHES) as f64;
    record(figures, subject, spread, used.switches / messages);
    figures.count(SECTION, subject, "of them involuntary", "", used.involuntary / messages);
    figures.count(SECTION, subject, "bytes written to disk", "", used.written);
    Ok(())
}

fn record(figures: &mut Figures, subject: &str, spread: Spread, switches: f64) {
    figures.add(SECTION, subject, "round trip", "ns", spread);
    figures.count(SECTION, subject, "switches per message", "", switches);
}

/// Answers each message that comes in, until none comes any more.
fn echo(mut from: impl Read, mut to: impl Write) {
    let mut message = MESSAGE;
    while from.read_exact(&mut message).is_ok() && to.write_all(&message).is_ok() {}
}

/// The other process.
pub(crate) fn echo_job() -> io::Result<()> {
    echo(input()?, output()?);
    Ok(())
}

fn processes(figures: &mut Figures, subject: &str) -> io::Result<()> {
    let (worker, mut to, mut from) = Worker::start(&["echo"])?;
    let mut round = || exchange(&mut to, &mut from);
    round();
    measure(figures, subject, 1_000, &[worker.pid()], round)
}

fn pipes_between_threads(figures: &mut Figures, subject: &str) -> io::Result<()> {
    let ((there, mut to), (mut from, back)) = (io::pipe()?, io::pipe()?);
    let other = thread::Builder::new().spawn(move || echo(there, back))?;
    let outcome = measure(figures, subject, 1_000, &[], || exchange(&mut to, &mut from));
    drop(to);
    let _ = other.join();
    outcome
}

fn exchange(to: &mut impl Write, from: &mut impl Read) {
    let mut message = MESSAGE;
    let done = to.write_all(&message).and_then(|()| from.read_exact(&mut message));
    assert!(done.is_ok(), "the other one is gone: {done:?}");
}

fn std_channels(figures: &mut Figures) -> io::Result<()> {
    let (to, there) = mpsc::sync_channel::<Message>(16);
    let (back, from) = mpsc::sync_channel(16);
    let other = thread::Builder::new().spawn(move || {
        let _ = there.into_iter().try_for_each(|message| back.send(message));
    })?;
    let outcome = measure(figures, "std::sync::mpsc, two threads", 2_000, &[], || {
        let _ = to.send(MESSAGE);
        let _ = black_box(from.recv());
    });
    drop(to);
    let _ = other.join();
    outcome
}

fn async_channels_between_threads(figures: &mut Figures) -> io::Result<()> {
    let (to, there) = bounded::<Message>(16);
    let (back, from) = bounded(16);
    let other = thread::Builder::new().spawn(move || {
        while let Ok(message) = there.recv_blocking()
            && back.send_blocking(message).is_ok()
        {}
    })?;
    let outcome = measure(figures, "async-channel, two threads", 2_000, &[], || {
        let _ = to.send_blocking(MESSAGE);
        let _ = black_box(from.recv_blocking());
    });
    drop(to);
    let _ = other.join();
    outcome
}

/// Batches of round trips through `round`, on the executor.
async fn time_rounds(rounds: usize, mut round: impl AsyncFnMut()) -> (Spread, f64) {
    let (clock, mut spans) = (Clock::real(), Vec::with_capacity(BATCHES));
    let switches = || Usage::of(&[std::process::id()]).map_or(f64::NAN, |usage| usage.switches);
    let before = switches();
    for _ in 0..BATCHES {
        let start = clock.now();
        for _ in 0..rounds {
            round().await;
        }
        spans.push(nanos(clock.now().since(start)) / rounds as f64);
    }
    (Spread::of(spans), (switches() - before) / (2 * rounds * BATCHES) as f64)
}

fn tasks(figures: &mut Figures) {
    let executor = LocalExecutor::new();
    let (to, there): (Sender<Message>, Receiver<Message>) = bounded(16);
    let (back, from) = bounded(16);
    let _other = executor.spawn(async move {
        while let Ok(message) = there.recv().await
            && back.send(message).await.is_ok()
        {}
    });
    let driver = executor.spawn(async move {
        time_rounds(20_000, async || {
            let _ = to.send(MESSAGE).await;
            let _ = black_box(from.recv().await);
        })
        .await
    });
    let (spread, switches) = block_on(executor.run(driver));
    record(figures, "async-channel, two tasks", spread, switches);
}

/// A queue inside one owner, and the notify beside it: what the engines use.
#[derive(Default)]
struct Queue(RefCell<VecDeque<Message>>, Notify);

impl Queue {
    fn send(&self, message: Message) {
        self.0.borrow_mut().push_back(message);
        self.1.notify();
    }

    async fn receive(&self) -> Message {
        loop {
            if let Some(message) = self.0.borrow_mut().pop_front() {
                return message;
            }
            self.1.notified().await;
        }
    }
}

fn futures(figures: &mut Figures) {
    let executor = LocalExecutor::new();
    let both = executor.spawn(async {
        let (there, back) = (Queue::default(), Queue::default());
        let other = async {
            loop {
                back.send(there.receive().await);
            }
        };
        let driver = time_rounds(20_000, async || {
            there.send(MESSAGE);
            black_box(back.receive().await);
        });
        match first(driver, other).await {
            First::A(measured) => measured,
            First::B(never) => never,
        }
    });
    let (spread, switches) = block_on(executor.run(both));
    record(figures, "queue and notify, two futures of one task", spread, switches);
}

fn call(figures: &mut Figures) {
    let other: fn(&Message) -> Message = |message| *message;
    let spread = time_each(BATCHES, 100_000, || {
        black_box(black_box(other)(black_box(&MESSAGE)));
    });
    record(figures, "a call of a function", spread, 0.0);
}
