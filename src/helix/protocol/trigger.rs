//! When a view has lasted too long: by the clock, or by hand.
//!
//! A view holds the future of its trigger and drops it when it ends. So there is no timer to
//! register again or to stop, and none that fires late for a view that is gone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::env::clock::Clock;
use crate::helix::protocol::app::{Boxed, Trigger};
use crate::helix::protocol::rules;
use crate::id::{Height, View};

/// By the clock: view `v` lasts `base * 2^v`, and no longer than the cap. The default.
#[derive(Debug, Clone)]
pub struct Timer {
    clock: Clock,
    base: Duration,
    cap: Option<Duration>,
}

impl Timer {
    /// A timer on this clock. See [`Timing`](super::config::Timing) for the two spans.
    #[must_use]
    pub fn new(clock: Clock, base: Duration, cap: Option<Duration>) -> Self {
        Self { clock, base, cap }
    }
}

impl Trigger for Timer {
    fn elapsed(&self, _: Height, view: View) -> Boxed<'_, ()> {
        Box::pin(self.clock.sleep(rules::timeout(self.base, self.cap, view)))
    }
}

/// By hand: whoever holds a clone says when. For tests, and for applications that know better than
/// a clock when a leader is no good.
///
/// It holds one word, the newest: `fire` for another height or view replaces one that nobody has
/// taken. The word is for one view only; if that view has not begun, it waits for it, and if it is
/// over, nothing happens.
#[derive(Debug, Clone, Default)]
pub struct Manual(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    fired: Option<(Height, View)>,
    waiting: BTreeMap<(Height, View), Waker>,
}

impl Manual {
    /// One that has not fired.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that this view has lasted too long.
    pub fn fire(&self, height: Height, view: View) {
        let mut inner = self.0.borrow_mut();
        inner.fired = Some((height, view));
        let waker = inner.waiting.remove(&(height, view));
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was said and not taken.
    #[must_use]
    pub fn pending(&self) -> Option<(Height, View)> {
        self.0.borrow().fired
    }
}

/// A view that waits to be told; withdraws its waker when it is dropped.
struct Waiting<'a> {
    inner: &'a RefCell<Inner>,
    at: (Height, View),
}

impl Future for Waiting<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.fired == Some(self.at) {
            inner.fired = None;
            return Poll::Ready(());
        }
        inner.waiting.insert(self.at, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inner.borrow_mut().waiting.remove(&self.at);
    }
}

impl Trigger for Manual {
    fn elapsed(&self, height: Height, view: View) -> Boxed<'_, ()> {
        Box::pin(Waiting { inner: &self.0, at: (height, view) })
    }
}

/// By hand or by the clock, whichever is first.
#[derive(Debug, Clone)]
pub struct Either {
    /// By hand.
    pub manual: Manual,
    /// By the clock.
    pub timer: Timer,
}

impl Trigger for Either {
    fn elapsed(&self, height: Height, view: View) -> Boxed<'_, ()> {
        let by_hand = self.manual.elapsed(height, view);
        Box::pin(futures_lite::future::or(by_hand, self.timer.elapsed(height, view)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::clock::{Time, VirtualClock};
    use futures_lite::future::{block_on, poll_once};

    const S: Duration = Duration::from_secs(1);

    fn timer(cap: Option<Duration>) -> (Rc<VirtualClock>, Timer) {
        let time = VirtualClock::new();
        (time.clone(), Timer::new(Clock::simulated(time), 4 * S, cap))
    }

    fn fired(future: &mut Boxed<'_, ()>) -> bool {
        block_on(poll_once(future)).is_some()
    }

    /// What a view may rely on, whatever the trigger; `make_fire` makes the trigger fire for a view
    /// that has begun.
    fn suite(trigger: &dyn Trigger, mut make_fire: impl FnMut(Height, View)) {
        let (height, view) = (Height(3), View(1));
        let mut first = trigger.elapsed(height, view);
        assert!(!fired(&mut first), "not before its time");
        make_fire(height, view);
        assert!(fired(&mut first), "then at once");
        drop(first);
        assert!(!fired(&mut trigger.elapsed(height, view)), "once for each time it is asked");
        let old = trigger.elapsed(height, view);
        drop(old);
        let mut next = trigger.elapsed(height, View(2));
        assert!(!fired(&mut next), "what was dropped fires for nobody");
        make_fire(height, View(2));
        assert!(fired(&mut next));
        let mut higher = trigger.elapsed(Height(4), View(0));
        assert!(!fired(&mut higher));
        make_fire(Height(4), View(0));
        assert!(fired(&mut higher));
    }

    #[test]
    fn both_triggers_keep_the_contract() {
        let (time, timer) = timer(None);
        suite(&timer, |_, view| {
            time.advance_to(time.now() + rules::timeout(4 * S, None, view));
        });
        let manual = Manual::new();
        suite(&manual.clone(), |height, view| manual.fire(height, view));
    }

    #[test]
    fn views_of_4_8_and_16_seconds_end_at_4_12_and_28() {
        let (time, timer) = timer(None);
        for (view, end) in [(0, 4), (1, 12), (2, 28), (3, 60)] {
            let mut view = timer.elapsed(Height(1), View(view));
            let end = Time::ZERO + end * S;
            assert!(!fired(&mut view));
            assert_eq!(time.next_deadline(), Some(end), "the only timer, and exact");
            time.advance_to(Time(end.0 - 1));
            assert!(!fired(&mut view));
            time.advance_to(end);
            assert!(fired(&mut view));
        }
    }

    #[test]
    fn the_cap_ends_the_doubling() {
        let (time, timer) = timer(Some(8 * S));
        for (view, span) in [(0, 4), (1, 8), (2, 8), (63, 8), (u64::MAX, 8)] {
            let mut view = timer.elapsed(Height(1), View(view));
            assert!(!fired(&mut view));
            assert_eq!(time.next_deadline(), Some(time.now() + span * S));
        }
    }

    #[test]
    fn a_view_too_high_for_any_clock_lasts_for_ever() {
        let (time, timer) = timer(None);
        for view in [32, 53, 62, 63, 64, 1 << 32, u64::MAX] {
            let mut view = timer.elapsed(Height(1), View(view));
            time.advance_to(time.now() + 1_000_000 * S);
            assert!(!fired(&mut view));
        }
    }

    #[test]
    fn dropping_the_future_stops_the_timer() {
        let (time, timer) = timer(None);
        let mut view = timer.elapsed(Height(1), View(0));
        assert!(!fired(&mut view));
        assert_eq!(time.pending(), 1);
        drop(view);
        assert_eq!(time.pending(), 0);
    }

    #[test]
    fn by_hand_the_newest_word_wins_and_a_stale_one_never_fires() {
        let manual = Manual::new();
        let at = |height, view| manual.elapsed(Height(height), View(view));
        manual.fire(Height(3), View(0));
        manual.fire(Height(3), View(1));
        assert_eq!(manual.pending(), Some((Height(3), View(1))), "they do not pile up");
        assert!(!fired(&mut at(3, 0)), "replaced");
        assert!(!fired(&mut at(3, 2)), "another view's");
        assert!(!fired(&mut at(4, 1)), "another height's");
        assert!(fired(&mut at(3, 1)));
        assert_eq!(manual.pending(), None, "taken");
    }

    #[test]
    fn by_hand_whoever_waits_is_woken_and_whoever_is_gone_is_forgotten() {
        let manual = Manual::new();
        let remote = manual.clone();
        let waits = manual.elapsed(Height(3), View(0));
        let fires = async {
            futures_lite::future::yield_now().await;
            remote.fire(Height(3), View(0));
        };
        block_on(futures_lite::future::zip(waits, fires));
        let mut gone = manual.elapsed(Height(3), View(1));
        assert!(!fired(&mut gone));
        assert_eq!(manual.0.borrow().waiting.len(), 1);
        drop(gone);
        assert_eq!(manual.0.borrow().waiting.len(), 0);
    }
}
