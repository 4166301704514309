//! The handle on a running node, and its life: what an embedder holds and what it runs.
//!
//! [`Node::start`] returns both. The [`Life`] is a future to be run on the embedder's executor;
//! it ends when the node is shut down or must stop. Dropping it is `kill -9`: as safe, and as
//! rude. The [`Node`] is the handle, to be cloned freely.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::env::Env;
use crate::error::{Fatal, Refused};
use crate::id::{ClusterId, Index, NodeId, Term};
use crate::machine::StateMachine;
use crate::raft::candidate::Outcome;
use crate::raft::core::{Core, Read, Stop};
use crate::raft::event::Observer;
use crate::raft::follower::Follower;
use crate::raft::host::Hosted;
use crate::raft::{candidate, follower, leader, recover, snapshot};
use crate::scope::first::{First, first};
use crate::scope::oneshot::oneshot;

/// A handle on a running node; clones are handles on the same one.
///
/// It stays on its thread, like everything of a node:
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// struct Machine;
/// # impl quorate::StateMachine for Machine {
/// #     type Response = ();
/// #     fn apply(&mut self, _: quorate::Committed<'_>) {}
/// #     fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> { Box::new(std::iter::empty()) }
/// #     fn restore(&mut self, _: &[u8]) -> Result<(), String> { Ok(()) }
/// # }
/// needs_send::<quorate::raft::Node<Machine>>();
/// ```
pub struct Node<M: StateMachine> {
    core: Rc<Core>,
    hosted: Rc<RefCell<Hosted<M>>>,
}

/// An answered proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<R> {
    /// Where in the log it stands.
    pub index: Index,
    /// The term that decided it.
    pub term: Term,
    /// What the state machine answered.
    pub response: R,
}

/// What a node does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// A peer as its leader sees it, at the last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which one.
    pub node: NodeId,
    /// What it has durably, as far as is known.
    pub match_index: Index,
    /// What it is sent next.
    pub next_index: Index,
    /// Milliseconds since it was last heard of; `None` if they do not fit a `u64`.
    pub heard_ms: Option<u64>,
}

/// One moment of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The voters.
    pub members: Vec<NodeId>,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last entry of its log.
    pub last_index: Index,
    /// The last entry that it knows to be decided.
    pub commit_index: Index,
    /// The last entry that its state machine has applied.
    pub applied_index: Index,
    /// The last entry that its latest snapshot covers.
    pub snapshot_index: Index,
    /// The first entry that is still in its log.
    pub first_index: Index,
    /// The peers, if it leads.
    pub peers: Vec<PeerStatus>,
    /// Requests of its clients that wait.
    pub waiting: usize,
    /// Bytes that the journal takes on disk.
    pub journal_bytes: u64,
    /// The median of the last syncs, in microseconds.
    pub sync_us: u64,
    /// How late the loop came to a timer, at most, of the last hundred or so, in microseconds.
    pub loop_lag_us: u64,
    /// Frames of peers that made no sense.
    pub malformed: u64,
    /// Frames dropped because a queue was full.
    pub dropped: u64,
    /// Whether the disk has no room for new entries.
    pub disk_full: bool,
}

impl<M: StateMachine> Node<M> {
    /// Opens the journal, restores the state from it, and makes a node that is ready to run.
    ///
    /// # Errors
    /// [`Fatal`]: the data directory is locked, damaged, or another node's; see its text.
    pub fn start(
        config: Config,
        env: Env,
        machine: M,
        observer: Observer,
    ) -> Result<(Self, Life), Fatal> {
        let first_request = env.rng.u64() >> 1;
        let hosted = Rc::new(RefCell::new(Hosted::new(machine, first_request)));
        let (journal, recovered) = recover::recover(&config, &env, &hosted)?;
        let checkpoint_due = recovered.checkpoint_due;
        let core = Rc::new(Core::new(config, env, journal, observer, hosted.clone(), recovered));
        recover::begin(&core, checkpoint_due);
        let life = Life { future: Box::pin(live(core.clone())), ending: Ending(core.clone()) };
        Ok((Self { core, hosted }, life))
    }

    /// Proposes a command and waits until it is decided and applied here, whoever leads.
    ///
    /// A command survives a change of leader: it is handed to the next one when, and only when, it
    /// can no longer be applied through the one before.
    ///
    /// # Errors
    /// [`Refused::outcome`] says whether the command may still take effect.
    ///
    /// Cancel safe: dropping it abandons the answer; the command is in the log or it is not.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, Refused> {
        let limits = &self.core.config.limits;
        let answer = {
            let mut hosted = self.hosted.borrow_mut();
            let (len, len_max) = (command.len(), limits.command_bytes_max);
            if hosted.is_closed() {
                return Err(Refused::ShuttingDown);
            }
            if len > len_max {
                return Err(Refused::TooLarge { len, len_max });
            }
            if hosted.waiting_requests() >= limits.proposals_max
                || hosted.waiting_bytes() + len > limits.proposal_bytes_max
            {
                return Err(Refused::Overloaded);
            }
            hosted.ask(command)
        };
        self.core.request();
        answer.await.unwrap_or(Err(Refused::ShuttingDown))
    }

    /// Looks at the state linearizably: it shows everything that was answered to anybody before
    /// this call. On any node.
    ///
    /// # Errors
    /// [`Refused`] if no quorum confirms in time. Nothing has happened then.
    ///
    /// Cancel safe.
    pub async fn read<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refused> {
        if self.hosted.borrow().is_closed() {
            return Err(Refused::ShuttingDown);
        }
        let waiting = self.core.reads.borrow().len();
        if waiting >= self.core.config.limits.proposals_max {
            return Err(Refused::Overloaded);
        }
        let (reply, answer) = oneshot();
        let since = self.core.now.get();
        self.core.reads.borrow_mut().push_back(Read { since, reply });
        self.core.request();
        answer.await.unwrap_or(Err(Refused::ShuttingDown))?;
        Ok(self.read_stale(look))
    }

    /// Looks at this node's present state, which may be behind.
    pub fn read_stale<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.hosted.borrow().machine)
    }

    /// Its present term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.core.term()
    }

    /// This moment of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        let log = core.log.borrow();
        Status {
            node: core.me(),
            cluster: core.config.cluster,
            members: core.config.members.iter().copied().collect(),
            role: core.view.role.get(),
            term: core.term(),
            leader: core.view.leader.get(),
            last_index: log.last().index,
            commit_index: core.commit.get(),
            applied_index: core.applied.get(),
            snapshot_index: log.snapshot().index,
            first_index: log.first(),
            peers: core.view.peers.borrow().clone(),
            waiting: self.hosted.borrow().waiting_requests(),
            journal_bytes: core.journal.bytes_on_disk(),
            sync_us: micros(core.journal.sync_median()),
            loop_lag_us: micros(core.mailbox.lag.borrow().get()),
            malformed: core.malformed.get(),
            dropped: core.env.net.dropped(),
            disk_full: core.journal.is_full(),
        }
    }

    /// Hands the node over to the simulator's cancel injector, before its life begins.
    #[cfg(feature = "sim")]
    pub(crate) fn expose_to(&self, cancel_injector: crate::scope::cancel::CancelInjector) {
        self.core.cancel_injector.replace(cancel_injector);
    }

    /// Ends the node's life in good order: a leader hands over, what was submitted is synced, who
    /// waits is told, and [`Life`] returns. Returns at once; await the life for the end.
    pub fn shutdown(&self) {
        self.core.shutdown.set(true);
        self.core.wake.notify();
    }
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), hosted: self.hosted.clone() }
    }
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?}, {:?})", self.core.me(), self.core.view.role.get())
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The whole life of a node, as a future. Dropping it is `kill -9`.
pub struct Life {
    future: Pin<Box<dyn Future<Output = Result<(), Fatal>>>>,
    ending: Ending,
}

impl Future for Life {
    type Output = Result<(), Fatal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.future.as_mut().poll(cx)
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({:?})", self.ending.0.me())
    }
}

/// Answers everybody who still waits when a life ends, however it ends.
struct Ending(Rc<Core>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The life of a node: its role, its journal and its snapshots, until one of them must stop.
pub(super) async fn live(core: Rc<Core>) -> Result<(), Fatal> {
    let mut at_work = pin!(first(core.journal.run(), snapshot::run(&core)));
    #[cfg(not(feature = "sim"))]
    let roles = rule(&core);
    #[cfg(feature = "sim")]
    let cancel_injector = core.cancel_injector.borrow().clone();
    #[cfg(feature = "sim")]
    let roles = cancel_injector.over(|| rule(&core));
    match first(roles, &mut at_work).await {
        First::A(Ok(never)) => match never {},
        First::A(Err(Stop::Fatal(fatal))) => Err(fatal),
        First::A(Err(Stop::Shutdown)) => {
            core.close();
            match first(settled(&core), at_work).await {
                First::A(()) => Ok(()),
                First::B(First::A(fatal) | First::B(fatal)) => Err(fatal),
            }
        }
        First::B(First::A(fatal) | First::B(fatal)) => Err(fatal),
    }
}

/// Figure 4 of the Raft paper, as control flow.
async fn rule(core: &Core) -> Result<std::convert::Infallible, Stop> {
    let mut me = Follower::leaderless("start");
    loop {
        let campaign = follower::run(core, me).await?;
        me = match candidate::run(core, campaign).await? {
            Outcome::Won(elected) => leader::run(core, elected).await?,
            Outcome::Lost(follower) => follower,
        };
    }
}

/// How long a shutdown waits for its last sync. A disk that takes longer is a disk that fails.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Waits until the journal has synced what was submitted, if it can.
async fn settled(core: &Core) {
    let synced = async {
        while core.journal.synced() < core.journal.submitted() && !core.journal.is_full() {
            core.wake.notified().await;
        }
    };
    first(synced, core.env.clock.sleep(DRAIN_MAX)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::clock::VirtualClock;
    use crate::env::net::{NetLimits, net};
    use crate::env::{Clock, Disk, Net, Rng, Spawner};
    use crate::machine::Committed;
    use crate::raft::entries::{Builder, HEADER, Kind, Origin};
    use crate::raft::message::{Envelope, Message, Position};
    use futures_lite::future::{block_on, poll_once};

    struct Nothing;

    impl StateMachine for Nothing {
        type Response = ();
        fn apply(&mut self, _: Committed<'_>) {}
        fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
            Box::new(std::iter::empty())
        }
        fn restore(&mut self, _: &[u8]) -> Result<(), String> {
            Ok(())
        }
    }

    /// A node whose life nobody polls: requests wait.
    fn idle() -> (Node<Nothing>, Life) {
        let mut config = Config::new(NodeId(1), ClusterId(1), [NodeId(1)]).expect("valid");
        config.limits.proposals_max = 3;
        config.limits.command_bytes_max = 8;
        let (net, _wire) = net(NodeId(1), [], NetLimits::default());
        start(config, net)
    }

    fn start(config: Config, net: Net) -> (Node<Nothing>, Life) {
        let env = Env {
            clock: Clock::simulated(VirtualClock::new()),
            rng: Rng::seeded(1),
            net,
            disk: Disk::memory(),
            spawner: Spawner::with(|_| unreachable!("a node spawns nothing")),
        };
        Node::start(config, env, Nothing, Observer::default()).expect("an empty disk")
    }

    #[test]
    fn entries_larger_than_any_healthy_peer_sends_are_dropped_and_counted() {
        let (me, peer) = (NodeId(1), NodeId(2));
        let config = Config::new(me, ClusterId(1), [me, peer]).expect("valid");
        let too_many = config.limits.entries_bytes_max() / HEADER + 1;
        let (net, wire) = net(me, [peer], NetLimits::default());
        let (node, mut life) = start(config, net);
        let mut batch = Builder::new(Index(1), Term(1), 0);
        for request in 0..too_many as u64 {
            batch.push(Kind::Command, Origin { node: peer, request }, &[]);
        }
        let (prev, commit, entries) = (Position::default(), Index(0), batch.finish());
        let append = Message::AppendEntries { prev, commit, round: 0, entries };
        let commands = (0..too_many as u64).map(|request| (request, Bytes::new())).collect();
        for message in [append, Message::Forward { commands }] {
            wire.deliver(peer, Envelope { term: Term(1), message }.encode());
        }
        assert!(block_on(poll_once(&mut life)).is_none(), "the node lives on");
        let status = node.status();
        assert_eq!((status.malformed, status.last_index), (2, Index(0)));
    }

    #[test]
    fn more_than_the_limit_is_refused_and_the_others_go_on_waiting() {
        let (node, _life) = idle();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(node.propose(Bytes::new()))).collect();
        for proposal in &mut waiting {
            assert_eq!(block_on(poll_once(proposal)), None);
        }
        assert_eq!(block_on(node.propose(Bytes::new())), Err(Refused::Overloaded));
        assert_eq!(node.status().waiting, 3);
    }

    #[test]
    fn a_command_above_the_limit_is_refused_with_both_numbers() {
        let (node, _life) = idle();
        let refused = Err(Refused::TooLarge { len: 9, len_max: 8 });
        assert_eq!(block_on(node.propose(Bytes::from(vec![0; 9]))), refused);
    }

    #[test]
    fn a_dropped_life_answers_who_waits_and_who_asks_later() {
        let (node, life) = idle();
        let mut proposal = Box::pin(node.propose(Bytes::new()));
        let mut read = Box::pin(node.read(|_| ()));
        assert_eq!(block_on(poll_once(&mut proposal)), None);
        assert_eq!(block_on(poll_once(&mut read)), None);
        drop(life);
        assert_eq!(block_on(proposal), Err(Refused::ShuttingDown));
        assert_eq!(block_on(read), Err(Refused::ShuttingDown));
        assert_eq!(block_on(node.propose(Bytes::new())), Err(Refused::ShuttingDown));
        assert_eq!(block_on(node.read(|_| ())), Err(Refused::ShuttingDown));
    }
}
