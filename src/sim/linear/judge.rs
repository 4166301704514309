//! The judgement of a whole history.

use std::fmt;

use crate::kv::Event;
use crate::sim::linear::authors::{self, Author};
use crate::sim::linear::leases::Leases;
use crate::sim::linear::record::{Answer, Log, Request};
use crate::sim::linear::revisions::Revisions;
use crate::sim::linear::{answers, register, watches};

/// What may be relied on besides the answers.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// How fast the fastest clock of a node runs by that of the log, of 1000: leases may end so
    /// much sooner.
    pub clock_rate_max: u64,
}

impl Default for Promise {
    /// Clocks that run alike.
    fn default() -> Self {
        Self { clock_rate_max: 1_000 }
    }
}

/// What a history that is as it must be was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Calls in all.
    pub calls: u64,
    /// Revisions whose author was told so.
    pub answered: u64,
    /// Revisions whose author never learned of it.
    pub unanswered: u64,
    /// Revisions that are the end of a lease.
    pub lease_ends: u64,
    /// Calls whose outcome nobody learned.
    pub unknown: u64,
    /// Reads of keys that were answered.
    pub reads: u64,
    /// Changes that watches were told.
    pub told: u64,
    /// Keys for which an order was searched.
    pub keys: u64,
    /// Those for which the search was too long.
    pub gave_up: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, answered, unanswered, lease_ends, unknown, .. } = self;
        let Self { reads, told, keys, gave_up, .. } = self;
        write!(f, "{calls} calls, {unknown} without outcome, {reads} reads; revisions: ")?;
        write!(f, "{answered} answered, {unanswered} not, {lease_ends} ends of leases; ")?;
        write!(f, "{told} changes told to watches; {keys} keys, {gave_up} not searched")
    }
}

impl Verdict {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            answered: self.answered + other.answered,
            unanswered: self.unanswered + other.unanswered,
            lease_ends: self.lease_ends + other.lease_ends,
            unknown: self.unknown + other.unknown,
            reads: self.reads + other.reads,
            told: self.told + other.told,
            keys: self.keys + other.keys,
            gave_up: self.gave_up + other.gave_up,
        }
    }
}

/// When what was shown.
#[derive(Debug)]
pub struct Shown {
    /// By time: the greatest revision shown until then.
    greatest: Vec<(u64, i64)>,
    /// By revision: the first time that it or a later one was shown.
    first: Vec<(i64, u64)>,
}

impl Shown {
    fn new(log: &Log, last: i64) -> Result<Self, String> {
        let answers = log
            .operations
            .iter()
            .filter_map(|operation| Some((operation.ended?, operation.revision()?)));
        let watches = log.watches.iter().flat_map(|watched| {
            let told = watched.told.iter().filter_map(|told| {
                let event = told.events.last().map(|event| event.kv.mod_revision);
                Some((told.at, event.max(told.up_to)?))
            });
            told.chain([(watched.created, watched.revision)])
        });
        let mut greatest: Vec<_> = answers.chain(watches).collect();
        greatest.sort_unstable();
        let mut max = 0;
        let mut first = Vec::new();
        for (at, revision) in &mut greatest {
            if *revision > last {
                return Err(format!(
                    "revision {revision} was shown at {at}, but {last} is the last"
                ));
            }
            if *revision > max {
                max = *revision;
                first.push((max, *at));
            }
            *revision = max;
        }
        Ok(Self { greatest, first })
    }

    /// The greatest revision that was shown to anybody before a time.
    #[must_use]
    pub fn floor(&self, before: u64) -> i64 {
        let count = self.greatest.partition_point(|&(at, _)| at < before);
        self.greatest[..count].last().map_or(1, |&(_, revision)| revision)
    }

    /// When a revision, or a later one, was first shown to anybody; the end of time if never.
    #[must_use]
    pub fn first(&self, revision: i64) -> u64 {
        let at = self.first.partition_point(|&(shown, _)| shown < revision);
        self.first.get(at).map_or(u64::MAX, |&(_, time)| time)
    }
}

/// Judges a log by itself and by `changes`: every change of the store from its empty beginning to
/// its end, in order.
///
/// # Errors
/// What no store can have shown.
pub fn check(log: &Log, changes: &[Event], promise: &Promise) -> Result<Verdict, String> {
    let history = Revisions::new(changes)?;
    let shown = Shown::new(log, history.last())?;
    let leases = Leases::new(log, promise);
    let authors = authors::find(log, &history, &shown, &leases)?;
    answers::check(log, &history, &shown, &authors)?;
    leases.check(log, &history, &shown)?;
    let told = watches::check(log, &history)?;
    let (keys, gave_up) = register::check(log)?;
    let count =
        |is: fn(&Author) -> bool| authors.values().filter(|author| is(author)).count() as u64;
    let unknown = log.operations.iter().filter(|o| o.answer == Answer::Unknown);
    let reads = log.operations.iter().filter(|operation| {
        matches!((&operation.request, &operation.answer), (Request::Range { .. }, Answer::Range(_)))
    });
    Ok(Verdict {
        calls: log.operations.len() as u64,
        answered: count(|author| matches!(author, Author::Answered(_))),
        unanswered: count(|author| matches!(author, Author::Unanswered(_))),
        lease_ends: count(|author| matches!(author, Author::LeaseEnd(_))),
        unknown: unknown.count() as u64,
        reads: reads.count() as u64,
        told,
        keys: keys as u64,
        gave_up: gave_up as u64,
    })
}
