//! The two loops of the documents, as small and as honest as they can be written.

use std::cell::RefCell;
use std::rc::Rc;

use futures_lite::future::yield_now;
use quorate::env::{Spawner, io};
use quorate::id::NodeId;
use quorate::scope::notify::Notify;

use crate::bench::{Bench, Blow, CONTROL, GIVE_UP, Habit, Job, Model, Row, Times};

/// The call that the loop under control makes; the worker of `Asks` gives it a notify to listen to.
pub(crate) async fn call_back(bench: &Rc<Bench>, cancel: &Notify) {
    bench.call(NodeId(1), bench.habit, cancel).await;
}

/// One row of a control.
pub(crate) fn control(model: Model, habit: Habit, rounds: u32) -> Row {
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let bench = Bench::new(habit, Job::Making, CONTROL);
    let (strike, events) = async_channel::bounded::<()>(1);
    let (hand_over, elections) = async_channel::bounded::<()>(1);
    let cancel = Rc::new(RefCell::new(Notify::new()));
    let mut tasks = Vec::new();
    if model == Model::Asks {
        let cancel = cancel.clone();
        tasks.push(spawner.spawn(async move {
            while events.recv().await.is_ok() {
                cancel.borrow().notify();
                let _ = hand_over.force_send(());
            }
        }));
    } else {
        tasks.push(spawner.spawn(async move {
            while events.recv().await.is_ok() {
                // There is one loop: it looks at the event when it has come back.
                let _ = hand_over.force_send(());
            }
        }));
    }
    let worker = bench.clone();
    tasks.push(spawner.spawn(async move {
        loop {
            let wake = Notify::new();
            if model == Model::Asks {
                cancel.replace(wake.clone());
            }
            call_back(&worker, &wake).await;
            if elections.recv().await.is_err() {
                break;
            }
            worker.first(&worker.entered);
        }
    }));
    let measured = Rc::new(RefCell::new((Times::default(), false)));
    let (found, striker) = (measured.clone(), bench.clone());
    let driver = spawner.spawn(async move {
        let mut times = Times::default();
        let mut never = false;
        for _ in 0..rounds {
            never = !control_round(&striker, &strike, &mut times).await;
            if never {
                break;
            }
        }
        found.replace((times, never));
        for task in tasks {
            task.cancel().await;
        }
    });
    io::block_on(executor.run(driver));
    bench.end_threads(u64::MAX);
    let (times, never) = measured.take();
    let more = if never { format!("never; given up after {GIVE_UP:?}") } else { String::new() };
    Row { model, blow: Blow::Election, job: Job::Making, habit, times, more }
}

/// One round of a control; false if the election was never processed.
pub(crate) async fn control_round(
    bench: &Rc<Bench>,
    events: &async_channel::Sender<()>,
    times: &mut Times,
) -> bool {
    while bench.live.get() == 0 {
        yield_now().await;
    }
    // In the middle: it has been polled at least once.
    yield_now().await;
    let number = bench.latest.borrow()[&NodeId(1)];
    bench.begin((number, NodeId(1)));
    let (clock, events, striker) = (bench.clock.clone(), events.clone(), bench.clone());
    let strike = move || {
        striker.event.set(Some(clock.now()));
        let _ = events.try_send(());
    };
    if bench.computes() {
        bench.strike.replace(Some(Box::new(strike)));
    } else {
        strike();
    }
    let began = bench.clock.now();
    while bench.entered.get().is_none() {
        if bench.clock.now().since(began) > GIVE_UP {
            return false;
        }
        yield_now().await;
    }
    times.take(bench);
    bench.end_threads(number);
    true
}
