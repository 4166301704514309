//! Our own reactor (Linux): one thread, one `epoll`, no helper thread.
//!
//! The thread runs what can run, then asks the kernel once, sleeping exactly as long as nothing is
//! ready: until a socket changes, the first timer is due, or another thread rings the doorbell.
//!
//! - **Sockets** are registered once, edge-triggered, for both directions, and stay registered for
//!   life (`watched.rs`). A [`Source`] remembers what the kernel said last; an operation that is
//!   known to be not ready costs no system call, any other is simply tried.
//! - **Timers** are an ordered map of deadlines. They fire in that order, not early, and late by at
//!   most a millisecond of rounding plus what the loop was busy with.
//! - **The doorbell** is how a waker reaches the loop. By its type a waker may be sent to another
//!   thread (the disk's, the resolver's), so this is the one place with atomics: a flag that says
//!   "poll again", and a flag that says whether the loop sleeps and needs a write to its `eventfd`.
//!   A wake on the loop's own thread sets the first flag and does nothing else.
//!
//! Each thread has at most one reactor, made when first needed and kept, so that a socket made in
//! one [`block_on`] works in the next one on that thread. Sockets and timers belong to the thread
//! that made them; the types are `!Send`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use crate::env::watched::Source;

/// Events fetched by one system call. More are fetched by the next one, after what these woke has
/// run: a batch this large already costs next to nothing per event.
const EVENTS_PER_WAIT: usize = 256;

/// The longest sleep: the system call counts milliseconds in 32 bits. Waking once an hour for
/// nothing costs nothing.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// A sleep this long that only a timer ended means an idle node. What that timer then sends is
/// answered by several peers at nearly the same moment, so the loop rests for
/// [`GATHER`] before it listens again and hears all of them at once: for a leader of three that is
/// two sleeps a heartbeat in place of three. Anything else that arrives in that moment waits for the
/// rest of it; a busy loop never does this, for it never slept that long.
const IDLE: Duration = Duration::from_millis(20);

/// How long an idle loop rests after a timer: about five times an answer on one machine or rack.
const GATHER: Duration = Duration::from_micros(500);

/// The token of the doorbell; sources count up from one.
const DOORBELL: u64 = 0;

thread_local! {
    static REACTOR: OnceCell<Rc<Reactor>> = const { OnceCell::new() };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The loop of one thread.
pub(super) struct Reactor {
    epoll: OwnedFd,
    doorbell: Arc<Doorbell>,
    sources: RefCell<BTreeMap<u64, Rc<Source>>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    /// The last sleep was that of an idle node, ended by a timer.
    gather: Cell<bool>,
    /// Numbers sources and timers; never reused, so a late event finds nobody.
    next_token: Cell<u64>,
}

/// How a waker reaches the loop, from any thread.
struct Doorbell {
    /// The main future is to be polled again.
    notified: AtomicBool,
    /// The loop sleeps, or is about to: a ring must also write to `alarm`.
    asleep: AtomicBool,
    alarm: OwnedFd,
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Sequential consistency: the loop writes `asleep` and then reads `notified`, we the other way
        // round, so at least one of the two sees the other.
        let rung_before = self.notified.swap(true, Ordering::SeqCst);
        if !rung_before && self.asleep.load(Ordering::SeqCst) {
            // It can fail only if the counter is full, and then the loop wakes anyway.
            let _ = rustix::io::write(&self.alarm, &1u64.to_ne_bytes());
        }
    }
}

/// A timer of the reactor; it starts when first polled.
pub(super) struct Timer {
    deadline: Instant,
    token: u64,
    reactor: Rc<Reactor>,
}

impl Timer {
    pub(super) fn at(reactor: &Rc<Reactor>, deadline: Instant) -> Self {
        Self { deadline, token: reactor.token(), reactor: reactor.clone() }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let key = (self.deadline, self.token);
        if now() >= self.deadline {
            self.reactor.timers.borrow_mut().remove(&key);
            return Poll::Ready(());
        }
        let mut timers = self.reactor.timers.borrow_mut();
        match timers.get_mut(&key) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => drop(timers.insert(key, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let key = (self.deadline, self.token);
        self.reactor.timers.borrow_mut().remove(&key);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

#[allow(clippy::disallowed_methods)] // the one place that means to stop everything
fn rest() {
    thread::sleep(GATHER);
}

#[allow(clippy::disallowed_methods)] // the loop is below the clock that others use
fn now() -> Instant {
    Instant::now()
}

impl Reactor {
    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let data = epoll::EventData::new_u64(DOORBELL);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &alarm, data, flags)?;
        Ok(Self {
            epoll,
            doorbell: Arc::new(Doorbell {
                notified: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
                alarm,
            }),
            sources: RefCell::default(),
            timers: RefCell::default(),
            gather: Cell::new(false),
            next_token: Cell::new(DOORBELL + 1),
        })
    }

    /// The reactor of this thread, if its loop is running: if we are inside [`block_on`].
    pub(super) fn running() -> Option<Rc<Self>> {
        if !RUNNING.get() {
            return None;
        }
        REACTOR.with(|reactor| reactor.get().cloned())
    }

    /// Watches `io` for `flags`; returns the token of its events.
    pub(super) fn register(
        &self,
        io: impl AsFd,
        flags: epoll::EventFlags,
        source: Rc<Source>,
    ) -> io::Result<u64> {
        let token = self.token();
        epoll::add(&self.epoll, io, epoll::EventData::new_u64(token), flags)?;
        self.sources.borrow_mut().insert(token, source);
        Ok(token)
    }

    /// Forgets a source whose descriptor is about to be closed: the kernel does the same then.
    pub(super) fn forget(&self, token: u64) {
        self.sources.borrow_mut().remove(&token);
    }

    fn token(&self) -> u64 {
        self.next_token.replace(self.next_token.get() + 1)
    }

    /// Sleeps until something is ready, or not at all if the doorbell has been notified; then wakes
    /// everybody whose event or deadline has come.
    fn turn(&self, events: &mut Vec<epoll::Event>) {
        let start = now();
        self.doorbell.asleep.store(true, Ordering::SeqCst);
        let timeout = if self.doorbell.notified.load(Ordering::SeqCst) {
            Some(Duration::ZERO)
        } else {
            self.until_next_timer(start)
        };
        let timeout = match timeout {
            Some(span) if span <= 2 * GATHER => Some(span),
            _ if !self.gather.take() => timeout,
            _ => {
                rest();
                timeout.map(|span| span - GATHER)
            }
        };
        let timespec = timeout.and_then(|span| Timespec::try_from(span.min(SLEEP_MAX)).ok());
        events.clear();
        let spare = rustix::buffer::spare_capacity(events);
        let outcome = epoll::wait(&self.epoll, spare, timespec.as_ref());
        self.doorbell.asleep.store(false, Ordering::SeqCst);
        match outcome {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait cannot fail on a descriptor of ours: {error}"),
        }
        for event in events.iter() {
            let (token, flags) = (event.data.u64(), event.flags);
            let source = self.sources.borrow().get(&token).cloned();
            if let Some(source) = source {
                source.tell(flags);
            }
        }
        let woken = now();
        self.gather.set(events.is_empty() && woken - start >= IDLE);
        self.fire_timers(woken);
    }

    /// How long until the first timer; `None` if there is none.
    fn until_next_timer(&self, now: Instant) -> Option<Duration> {
        let timers = self.timers.borrow();
        let (first, _) = timers.keys().next()?;
        Some(first.saturating_duration_since(now))
    }

    fn fire_timers(&self, now: Instant) {
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(entry) if entry.key().0 <= now => Some(entry.remove()),
                    _ => None,
                }
            };
            let Some(waker) = due else { return };
            waker.wake();
        }
    }
}

/// Marks the loop of this thread as running, until dropped.
struct Running;

impl Running {
    fn start() -> Self {
        assert!(!RUNNING.replace(true), "block_on inside block_on");
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}

/// Runs `future` to its end on this thread, with this thread's reactor below it.
///
/// # Panics
/// Inside another `block_on` of this thread, and if the system has no descriptors left for the
/// reactor's own two.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let reactor = REACTOR.with(|reactor| {
        let make = || Rc::new(Reactor::new().expect("two descriptors for the loop"));
        reactor.get_or_init(make).clone()
    });
    let _running = Running::start();
    let mut future = pin!(future);
    let waker = Waker::from(reactor.doorbell.clone());
    let mut cx = Context::from_waker(&waker);
    let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
    // Whatever rang before belongs to nobody; the first poll looks at everything.
    reactor.doorbell.notified.store(true, Ordering::SeqCst);
    loop {
        if reactor.doorbell.notified.swap(false, Ordering::SeqCst)
            && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
        {
            return output;
        }
        reactor.turn(&mut events);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // one test needs another thread
mod tests {
    use super::{IDLE, REACTOR, Reactor, Timer, block_on, now};
    use crate::env::watched::{Direction, Watched};
    use futures_lite::future::poll_once;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn pair() -> (UnixStream, UnixStream) {
        let pair = UnixStream::pair().expect("a socket pair");
        pair.0.set_nonblocking(true).expect("a socket of ours");
        pair
    }

    fn reactor() -> std::rc::Rc<Reactor> {
        Reactor::running().expect("we are inside block_on")
    }

    #[test]
    fn what_is_dropped_leaves_nothing_behind() {
        block_on(async {
            let (near, _far) = pair();
            let watched = Watched::new(&reactor(), near).expect("room for one source");
            let mut timer = Timer::at(&reactor(), now() + Duration::from_secs(9));
            assert_eq!(poll_once(poll_fn(|cx| timer.poll(cx))).await, None);
            assert_eq!(reactor().sources.borrow().len(), 1);
            assert_eq!(reactor().timers.borrow().len(), 1);
            drop((watched, timer));
            assert_eq!(reactor().sources.borrow().len(), 0);
            assert_eq!(reactor().timers.borrow().len(), 0);
        });
        assert!(Reactor::running().is_none());
        assert!(REACTOR.with(|reactor| reactor.get().is_some()));
    }

    #[test]
    fn only_an_idle_loop_rests_after_its_timer() {
        block_on(async {
            for (sleep, rests) in [(IDLE * 2, true), (IDLE / 4, false)] {
                let mut timer = Timer::at(&reactor(), now() + sleep);
                poll_fn(|cx| timer.poll(cx)).await;
                assert_eq!(reactor().gather.take(), rests, "after {sleep:?}");
            }
            let (near, far) = pair();
            let watched = Watched::new(&reactor(), near).expect("room for one source");
            let writing = std::thread::spawn(move || {
                super::rest();
                let _ = (&far).write(&[1]);
            });
            let read = |mut io: &UnixStream| io.read(&mut [0; 8]);
            assert!(matches!(watched.when(Direction::Read, read).await, Ok(1)));
            assert!(!reactor().gather.take(), "an event ended that sleep");
            writing.join().expect("it only writes");
        });
    }

    #[test]
    fn an_operation_that_is_known_to_block_is_not_tried() {
        block_on(async {
            let (near, far) = pair();
            let watched = Watched::new(&reactor(), near).expect("room for one source");
            let mut tries = 0;
            let mut read = |mut io: &UnixStream| {
                tries += 1;
                io.read(&mut [0; 8])
            };
            for _ in 0..5 {
                let waiting = watched.when(Direction::Read, &mut read);
                assert!(poll_once(waiting).await.is_none());
            }
            drop(far);
            let end = watched.when(Direction::Read, &mut read).await;
            assert!(matches!(end, Ok(0)), "{end:?}");
            assert_eq!(tries, 2, "once to learn that it blocks, once after the event");
        });
    }
}
