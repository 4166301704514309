//! The leader's side of leases: counting down with its own clock, proposing what it found.
//!
//! One [`Lessor`] lives as long as one leadership. It changes nothing by itself: it proposes
//! [`Command::LeaseExpire`] when a lease is over and [`Command::LeaseCheckpoint`] now and then, so
//! that the next leader goes on counting instead of beginning again.
//!
//! # Keep-alives are not written, unless they must be
//!
//! A client keeps a lease alive every third of its time, for ever; were each an entry, three boards
//! with a few idle clients would write to flash all day. So a keep-alive only moves the deadline
//! that the leader counts to, *if the agreed state of the lease already says "full time"*: a next
//! leader begins at what was agreed on, and begins later, so it cannot end the lease before the
//! time the client was promised. If a checkpoint has shortened the agreed time, or a checkpoint or
//! an expiry is on its way through the log, the keep-alive becomes an entry
//! ([`Command::LeaseRenew`]) and is answered when that is applied. Checkpoints are made at half of
//! the time left, so a client that renews every third never causes one: living leases write
//! nothing.
//!
//! Such a keep-alive leaves no trace in the log, so a leader that was deposed and does not know it
//! yet has no way to learn of it: what it finds must not count any more. Therefore each proposal
//! names the epoch that its proposer leads, and has no effect in an entry of any other epoch, as
//! when it was handed on to the next leader. What the old leader did append itself comes before
//! the first entry of the new one, which begins to count only after that.
//!
//! For the promise to hold the caller must confirm that it still leads *after* the keep-alive came
//! in (as for a linearizable read) before it answers [`KeepAlive::Renewed`]. A keep-alive that came
//! to a follower is best proposed as an entry.
//!
//! # How exact it is
//!
//! A lease never ends before its time. It ends later by the time in which no leader counted, and
//! after a change of leaders by at most what the old leader had counted since the last checkpoint:
//! half of the time that was left then, and never more than five minutes.
//!
//! Time is monotonic nanoseconds of the caller's clock; only differences matter.

use std::collections::{BTreeMap, BTreeSet};

use super::store::Store;
use super::types::{Command, LeaseCheckpoint, LeaseStamp};

const SECOND: u64 = 1_000_000_000;

/// The longest time between two checkpoints of a lease, as in etcd.
const CHECKPOINT_EVERY: u64 = 300 * SECOND;

/// A lease with less time left is not worth an entry: it would save at most half of this.
const CHECKPOINT_LEFT_MIN: u64 = 4 * SECOND;

/// A proposal of ours that was not applied after this time is made again.
const RETRY: u64 = SECOND;

/// Leases named in one entry, so that no entry grows without bound.
const LEASES_PER_ENTRY: usize = 512;

/// What to do about a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Renewed: answer with this time to live once leadership is confirmed.
    Renewed {
        /// Seconds.
        ttl_s: i64,
    },
    /// Propose [`Command::LeaseRenew`] and answer when it is applied.
    Propose,
    /// There is no such lease; etcd answers with a time to live of 0.
    Gone,
}

#[derive(Debug)]
struct Timer {
    generation: u64,
    /// When the lease is over.
    deadline: u64,
    /// When to look at it next.
    wake: u64,
    /// A checkpoint or expiry was proposed and may still be applied.
    in_flight: bool,
}

/// The deadlines of all leases, by the leader's clock.
#[derive(Debug)]
pub struct Lessor {
    /// What the proposals are valid in.
    epoch: u64,
    /// The last generation seen.
    seen: u64,
    timers: BTreeMap<i64, Timer>,
    wakes: BTreeSet<(u64, i64)>,
}

impl Lessor {
    /// Begins to count, on becoming leader of an epoch (raft: a term): once the first entry of that
    /// epoch is applied, so that no expiry of an earlier leader can follow.
    #[must_use]
    pub fn new(store: &Store, epoch: u64, now_ns: u64) -> Self {
        let mut lessor = Self { epoch, seen: 0, timers: BTreeMap::new(), wakes: BTreeSet::new() };
        lessor.observe(store, now_ns);
        lessor
    }

    /// Takes note of what was applied; call it after entries were. Costs nothing if no lease
    /// changed.
    pub fn observe(&mut self, store: &Store, now_ns: u64) {
        let core = store.core.borrow();
        if core.leases.last() == self.seen {
            return;
        }
        for (id, lease) in core.leases.since(self.seen) {
            let agreed = now_ns.saturating_add(nanos(lease.remaining_s));
            let deadline = match self.timers.get(&id) {
                // Our own checkpoint: we know better than the rounded seconds.
                Some(timer) if lease.remaining_s < lease.ttl_s => timer.deadline.min(agreed),
                _ => agreed,
            };
            let timer = Timer {
                generation: lease.generation,
                deadline,
                wake: next_look(now_ns, deadline),
                in_flight: false,
            };
            self.set(id, timer);
        }
        self.seen = core.leases.last();
        if self.timers.len() > 64 + 2 * core.leases.len() {
            let (timers, wakes) = (&mut self.timers, &mut self.wakes);
            timers.retain(|id, _| core.leases.get(*id).is_some());
            wakes.retain(|(_, id)| timers.contains_key(id));
        }
    }

    /// When [`due`](Self::due) has something to do next.
    #[must_use]
    pub fn next_wake_ns(&self) -> Option<u64> {
        self.wakes.first().map(|&(wake, _)| wake)
    }

    /// What to propose now: few commands, however many leases. Ask again while
    /// [`next_wake_ns`](Self::next_wake_ns) is not in the future. What is not applied within a
    /// second is proposed again, so a refused proposal needs no care.
    #[must_use]
    pub fn due(&mut self, store: &Store, now_ns: u64) -> Vec<Command> {
        self.observe(store, now_ns);
        let core = store.core.borrow();
        let (mut expired, mut checkpoints) = (Vec::new(), Vec::new());
        for _ in 0..LEASES_PER_ENTRY {
            let Some(&(wake, id)) = self.wakes.first().filter(|(wake, _)| *wake <= now_ns) else {
                break;
            };
            let current = self.timers.get_mut(&id).zip(core.leases.get(id));
            let Some((timer, agreed)) = current else {
                self.wakes.remove(&(wake, id));
                self.timers.remove(&id);
                continue;
            };
            let lease = LeaseStamp { id, generation: timer.generation };
            let left = timer.deadline.saturating_sub(now_ns);
            let remaining_s = left.div_ceil(SECOND) as i64;
            let mut next = next_look(now_ns, timer.deadline);
            if left == 0 {
                expired.push(lease);
            } else if remaining_s < agreed.remaining_s {
                checkpoints.push(LeaseCheckpoint { lease, remaining_s });
            }
            if left == 0 || remaining_s < agreed.remaining_s {
                timer.in_flight = true;
                next = now_ns.saturating_add(RETRY);
            }
            self.wakes.remove(&(wake, id));
            timer.wake = next;
            self.wakes.insert((next, id));
        }
        let epoch = self.epoch;
        let mut commands = Vec::new();
        if !expired.is_empty() {
            let leases = expired;
            commands.push(Command::LeaseExpire { epoch, leases });
        }
        if !checkpoints.is_empty() {
            commands.push(Command::LeaseCheckpoint { epoch, checkpoints });
        }
        commands
    }

    /// A client wants its lease to live on; see the module's text for what the caller owes.
    pub fn keep_alive(&mut self, store: &Store, id: i64, now_ns: u64) -> KeepAlive {
        self.observe(store, now_ns);
        let core = store.core.borrow();
        let Some((timer, lease)) = self.timers.get(&id).zip(core.leases.get(id)) else {
            return KeepAlive::Gone;
        };
        if timer.in_flight || lease.remaining_s < lease.ttl_s {
            return KeepAlive::Propose;
        }
        let deadline = now_ns.saturating_add(nanos(lease.ttl_s));
        let timer = Timer {
            generation: timer.generation,
            deadline,
            wake: next_look(now_ns, deadline),
            in_flight: false,
        };
        self.set(id, timer);
        let ttl_s = lease.ttl_s;
        KeepAlive::Renewed { ttl_s }
    }

    /// Whole seconds left, as etcd's time to live says; `None` if there is no such lease.
    #[must_use]
    pub fn remaining_s(&self, store: &Store, id: i64, now_ns: u64) -> Option<i64> {
        let core = store.core.borrow();
        let lease = core.leases.get(id)?;
        Some(match self.timers.get(&id) {
            Some(timer) => (timer.deadline.saturating_sub(now_ns) / SECOND) as i64,
            None => lease.remaining_s,
        })
    }

    fn set(&mut self, id: i64, timer: Timer) {
        let wake = timer.wake;
        if let Some(old) = self.timers.insert(id, timer) {
            self.wakes.remove(&(old.wake, id));
        }
        self.wakes.insert((wake, id));
    }
}

fn nanos(seconds: i64) -> u64 {
    u64::try_from(seconds).map_or(0, |s| s.saturating_mul(SECOND))
}

/// The deadline, or the next checkpoint before it. Checkpoints fall on whole seconds of the clock,
/// so that those of many leases share an entry.
fn next_look(now: u64, deadline: u64) -> u64 {
    let left = deadline.saturating_sub(now);
    if left <= CHECKPOINT_LEFT_MIN {
        return deadline;
    }
    let at = now + (left / 2).min(CHECKPOINT_EVERY);
    at.next_multiple_of(SECOND).min(deadline)
}
