//! The life of a node, as the paper's figure 4 draws it (section 5.1), and the public handle on it.
//!
//! A node starts as a follower. A follower becomes a candidate, a candidate becomes the leader or a
//! follower again, and a leader becomes a follower. [`Node::start`] returns two values: a handle,
//! which may be cloned, and a [`Life`], which the embedder runs on its executor. The life runs the
//! roles, the journal and the snapshots side by side.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_lite::FutureExt;

use crate::config::Config;
use crate::env::Env;
use crate::error::{Fatal, Refused};
use crate::host::clients::Admission;
use crate::host::shutdown::{Stop, drain};
use crate::host::status::{Vitals, micros};
use crate::host::{Applied, Life};
use crate::id::{NodeId, Term};
use crate::machine::StateMachine;
use crate::raft::candidate::Outcome;
use crate::raft::core::Core;
use crate::raft::event::Observer;
use crate::raft::follower::Follower;
use crate::raft::machine::Machine;
use crate::raft::status::Status;
use crate::raft::{candidate, follower, leader, recover, snapshot};
use crate::scope::first::Named;

/// Figure 4 of the Raft paper, as control flow.
async fn figure_4(core: &Core) -> Result<Infallible, Stop> {
    let mut me = Follower::leaderless("start");
    loop {
        let campaign = follower::run(core, me).await?;
        me = match candidate::run(core, campaign).await? {
            Outcome::Won(elected) => leader::run(core, elected).await?,
            Outcome::Lost(follower) => follower,
        };
    }
}

/// The part of a node that ended, with the reason.
enum Ended {
    /// The roles have stopped.
    Roles(Stop),
    /// The journal has failed.
    Journal(Fatal),
    /// A snapshot has failed.
    Snapshots(Fatal),
}

/// Runs a node: its roles, its journal and its snapshots, until one of them ends.
pub(super) async fn live(core: Rc<Core>) -> Result<(), Fatal> {
    let mut journal = pin!(core.journal.run());
    let ended = {
        let roles = pin!(roles(&core).named(Ended::Roles));
        let journal = (&mut journal).named(Ended::Journal);
        let snapshots = snapshot::run(&core).named(Ended::Snapshots);
        roles.or(journal).or(snapshots).await
    };
    match ended {
        Ended::Journal(fatal) | Ended::Snapshots(fatal) | Ended::Roles(Stop::Fatal(fatal)) => {
            Err(fatal)
        }
        Ended::Roles(Stop::Shutdown) => {
            core.close();
            let drained = async {
                drain(&core.journal, &core.wake, &core.env.clock).await;
                Ok(())
            };
            drained.or(journal.named(Err)).await
        }
    }
}

/// Runs the roles until the node stops. The simulator may drop them at any of their polls.
async fn roles(core: &Core) -> Stop {
    #[cfg(feature = "sim")]
    let ended = {
        let injector = core.cancel_injector.borrow().clone();
        injector.over(|| figure_4(core)).await
    };
    #[cfg(not(feature = "sim"))]
    let ended = figure_4(core).await;
    match ended {
        Ok(never) => match never {},
        Err(stop) => stop,
    }
}

/// A handle on a running node; clones are handles on the same one.
///
/// A node and its handles stay on one thread:
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
    machine: Rc<RefCell<Machine<M>>>,
}

impl<M: StateMachine> Node<M> {
    /// Opens the journal, restores the state from it, and makes a node that is ready to run.
    ///
    /// # Errors
    /// [`Fatal`] if the data directory is locked, damaged, or belongs to another node.
    pub fn start(
        config: Config,
        env: Env,
        machine: M,
        observer: Observer,
    ) -> Result<(Self, Life), Fatal> {
        let limits = &config.limits;
        let admission = Admission {
            command_bytes_max: limits.command_bytes_max,
            requests_max: limits.proposals_max,
            bytes_max: limits.proposal_bytes_max,
            patience: config.timing.request_timeout(),
        };
        let first_request = env.rng.u64() >> 1;
        let machine = Rc::new(RefCell::new(Machine::new(machine, first_request, admission)));
        let (journal, recovered) = recover::recover(&config, &env, &machine)?;
        let checkpoint_due = recovered.checkpoint_due;
        let core = Rc::new(Core::new(config, env, journal, observer, machine.clone(), recovered));
        recover::begin(&core, checkpoint_due);
        let ending = core.clone();
        let life = Life::new(core.me(), live(core.clone()), move || ending.end());
        Ok((Self { core, machine }, life))
    }

    /// Proposes a command and waits until this node has applied it. Any node takes proposals; a
    /// follower forwards the command to the leader.
    ///
    /// A command survives a change of leader. The node sends it to the next leader only when the
    /// old leader's copy can no longer be committed.
    ///
    /// # Errors
    /// [`Refused::outcome`] says whether the command may still take effect.
    ///
    /// Cancel safe: dropping the future gives up the answer only; the command may still be applied.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, Refused> {
        let now = self.core.env.clock.now();
        let answer = self.machine.borrow_mut().propose(command, now)?;
        self.core.request();
        answer.await.unwrap_or(Err(Refused::ShuttingDown))
    }

    /// Reads the state linearizably: the read sees the effect of every command that any node
    /// answered before this call. Any node takes reads.
    ///
    /// # Errors
    /// [`Refused`] if no quorum confirms the leader in time. The state is unchanged then.
    ///
    /// Cancel safe.
    pub async fn read<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refused> {
        let answer = self.core.reads.ask(self.core.env.clock.now())?;
        self.core.request();
        answer.await.unwrap_or(Err(Refused::ShuttingDown))?;
        Ok(self.read_stale(look))
    }

    /// Reads this node's own state, which may be older than the leader's.
    pub fn read_stale<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(self.machine.borrow().state())
    }

    /// The node's current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.core.term()
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.core.me()
    }

    /// The node's current status.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        let log = core.log();
        Status {
            node: core.me(),
            cluster: core.config.cluster,
            members: core.config.members.iter().copied().collect(),
            role: core.published.role(),
            term: core.term(),
            leader: core.published.leader(),
            last_index: log.last().index,
            commit_index: core.decided.commit(),
            applied_index: core.decided.applied(),
            snapshot_index: log.snapshot().index,
            first_index: log.first(),
            peers: core.published.peers(),
            vitals: Vitals {
                waiting: self.machine.borrow().waiting() + core.reads.len(),
                loop_lag_us: micros(core.mailbox.lag()),
                malformed: core.mailbox.malformed(),
                ..Vitals::of(&core.journal, &core.env.net)
            },
        }
    }

    /// Lets the simulator's cancel injector drop the node's roles. Call it before the life begins.
    #[cfg(feature = "sim")]
    pub(crate) fn expose_to(&self, injector: crate::scope::cancel::CancelInjector) {
        self.core.cancel_injector.replace(injector);
    }

    /// Ends the node's life in good order: a leader transfers its leadership, the journal syncs its
    /// submitted records, the waiting clients are refused, and [`Life`] returns. This function
    /// returns at once; await the life for the end.
    pub fn shutdown(&self) {
        self.core.shutdown.ask(&self.core.wake);
    }
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), machine: self.machine.clone() }
    }
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?}, {:?})", self.core.me(), self.core.published.role())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::clock::VirtualClock;
    use crate::env::net::{NetLimits, net};
    use crate::env::{Clock, Disk, Net, Rng, Spawner};
    use crate::id::{ClusterId, Index, NodeId};
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

    /// A node whose life is never polled: its requests wait.
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
        assert_eq!((status.vitals.malformed, status.last_index), (2, Index(0)));
    }

    #[test]
    fn more_than_the_limit_is_refused_and_the_others_go_on_waiting() {
        let (node, _life) = idle();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(node.propose(Bytes::new()))).collect();
        for proposal in &mut waiting {
            assert_eq!(block_on(poll_once(proposal)), None);
        }
        assert_eq!(block_on(node.propose(Bytes::new())), Err(Refused::Overloaded));
        assert_eq!(node.status().vitals.waiting, 3);
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
