//! Monotonic time and timers, real or virtual.
//!
//! A timer belongs to the future that waits for it: dropping the [`Sleep`] is stopping the timer.
//! There is no periodic tick anywhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::env::io;

/// A point in time: nanoseconds since the clock was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// After everything: a timer set to it never fires.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// A clock; clones show the same time.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    Real(Instant),
    Virtual(Rc<VirtualClock>),
}

impl Clock {
    /// The operating system's monotonic clock, starting at zero now.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // the one place that may read the real clock
    pub fn real() -> Self {
        Self(Kind::Real(Instant::now()))
    }

    /// A clock that stands still until `time` is moved.
    #[must_use]
    pub fn simulated(time: Rc<VirtualClock>) -> Self {
        Self(Kind::Virtual(time))
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        match &self.0 {
            Kind::Real(origin) => Time::ZERO + origin.elapsed(),
            Kind::Virtual(time) => time.now.get(),
        }
    }

    /// Waits for `span`.
    #[must_use]
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Waits until `deadline`; ready at once if it has passed.
    ///
    /// Cancel safe: dropping it stops the timer.
    #[must_use]
    pub fn sleep_until(&self, deadline: Time) -> Sleep {
        match &self.0 {
            Kind::Real(origin) => Sleep(SleepKind::Real {
                deadline: (deadline != Time::NEVER)
                    .then(|| *origin + Duration::from_nanos(deadline.0)),
                timer: None,
            }),
            Kind::Virtual(time) => {
                Sleep(SleepKind::Virtual { time: time.clone(), deadline, id: None })
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// A running timer: a future that is ready at its deadline.
pub struct Sleep(SleepKind);

enum SleepKind {
    Real {
        /// `None` is never.
        deadline: Option<Instant>,
        /// Made at the first poll: it belongs to the loop that we are in then.
        timer: Option<io::Timer>,
    },
    Virtual {
        time: Rc<VirtualClock>,
        deadline: Time,
        id: Option<u64>,
    },
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            SleepKind::Real { deadline, timer } => match deadline {
                Some(at) => timer.get_or_insert_with(|| io::Timer::at(*at)).poll(cx),
                None => Poll::Pending,
            },
            SleepKind::Virtual { time, deadline, id } => time.poll(*deadline, id, cx.waker()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let SleepKind::Virtual { time, deadline, id: Some(id) } = &self.0 {
            time.timers.borrow_mut().remove(&(*deadline, *id));
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

/// Time that somebody moves by hand: the simulator's.
#[derive(Default)]
pub struct VirtualClock {
    now: Cell<Time>,
    timers: RefCell<BTreeMap<(Time, u64), Waker>>,
    next_id: Cell<u64>,
}

impl VirtualClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now.get()
    }

    /// When the next timer fires, if any is set.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.borrow().keys().next().map(|&(at, _)| at)
    }

    /// How many timers are set: zero when nothing waits for time.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.timers.borrow().len()
    }

    /// Moves to `to` (never back) and wakes all that is due by then, earliest first.
    pub fn advance_to(&self, to: Time) {
        self.now.set(self.now.get().max(to));
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(entry) if entry.key().0 <= self.now.get() => Some(entry.remove()),
                    _ => None,
                }
            };
            let Some(waker) = due else { return };
            waker.wake();
        }
    }

    fn poll(&self, deadline: Time, id: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        if self.now.get() >= deadline {
            return Poll::Ready(());
        }
        if deadline != Time::NEVER {
            let id = *id.get_or_insert_with(|| self.next_id.replace(self.next_id.get() + 1));
            self.timers.borrow_mut().insert((deadline, id), waker.clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualClock({:?}, {} timers)", self.now(), self.pending())
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Time, VirtualClock};
    use futures_lite::future::{block_on, poll_once};
    use std::time::Duration;

    #[test]
    fn a_virtual_timer_fires_at_its_instant_and_not_before() {
        let time = VirtualClock::new();
        let clock = Clock::simulated(time.clone());
        let mut sleep = clock.sleep(Duration::from_millis(10));
        assert_eq!(block_on(poll_once(&mut sleep)), None);
        time.advance_to(Time(9_999_999));
        assert_eq!(block_on(poll_once(&mut sleep)), None);
        time.advance_to(Time(10_000_000));
        assert_eq!(block_on(poll_once(&mut sleep)), Some(()));
    }

    #[test]
    fn a_dropped_timer_is_gone() {
        let time = VirtualClock::new();
        let clock = Clock::simulated(time.clone());
        let mut sleep = clock.sleep(Duration::from_millis(10));
        block_on(poll_once(&mut sleep));
        assert_eq!(time.pending(), 1);
        drop(sleep);
        assert_eq!(time.pending(), 0);
    }
}
