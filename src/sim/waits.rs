//! Nobody waits for ever, invariant I12: every request is answered in time, and every member that
//! can be brought up to date is.
//!
//! | what must hold | from when on |
//! |---|---|
//! | a request is answered within its deadline and 100 ms of the asked node's own time | always |
//! | a request is answered within three time-outs, by its outcome or by a limit that is stated | the cluster has been *settled* for three |
//! | a member has what was decided before, within ten time-outs and twice the time that the missing bytes take | the cluster is settled |
//!
//! A *time-out* is the longest one of an election of raft, the base one of a view of helix. A cluster
//! is *settled* while the nodes that hear each other all hear each other, those of them whose disks
//! have room and answer are a quorum of honest members, clocks and network are calm, and nothing
//! happens to it. Requests at other nodes are held to the first line only. The time of a node that is
//! frozen or down does not count.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::env::{Clock, Time};
use crate::error::Refused;
use crate::id::NodeId;

/// How much later than its deadline an answer may come.
pub const GRACE: Duration = Duration::from_millis(100);
/// Time-outs until a settled cluster must have a leader, and again until a request is answered.
const PATIENCE: u32 = 3;
/// Time-outs until a member of a settled cluster must have what was decided.
const CATCHING_UP: u32 = 10;

/// How patient those who wait are with a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The longest that a node lets a request wait.
    pub deadline: Duration,
    /// The longest time-out of an election, or the base one of a view.
    pub timeout: Duration,
}

/// A cluster as it is at a moment, for those who wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calm {
    /// Those who hear each other, if they are settled; nobody, if they are not.
    pub members: BTreeSet<NodeId>,
    /// Those of them that can be asked to answer: their disks have room and answer.
    pub able: BTreeSet<NodeId>,
    /// How many roles have been dropped where they waited.
    pub cancels: u64,
}

/// What was decided at a moment, and by when all must have it.
struct Target {
    position: u64,
    since: Time,
    until: Time,
}

struct Wait {
    node: NodeId,
    what: &'static str,
    asked: Time,
    /// How long the asked node had run, by its own clock.
    ran: Duration,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Wait>,
    clocks: BTreeMap<NodeId, Clock>,
    /// How long each node has run, by its own clock, and where that was when one looked last.
    ran: BTreeMap<NodeId, (Duration, Option<Time>)>,
    calm: Calm,
    /// Since when nothing has happened to it.
    since: Time,
    /// From when on it must answer, if it was quiet for long enough.
    settled: Option<Time>,
    /// What each able member must have.
    target: Option<Target>,
    broken: Option<String>,
}

/// Everybody who waits for an answer of one cluster.
#[derive(Clone)]
pub struct Waits(Rc<RefCell<State>>);

/// A request that waits; it ends with the future that holds it.
struct Waiting {
    waits: Waits,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.0.borrow_mut().open.remove(&self.number);
    }
}

impl Waits {
    /// Nobody waits yet. The clocks are those of the nodes.
    #[must_use]
    pub fn new(clocks: BTreeMap<NodeId, Clock>) -> Self {
        Self(Rc::new(RefCell::new(State { clocks, ..State::default() })))
    }

    /// Waits for what `node` answers to a request.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn ask<T>(
        &self,
        node: NodeId,
        what: &'static str,
        clock: &Clock,
        request: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let waiting = self.begin(node, what, clock.now());
        let answer = request.await;
        if let Err(refused) = &answer {
            self.refused(&waiting, clock.now(), refused);
        }
        answer
    }

    fn begin(&self, node: NodeId, what: &'static str, asked: Time) -> Waiting {
        let mut state = self.0.borrow_mut();
        state.next += 1;
        let number = state.next;
        let ran = state.has_run(node);
        state.open.insert(number, Wait { node, what, asked, ran });
        Waiting { waits: self.clone(), number }
    }

    /// In a cluster that was settled all the while, neither "no answer in time" is an answer, nor
    /// is "no leader".
    fn refused(&self, waiting: &Waiting, now: Time, refused: &Refused) {
        let state = &mut *self.0.borrow_mut();
        let Some(wait) = state.open.get(&waiting.number) else {
            return;
        };
        let stated = match refused {
            Refused::Overloaded | Refused::TooLarge { .. } | Refused::DiskFull => true,
            // The node ends, or its state skipped over the request: that it does not know is true.
            Refused::ShuttingDown | Refused::Compacted(_) => true,
            _ => false,
        };
        let settled = state.settled.filter(|_| state.calm.able.contains(&wait.node));
        if let Some(settled) = settled.filter(|&settled| !stated && wait.asked >= settled) {
            let Wait { node, what, asked, .. } = wait;
            let what = format!(
                "{node:?} answers a {what} of {asked:?} at {now:?}: {refused}; the cluster is \
                 settled since {settled:?}"
            );
            state.broken.get_or_insert(what);
        }
    }

    /// Something has happened to the cluster.
    pub fn disturbed(&self, now: Time) {
        let state = &mut *self.0.borrow_mut();
        (state.since, state.settled, state.target) = (now, None, None);
    }

    /// Looks at the cluster, often.
    ///
    /// # Errors
    /// Who has waited too long, or was answered wrongly.
    pub fn look(&self, moment: &Moment) -> Result<(), String> {
        let state = &mut *self.0.borrow_mut();
        state.run(moment);
        if state.calm != moment.calm {
            state.calm = moment.calm.clone();
            (state.since, state.settled, state.target) = (moment.now, None, None);
        }
        let settled = state.since + moment.patience.timeout * PATIENCE;
        if !state.calm.able.is_empty() && moment.now >= settled {
            state.settled.get_or_insert(settled);
        }
        state.late(moment)?;
        state.behind(moment)?;
        state.broken.take().map_or(Ok(()), Err)
    }
}

/// What one sees at a moment.
#[derive(Debug)]
pub struct Moment {
    /// When.
    pub now: Time,
    /// How patient those who wait are.
    pub patience: Patience,
    /// The cluster.
    pub calm: Calm,
    /// The nodes that run.
    pub running: BTreeSet<NodeId>,
    /// The last position that was decided.
    pub decided: u64,
    /// The last position that each node has taken.
    pub taken: BTreeMap<NodeId, u64>,
    /// How long it takes to bring a member this many positions further, once.
    pub pace: Duration,
}

impl State {
    /// How long a node has run until now.
    fn has_run(&self, node: NodeId) -> Duration {
        let now = self.clocks.get(&node).map_or(Time::ZERO, Clock::now);
        match self.ran.get(&node) {
            Some((ran, Some(last))) => *ran + now.since(*last),
            Some((ran, None)) => *ran,
            None => Duration::ZERO,
        }
    }

    /// Counts how long each node has run. One that was stopped in between has run for less.
    fn run(&mut self, moment: &Moment) {
        for (node, (ran, last)) in &mut self.ran {
            let runs = moment.running.contains(node);
            let now = self.clocks.get(node).filter(|_| runs).map(Clock::now);
            if let (Some(last), Some(now)) = (*last, now) {
                *ran += now.since(last);
            }
            *last = now;
        }
        for &node in &moment.running {
            self.ran
                .entry(node)
                .or_insert_with(|| (Duration::ZERO, self.clocks.get(&node).map(Clock::now)));
        }
    }

    fn late(&self, moment: &Moment) -> Result<(), String> {
        let Patience { deadline, timeout } = moment.patience;
        for Wait { node, what, asked, ran } in self.open.values() {
            let waited =
                self.ran.get(node).map_or(Duration::ZERO, |(now, _)| now.saturating_sub(*ran));
            if waited > deadline + GRACE {
                return Err(format!("a {what} at {node:?} waits since {asked:?}: {waited:?}"));
            }
            let begin = self.settled.filter(|_| self.calm.able.contains(node));
            if let Some(settled) = begin
                && moment.now > settled.max(*asked) + timeout * PATIENCE + GRACE
            {
                return Err(format!(
                    "a {what} at {node:?} waits since {asked:?}; the cluster is settled since \
                     {settled:?}"
                ));
            }
        }
        Ok(())
    }

    /// Each able member comes to where the cluster was, again and again.
    fn behind(&mut self, moment: &Moment) -> Result<(), String> {
        if self.calm.able.is_empty() {
            return Ok(());
        }
        let taken = |node| moment.taken.get(node).copied().unwrap_or(0);
        let lowest = self.calm.able.iter().map(|node| (taken(node), *node)).min();
        let Some((lowest, node)) = lowest else {
            return Ok(());
        };
        match &self.target {
            Some(Target { position, since, until }) if lowest < *position => {
                if moment.now > *until {
                    let what = format!("at {since:?} {position} was decided");
                    return Err(format!("{node:?} is still at {lowest}; {what}"));
                }
            }
            _ => {
                let (position, since) = (moment.decided, moment.now);
                let missing = u32::try_from(position.saturating_sub(lowest)).unwrap_or(u32::MAX);
                let span = moment.patience.timeout * CATCHING_UP + moment.pace * 2 * missing;
                self.target = Some(Target { position, since, until: since + span });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waits({} open)", self.0.borrow().open.len())
    }
}
