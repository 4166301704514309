//! The loop below a node, on both backends: no wake-up lost, no timer early, nobody starved.

// A test may fail by panicking, and needs other threads to be the rest of the world.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::future::{poll_fn, poll_once, yield_now, zip};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use quorate::env::Clock;
use quorate::env::io::{Backend, TcpListener, TcpStream, block_on, block_on_with, resolve};
use quorate::env::signal::terminated;
use smol::LocalExecutor;

const BACKENDS: [Backend; 2] = [Backend::Epoll, Backend::AsyncIo];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs a test on both backends; it gets the executor that is being run.
fn on_both<F: Future<Output = ()>>(test: impl Fn(Rc<LocalExecutor<'static>>) -> F) {
    for backend in BACKENDS {
        let executor = Rc::new(LocalExecutor::new());
        block_on_with(backend, executor.run(test(executor.clone())));
    }
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let (one, two) = zip(TcpStream::connect(at), listener.accept()).await;
    (one.unwrap(), two.unwrap().0)
}

#[test]
fn more_than_the_sockets_hold_goes_both_ways_at_once() {
    on_both(async |executor| {
        let (mut one, two) = connected().await;
        let echo = executor.spawn(async move {
            let (mut from, mut to) = (&two, &two);
            futures_lite::io::copy(&mut from, &mut to).await.unwrap();
            two.get_ref().shutdown(Shutdown::Write).unwrap();
        });
        let sent: Vec<u8> = (0..16 << 20).map(|at: u32| (at % 251) as u8).collect();
        let (mut reader, mut came) = (&one, Vec::new());
        let writing = async {
            let mut writer = &one;
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        };
        zip(writing, reader.read_to_end(&mut came)).await.1.unwrap();
        assert!(came == sent);
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0, "the end stays the end");
        echo.await;
    });
}

/// The end arrives with the last bytes, after a read that did not fill its buffer.
#[test]
fn an_end_right_behind_the_data_is_seen() {
    on_both(async |_| {
        for round in 0..20 {
            let (mut one, mut two) = connected().await;
            let writing = async {
                one.write_all(b"last words").await.unwrap();
                drop(one);
            };
            let reading = async {
                if round % 2 == 0 {
                    // The loop hears of data and end together, before anybody reads.
                    Clock::real().sleep(ms(1)).await;
                }
                let mut came = Vec::new();
                two.read_to_end(&mut came).await.unwrap();
                assert_eq!(came, b"last words");
            };
            zip(writing, reading).await;
        }
    });
}

#[test]
fn short_reads_lose_no_later_data() {
    on_both(async |_| {
        let (mut one, mut two) = connected().await;
        let mut buf = [0; 64];
        for round in 0..500_usize {
            let len = 1 + round % 100;
            one.write_all(&vec![7; len]).await.unwrap();
            let mut left = len;
            while left > 0 {
                left -= two.read(&mut buf).await.unwrap();
            }
        }
        assert!(poll_once(two.read(&mut buf)).await.is_none());
        one.write_all(b"more").await.unwrap();
        assert_eq!(two.read(&mut buf).await.unwrap(), 4);
    });
}

#[test]
fn connecting_to_nobody_is_refused_and_ended_tells_the_end_from_data() {
    on_both(async |_| {
        let free = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        let error = TcpStream::connect(at).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let (mut one, two) = connected().await;
        assert!(poll_once(two.ended()).await.is_none());
        one.write_all(b"x").await.unwrap();
        assert!(!two.ended().await.unwrap());
        let (one, two) = connected().await;
        let (ended, ()) = zip(two.ended(), async { drop(one) }).await;
        assert!(ended.unwrap());
    });
}

#[test]
fn timers_fire_in_order_not_early_and_not_much_late() {
    on_both(async |executor| {
        let clock = Clock::real();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [30, 10, 20, 0, 40]
            .map(|after| {
                let (clock, fired) = (clock.clone(), fired.clone());
                executor.spawn(async move {
                    let start = clock.now();
                    clock.sleep(ms(after)).await;
                    let late = clock.now().since(start + ms(after));
                    assert!(clock.now().since(start) >= ms(after), "early");
                    assert!(late < ms(200), "late by {late:?}");
                    fired.borrow_mut().push(after);
                })
            })
            .into();
        for task in tasks {
            task.await;
        }
        assert_eq!(*fired.borrow(), [0, 10, 20, 30, 40]);
    });
}

#[test]
fn a_dropped_timer_wakes_nobody() {
    on_both(async |_| {
        let clock = Clock::real();
        let mut never = clock.sleep(Duration::MAX);
        assert!(poll_once(&mut never).await.is_none());
        for after in 1..20 {
            let mut dropped = clock.sleep(ms(after));
            assert!(poll_once(&mut dropped).await.is_none());
        }
        let polls = Cell::new(0);
        let mut rest = clock.sleep(ms(30));
        let counted = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            std::pin::Pin::new(&mut rest).poll(cx)
        });
        counted.await;
        assert!(polls.get() <= 3, "{} polls", polls.get());
    });
}

/// The wake comes from another thread while the loop is about to sleep, sleeps, or runs.
#[test]
fn no_wake_from_another_thread_is_lost() {
    for backend in BACKENDS {
        let executor = LocalExecutor::new();
        let (to_thread, at_thread) = async_channel::bounded::<u32>(1);
        let (to_loop, at_loop) = async_channel::bounded::<u32>(1);
        let echo = std::thread::spawn(move || {
            while let Ok(number) = at_thread.recv_blocking() {
                for _ in 0..number % 97 {
                    std::hint::spin_loop();
                }
                to_loop.send_blocking(number).unwrap();
            }
        });
        block_on_with(
            backend,
            executor.run(async {
                for number in 0..20_000 {
                    to_thread.send(number).await.unwrap();
                    assert_eq!(at_loop.recv().await.unwrap(), number);
                }
                drop(to_thread);
            }),
        );
        echo.join().unwrap();
    }
}

#[test]
fn a_busy_task_starves_neither_sockets_nor_timers() {
    on_both(async |executor| {
        let turns = Rc::new(Cell::new(0_u64));
        let counter = turns.clone();
        let busy = executor.spawn(async move {
            loop {
                counter.set(counter.get() + 1);
                yield_now().await;
            }
        });
        let (mut one, mut two) = connected().await;
        for _ in 0..50 {
            one.write_all(b"ping").await.unwrap();
            two.read_exact(&mut [0; 4]).await.unwrap();
        }
        Clock::real().sleep(ms(5)).await;
        assert!(turns.get() > 100);
        busy.cancel().await;
    });
}

/// How often this thread went to sleep so far.
#[cfg(target_os = "linux")]
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_loop_sleeps_when_nothing_is_runnable() {
    let executor = LocalExecutor::new();
    let (polls, clock, before) = (Cell::new(0), Clock::real(), sleeps());
    block_on(executor.run(async {
        let mut nap = clock.sleep(ms(60));
        let napping = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            std::pin::Pin::new(&mut nap).poll(cx)
        });
        let shorter = executor.spawn(clock.sleep(ms(50)));
        zip(napping, shorter).await;
    }));
    assert!(polls.get() <= 4, "{} polls in an idle nap", polls.get());
    let sleeps = sleeps() - before;
    assert!((2..=6).contains(&sleeps), "slept {sleeps} times for two timers");
}

#[test]
fn sockets_outlive_one_loop_and_wakers_outlive_all() {
    let executor = LocalExecutor::new();
    let (mut one, mut two) = block_on(executor.run(connected()));
    let waker: Waker = block_on(executor.run(poll_fn(|cx| Poll::Ready(cx.waker().clone()))));
    block_on(executor.run(async {
        one.write_all(b"again").await.unwrap();
        two.read_exact(&mut [0; 5]).await.unwrap();
    }));
    std::thread::spawn(move || waker.wake()).join().unwrap();
}

#[test]
#[should_panic(expected = "block_on inside block_on")]
#[cfg(target_os = "linux")]
fn a_loop_inside_a_loop_is_a_mistake() {
    let executor = LocalExecutor::new();
    block_on(executor.run(async { block_on(async {}) }));
}

#[test]
fn names_are_resolved_and_nonsense_is_an_error() {
    on_both(async |_| {
        let numeric = resolve("127.0.0.1:7").await.unwrap();
        assert_eq!(numeric.to_string(), "127.0.0.1:7");
        let local = resolve("localhost:8").await.unwrap();
        assert_eq!(local.to_string(), "127.0.0.1:8");
        assert!(resolve("no port").await.is_err());
    });
}

#[test]
fn a_request_to_end_is_heard_also_the_second_time() {
    on_both(async |_| {
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            let mut asked = std::pin::pin!(terminated());
            assert!(poll_once(asked.as_mut()).await.is_none());
            signal_hook::low_level::raise(signal).unwrap();
            asked.await.unwrap();
        }
    });
}
