//! The default [`Blocks`] and [`Chain`]: blocks carry batches of commands for a [`StateMachine`].
//!
//! One [`Service`] belongs to a node. The engine borrows it twice, as the maker and judge of blocks
//! and as the one who takes delivery; the node's life runs `serve` beside the
//! engine.
//!
//! The parts are in files of their own: `propose` makes and judges blocks, `apply` takes delivery,
//! `serve` is the life beside the engine. Here is what the handle asks for, and what the parts share.
//!
//! *Making a block.* In the first view of a height it waits until there is a command, and takes all
//! that wait up to a limit: while one block is being decided the next one fills, so a busy cluster
//! decides large batches and an idle one nothing at all. In later views others wait, so an empty
//! block is better than none. The time of a block is 0: no state machine here asks for it.
//!
//! *Epochs.* A node that leads view 0 again and again makes an unbroken run of blocks. The height at
//! which the present run began is the *epoch*, and it is what a state machine is told as
//! [`epoch`](crate::machine::Committed::epoch). It follows from the blocks alone: who made each is in its head, and
//! stays, whichever view decides it. A node that was started again makes another run, for it has
//! forgotten what it was about to propose, and that may still come; so a batch has the number of a
//! life in it, and a leader that is started again begins with an empty block, as one that is
//! elected does.

mod apply;
mod propose;
mod serve;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use event_listener::Event;

use crate::env::{Clock, Rng, Time};
use crate::error::Refused;
use crate::helix::commands::app_message::AppMessage;
use crate::helix::commands::batch::{Batch, Command, Named, Recent};
use crate::helix::commands::mempool::{Bounds, Patience, Pool};
use crate::helix::commands::node::Options;
use crate::helix::commands::reads::{Pace, Reads};
use crate::helix::commands::requests::{Requests, Waiter};
use crate::helix::protocol::app::{Blocks, Boxed, Chain, Content, Round};
use crate::helix::protocol::block::Block;
use crate::helix::protocol::config::Config;
use crate::helix::protocol::proof::BlockProof;
use crate::host::Applied;
use crate::host::clients::Admission;
use crate::id::{Height, NodeId};
use crate::machine::StateMachine;
use crate::scope::budget::Longest;
use crate::scope::notify::Notify;
use crate::scope::oneshot::{Answer, oneshot};

use apply::Progress;
use serve::Inbox;

/// The answer to come.
pub(crate) type Pending<R> = Answer<Result<Applied<R>, Refused>>;

/// See the module's text.
pub(crate) struct Service<M: StateMachine> {
    me: NodeId,
    /// Drawn at the start.
    life: u64,
    peers: Vec<NodeId>,
    options: Options,
    patience: Patience,
    /// Bytes of one batch, unless a single command has more.
    batch_bytes_max: usize,
    clock: Clock,
    machine: RefCell<M>,
    requests: RefCell<Requests<M::Response>>,
    reads: RefCell<Reads>,
    pool: RefCell<Pool>,
    recent: RefCell<Recent>,
    progress: Cell<Progress>,
    /// What the journal held at the start: no command is worth anything before that.
    recovered: Cell<Height>,
    leader: Cell<Option<NodeId>>,
    /// The batch that was read last.
    read: RefCell<Option<(Bytes, Rc<Batch>)>>,
    inbox: RefCell<Inbox>,
    /// The latest question of each peer.
    asked: RefCell<BTreeMap<NodeId, u64>>,
    /// Wakes the life.
    wake: Notify,
    /// Wakes who waits for a command to be there.
    changed: Event,
    /// When to look at who waits for too long.
    look: Cell<Time>,
    lag: RefCell<Longest>,
    malformed: Cell<u64>,
    inbox_dropped: Cell<u64>,
}

impl<M: StateMachine> Service<M> {
    pub(crate) fn new(
        config: &Config,
        options: Options,
        clock: Clock,
        rng: &Rng,
        machine: M,
    ) -> Self {
        let base = config.timing.base;
        let bounds = Bounds {
            commands_max: options.peer_commands_max,
            bytes_max: options.peer_bytes_max,
            command_bytes_max: options.command_bytes_max,
            window: options.command_window,
        };
        let pace = Pace {
            resend: config.timing.resend,
            bear_out: base / 4,
            patience: options.request_timeout,
        };
        let admission = Admission {
            command_bytes_max: options.command_bytes_max,
            requests_max: options.requests_max,
            bytes_max: options.request_bytes_max,
            patience: options.request_timeout,
        };
        let patience = Patience::of(base);
        let peers: Vec<_> = config.peers().collect();
        Self {
            me: config.node,
            life: rng.u64(),
            options,
            patience,
            batch_bytes_max: options.batch_bytes_max.min(config.limits.block_bytes_max),
            clock,
            machine: RefCell::new(machine),
            requests: RefCell::new(Requests::new(rng.u64() >> 1, admission)),
            reads: RefCell::new(Reads::new(
                peers.clone(),
                options.requests_max,
                pace,
                rng.u64() >> 1,
            )),
            peers,
            pool: RefCell::new(Pool::new(config.node, bounds, patience)),
            recent: RefCell::new(Recent::new(options.command_window)),
            progress: Cell::default(),
            recovered: Cell::default(),
            leader: Cell::default(),
            read: RefCell::default(),
            inbox: RefCell::default(),
            asked: RefCell::default(),
            wake: Notify::new(),
            changed: Event::new(),
            look: Cell::new(Time::NEVER),
            lag: RefCell::default(),
            malformed: Cell::new(0),
            inbox_dropped: Cell::new(0),
        }
    }

    // ---- for the handle ----

    /// Looks at the present state.
    pub(crate) fn look_at<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.machine.borrow())
    }

    pub(crate) fn id(&self) -> NodeId {
        self.me
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.get()
    }

    /// The epoch that this node leads, if it leads: the view is its, and so is the last block.
    pub(crate) fn leading(&self) -> Option<u64> {
        let Progress { epoch, maker, .. } = self.progress.get();
        let leads = self.leader.get() == Some(self.me);
        (leads && maker.is_none_or(|maker| maker == (self.me, self.life))).then_some(epoch)
    }

    /// Whether the run of blocks is that of an earlier life of this node, which is to be ended.
    fn resumes(&self) -> bool {
        let maker = self.progress.get().maker;
        maker.is_some_and(|(node, life)| node == self.me && life != self.life)
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.get()
    }

    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.get()
    }

    /// Commands of peers that were too many.
    pub(crate) fn dropped(&self) -> u64 {
        self.inbox_dropped.get() + self.pool.borrow().dropped()
    }

    pub(crate) fn lag(&self) -> Duration {
        self.lag.borrow().get()
    }

    /// The journal's last block is that of `height`.
    pub(crate) fn recovered(&self, height: Height) {
        self.recovered.set(height);
    }

    /// Takes a command in.
    ///
    /// # Errors
    /// If it is not admitted; nothing has happened then.
    pub(crate) fn propose(&self, payload: Bytes) -> Result<Pending<M::Response>, Refused> {
        let (reply, answer) = oneshot();
        let mut requests = self.requests.borrow_mut();
        requests.admit(payload.len())?;
        let waiter = Waiter::Proposer(reply);
        let number = requests.insert(payload.clone(), waiter, self.clock.now());
        drop(requests);
        self.stand(number, Some(payload));
        self.wake.notify();
        Ok(answer)
    }

    /// Wants a block to be made, unless somebody wants one already.
    pub(crate) fn want_block(&self) {
        if !self.pool.borrow().has_for(self.decided().next()) {
            self.mark(Vec::new());
            self.wake.notify();
        }
    }

    /// Makes a mark in the order, for these reads.
    fn mark(&self, reads: Vec<u64>) {
        let mut requests = self.requests.borrow_mut();
        let number = requests.insert(Bytes::new(), Waiter::Mark(reads), self.clock.now());
        drop(requests);
        self.stand(number, None);
    }

    /// Takes a read in.
    ///
    /// # Errors
    /// If it is not admitted; nothing has happened then.
    pub(crate) fn read(&self) -> Result<Answer<Result<(), Refused>>, Refused> {
        let answer = self.reads.borrow().ask(self.clock.now())?;
        self.wake.notify();
        Ok(answer)
    }

    /// Requests and reads that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.requests.borrow().len() + self.reads.borrow().len()
    }

    /// Refuses everybody, now and from now on.
    pub(crate) fn close(&self) {
        self.requests.borrow_mut().close();
        self.reads.borrow_mut().close();
    }

    // ---- commands of this node ----

    /// The last height of which this node knows that it is decided.
    fn decided(&self) -> Height {
        self.progress.get().height.max(self.recovered.get())
    }

    /// The height of the block that is applied next.
    fn next_height(&self) -> Height {
        self.progress.get().height.next()
    }

    /// Makes the command that stands for a request from now on.
    fn stand(&self, number: u64, payload: Option<Bytes>) {
        let decided = self.decided();
        let until = Height(decided.0 + 1 + self.options.command_window);
        let named = Named::from(Command { origin: self.me, number, until, payload });
        self.requests.borrow_mut().stand(number, named.id);
        self.put(self.me, named);
    }

    fn put(&self, source: NodeId, named: Named) {
        let (decided, now) = (self.decided(), self.clock.now());
        let recent = self.recent.borrow();
        if self.pool.borrow_mut().insert(source, named, decided, &recent, now) {
            self.changed.notify(usize::MAX);
            if self.look.get() == Time::NEVER {
                self.wake.notify();
            }
        }
    }
}

/// What the engine holds of the service.
pub(crate) struct Lent<M: StateMachine>(pub(crate) Rc<Service<M>>);

impl<M: StateMachine> Blocks for Lent<M> {
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>> {
        Box::pin(async { Ok(self.0.create(round).await) })
    }

    fn validate<'a>(&'a self, _: &'a Round, block: &'a Block) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.0.judge(block))
    }

    fn wanted(&self) -> Boxed<'_, ()> {
        Box::pin(self.0.wanted())
    }

    fn neglected(&self) -> Boxed<'_, ()> {
        Box::pin(self.0.neglected())
    }
}

impl<M: StateMachine> Chain for Lent<M> {
    fn committed<'a>(
        &'a self,
        block: &'a Block,
        _: &'a BlockProof,
    ) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.0.apply(block))
    }

    fn entered(&self, round: &Round) {
        let service = &self.0;
        if service.leader.replace(Some(round.leader)) != Some(round.leader) {
            service.pool.borrow_mut().led_by(round.leader);
            service.wake.notify();
        }
    }

    fn heard(&self, from: NodeId, message: Bytes) {
        let service = &self.0;
        match AppMessage::decode(&message) {
            Some(AppMessage::Commands(batch)) => {
                let bytes_max = service.options.peer_bytes_max;
                if !service.inbox.borrow_mut().put(from, batch, bytes_max) {
                    service.inbox_dropped.set(service.inbox_dropped.get() + 1);
                }
            }
            Some(AppMessage::Ask(number)) => {
                service.asked.borrow_mut().insert(from, number);
            }
            Some(AppMessage::Answer(number, height)) => {
                service.reads.borrow_mut().answered(from, number, height);
            }
            None => return service.malformed.set(service.malformed.get() + 1),
        }
        service.wake.notify();
    }
}
