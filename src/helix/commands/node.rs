//! The handle on a node that replicates a state machine by blocks, and its life.
//!
//! It is the [`Engine`] with the default services: blocks carry batches of commands, and delivery
//! is applying them. [`Node::start`] returns the handle and a [`Life`] to be run; dropping the life
//! is `kill -9`.
//!
//! The state machine is in memory and is made again, at each start, from the blocks in the
//! journal. Its [`snapshot`](StateMachine::snapshot) is not asked for: every block is kept, so the
//! journal grows for ever, and a start takes as long as applying it again.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Env;
use crate::error::{Fatal, Refused};
use crate::helix::commands::batch::{BATCH_HEAD, COMMAND_HEAD, COMMAND_WINDOW};
use crate::helix::commands::service::{Lent, Service};
use crate::helix::protocol::app::{App, Keys};
use crate::helix::protocol::committee::{FixedCommittee, Order};
use crate::helix::protocol::config::{Config, Timing};
use crate::helix::protocol::event::Observer;
use crate::helix::protocol::node::Engine;
use crate::helix::protocol::status;
use crate::helix::protocol::trigger::Timer;
use crate::host::status::micros;
use crate::host::{Applied, Life, Vitals};
use crate::id::{Height, Index, NodeId};
use crate::machine::StateMachine;
use crate::scope::first::{First, first};

/// A handle on a running node; clones are handles on the same one.
pub struct Node<M: StateMachine> {
    engine: Engine,
    service: Rc<Service<M>>,
    nodes: Vec<NodeId>,
    /// A leader that was not heard of for so long is gone.
    silence_max: Duration,
}

/// What a node takes on of its clients and its peers, and how long it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of one command. All nodes must have the same: a block with a larger one is refused.
    pub command_bytes_max: usize,
    /// How many heights a command may wait, at most [`COMMAND_WINDOW`]. All nodes must have the same:
    /// a block with one that could wait longer is refused.
    pub command_window: u64,
    /// Commands of a batch weigh this many bytes at most, and so do those of one message to a
    /// leader, unless one alone weighs more.
    pub batch_bytes_max: usize,
    /// Requests of this node's clients that wait; more are refused with `Overloaded`.
    pub requests_max: usize,
    /// Bytes of the requests that wait.
    pub request_bytes_max: usize,
    /// Commands kept of each peer; more are dropped, and the peer says them again later.
    pub peer_commands_max: usize,
    /// Bytes of the commands kept of each peer.
    pub peer_bytes_max: usize,
    /// After this a client is told that the outcome is unknown.
    pub request_timeout: Duration,
    /// Make an empty block if there was nothing to decide for so long; never, if `None`.
    pub empty_every: Option<Duration>,
}

impl Options {
    /// For views of this timing: a request outlives two views that fail.
    #[must_use]
    pub fn new(timing: &Timing) -> Self {
        Self {
            command_bytes_max: 1536 << 10,
            command_window: COMMAND_WINDOW,
            batch_bytes_max: 512 << 10,
            requests_max: 16_384,
            request_bytes_max: 32 << 20,
            peer_commands_max: 8_192,
            peer_bytes_max: 8 << 20,
            request_timeout: Duration::from_secs(5) + timing.base * 2,
            empty_every: None,
        }
    }
}

/// One moment of a node.
#[derive(Debug, Clone)]
pub struct Status {
    /// What the engine says.
    pub engine: status::Status,
    /// Every node of the instance.
    pub nodes: Vec<NodeId>,
    /// The epoch: where the last proposer's run of blocks began.
    pub epoch: u64,
    /// Whether this node leads that epoch.
    pub leads: bool,
    /// Commands applied so far.
    pub applied: Index,
    /// The height whose block was applied last.
    pub height: Height,
    /// How its host is; nonsense of peers and commands of theirs that were too many included.
    pub vitals: Vitals,
}

impl<M: StateMachine> Node<M> {
    /// Opens the journal and makes a node that is ready to run. All nodes of the configuration are
    /// members, with equal weights; who has led goes on. The limit for blocks is raised so that the
    /// largest command fits one.
    ///
    /// # Errors
    /// [`Fatal`]: the configuration has fewer than four nodes, or the data directory is locked,
    /// damaged, or another node's; see its text.
    pub fn start(
        mut config: Config,
        options: Options,
        env: Env,
        keys: Box<dyn Keys>,
        machine: M,
        observer: Observer,
    ) -> Result<(Self, Life), Fatal> {
        let nodes: Vec<_> = config.nodes.iter().copied().collect();
        let committee = FixedCommittee::equal(nodes.clone(), Order::Sticky)
            .map_err(|why| Fatal::Mismatch(why.to_string()))?;
        let command_max = BATCH_HEAD + COMMAND_HEAD + options.command_bytes_max;
        config.limits.block_bytes_max = config.limits.block_bytes_max.max(command_max);
        let clock = env.clock.clone();
        let service = Rc::new(Service::new(&config, options, clock.clone(), &env.rng, machine));
        let app = App {
            membership: Box::new(committee),
            blocks: Box::new(Lent(service.clone())),
            chain: Box::new(Lent(service.clone())),
            keys,
            trigger: Box::new(Timer::new(clock, config.timing.base, config.timing.cap)),
        };
        let silence_max = 3 * config.timing.base.max(config.timing.announce);
        let (engine, life) = Engine::start(config, env, app, observer)?;
        service.recovered(engine.status().tip);
        let ending = service.clone();
        let life = live(service.clone(), engine.clone(), life);
        let life = Life::new(engine.status().node, life, move || ending.close());
        Ok((Self { engine, service, nodes, silence_max }, life))
    }

    /// The engine itself.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Proposes a command and waits until it is decided and applied here, whoever leads.
    ///
    /// A command survives leaders that fail or ignore it: it is asked for again when, and only when,
    /// it can no longer be applied as it was asked for before. It is applied at most once.
    ///
    /// # Errors
    /// [`Refused::outcome`] says whether the command may still take effect.
    ///
    /// Cancel safe: dropping it abandons the answer; the command is decided or it is not.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, Refused> {
        if self.engine.is_full() {
            return Err(Refused::DiskFull);
        }
        self.service.propose(command)?.await.unwrap_or(Err(Refused::ShuttingDown))
    }

    /// Looks at the state linearizably: it shows everything that was answered to anybody before
    /// this call. On any node.
    ///
    /// # Errors
    /// [`Refused`] if no quorum answers in time. Nothing has happened then.
    ///
    /// Cancel safe.
    pub async fn read<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refused> {
        self.service.read()?.await.unwrap_or(Err(Refused::ShuttingDown))?;
        Ok(self.read_stale(look))
    }

    /// Looks at this node's present state, which may be behind.
    pub fn read_stale<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        self.service.look_at(look)
    }

    /// The present epoch: the height at which the unbroken run of blocks of the last proposer, in its
    /// present life, began; zero before the first block.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.service.progress().epoch
    }

    /// The epoch that this node leads, if it does: it leads the present view, and made the last
    /// block, or there is none yet.
    #[must_use]
    pub fn leading(&self) -> Option<u64> {
        self.service.leading()
    }

    /// Sees to it that somebody leads who lives. An idle cluster does not notice that its leader is
    /// gone, and a leader may have duties besides making blocks. If the present one was not heard
    /// of for long, or is this node and has no epoch yet, this asks for a block, and so for another
    /// leader. Call it now and then while there are such duties.
    pub fn want_leader(&self) {
        let Some(leader) = self.service.leader() else { return };
        let status = self.engine.status();
        let heard = status.peers.iter().find(|(node, ..)| *node == leader);
        let silent = match heard {
            Some(&(_, _, ms)) => Duration::from_millis(ms) > self.silence_max,
            None => leader == status.node && self.leading().is_none(),
        };
        if silent {
            self.service.want_block();
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.service.id()
    }

    /// This moment of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        let (service, progress) = (&self.service, self.service.progress());
        let engine = self.engine.status();
        let vitals = Vitals {
            waiting: service.waiting(),
            loop_lag_us: micros(service.lag()),
            malformed: engine.vitals.malformed + service.malformed(),
            dropped: engine.vitals.dropped + service.dropped(),
            ..engine.vitals
        };
        Status {
            engine,
            nodes: self.nodes.clone(),
            epoch: progress.epoch,
            leads: service.leading().is_some(),
            applied: progress.index,
            height: progress.height,
            vitals,
        }
    }

    /// Ends the node's life in good order: what was promised is synced, who waits is told, and
    /// [`Life`] returns. Returns at once; await the life for the end.
    pub fn shutdown(&self) {
        self.engine.shutdown();
    }
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            service: self.service.clone(),
            nodes: self.nodes.clone(),
            silence_max: self.silence_max,
        }
    }
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.engine)
    }
}

/// The service beside the engine. It is polled first: what clients ask for is told in one go.
pub(in crate::helix) async fn live<M: StateMachine>(
    service: Rc<Service<M>>,
    engine: Engine,
    life: Life,
) -> Result<(), Fatal> {
    match first(service.serve(&engine), life).await {
        First::A(never) => match never {},
        First::B(ended) => ended,
    }
}
