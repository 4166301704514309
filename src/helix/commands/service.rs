//! The default [`Blocks`] and [`Chain`]: blocks carry batches of commands for a [`StateMachine`].
//!
//! One [`Service`] belongs to a node. The engine borrows it twice, as the maker and judge of blocks
//! and as the one who takes delivery; the node's life runs [`serve`](Service::serve) beside the
//! engine, which does what needs words: tell leaders of commands, ask and answer for reads.
//!
//! *Making a block.* In the first view of a height it waits until there is a command, and takes all
//! that wait up to a limit: while one block is being decided the next one fills, so a busy cluster
//! decides large batches and an idle one nothing at all. In later views others wait, so an empty
//! block is better than none. The time of a block is 0: no state machine here asks for it.
//!
//! *Epochs.* A node that leads view 0 again and again makes an unbroken run of blocks. The height at
//! which the present run began is the *epoch*, and it is what a state machine is told as
//! [`epoch`](Committed::epoch). It follows from the blocks alone: who made each is in its head, and
//! stays, whichever view decides it. A node that was started again makes another run, for it has
//! forgotten what it was about to propose, and that may still come; so a batch has the number of a
//! life in it, and a leader that is started again begins with an empty block, as one that is
//! elected does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use event_listener::Event;

use crate::env::{Clock, Rng, Time};
use crate::error::Refused;
use crate::helix::commands::app_message::{AppMessage, with_commands};
use crate::helix::commands::batch::{self, Batch, COMMAND_WINDOW, Command, Named, Recent};
use crate::helix::commands::mempool::{Bounds, Patience, Pool};
use crate::helix::commands::node::Options;
use crate::helix::commands::reads::{Pace, Reads};
use crate::helix::commands::requests::{Requests, Waiter};
use crate::helix::protocol::app::{Blocks, Boxed, Chain, Content, Round};
use crate::helix::protocol::block::Block;
use crate::helix::protocol::config::Config;
use crate::helix::protocol::node::Engine;
use crate::helix::protocol::proof::BlockProof;
use crate::host::Applied;
use crate::host::clients::Admission;
use crate::id::{Height, Index, NodeId, View};
use crate::machine::{Committed, StateMachine};
use crate::scope::budget::{Budget, Longest};
use crate::scope::first::{First, first};
use crate::scope::notify::Notify;
use crate::scope::oneshot::{Answer, oneshot};

/// Commands applied between two yields.
const APPLIED_PER_TURN: u32 = 128;

/// A block that is not empty takes no more commands beyond so many bytes.
const BLOCK_BYTES: usize = 512 << 10;

/// Bytes that an unread message costs besides its own, more or less.
const NOTE_HEAD: usize = 64;

/// The answer to come.
pub(crate) type Pending<R> = Answer<Result<Applied<R>, Refused>>;

/// How far the state machine is, and what follows from the chain up to there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The last block that is applied as a whole.
    pub(crate) height: Height,
    /// Commands of the next one that are done.
    done: usize,
    /// Commands applied in all.
    pub(crate) index: Index,
    /// Where the present proposer's run of blocks began; 0 before the first.
    pub(crate) epoch: u64,
    /// Who made the last block, and in which of its lives.
    pub(crate) maker: Option<(NodeId, u64)>,
}

/// Batches of peers that were not read yet.
#[derive(Debug, Default)]
struct Inbox {
    batches: VecDeque<(NodeId, Bytes)>,
    bytes: BTreeMap<NodeId, usize>,
}

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
            batch_bytes_max: BLOCK_BYTES.min(config.limits.block_bytes_max),
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
            recent: RefCell::default(),
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
        if self.pool.borrow().is_empty() {
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

    /// Makes the command that stands for a request from now on.
    fn stand(&self, number: u64, payload: Option<Bytes>) {
        let decided = self.decided();
        let until = Height(decided.0 + 1 + COMMAND_WINDOW);
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

    // ---- the life beside the engine ----

    /// Tells and asks what is to be told and asked, for ever.
    pub(crate) async fn serve(&self, engine: &Engine) -> Infallible {
        loop {
            self.take_in().await;
            let now = self.clock.now();
            self.tell(engine, now);
            self.look(engine, now);
            self.serve_reads(engine, now);
            self.expire(now);
            let due =
                self.look.get().min(self.reads.borrow().due()).min(self.requests.borrow().due());
            if let First::B(()) = first(self.wake.notified(), self.clock.sleep_until(due)).await {
                self.lag.borrow_mut().see(self.clock.now().since(due));
            }
        }
    }

    /// Reads the batches that peers have handed over.
    async fn take_in(&self) {
        loop {
            let Some((from, bytes)) = self.inbox.borrow_mut().take() else { return };
            match batch::decode(&bytes).await {
                Ok(batch) => {
                    batch.commands.into_iter().for_each(|named| self.put(from, named));
                }
                Err(_) => self.malformed.set(self.malformed.get() + 1),
            }
        }
    }

    fn tell(&self, engine: &Engine, now: Time) {
        let commands = self.pool.borrow_mut().for_leader(now);
        self.tell_leader(engine, &commands);
    }

    fn tell_leader(&self, engine: &Engine, commands: &[Command]) {
        for message in with_commands(commands) {
            self.leader.get().into_iter().for_each(|leader| engine.tell(leader, message.clone()));
        }
    }

    /// Now and then, while anybody waits: tells everybody what has waited for a while, and refuses
    /// what has waited for too long.
    fn look(&self, engine: &Engine, now: Time) {
        if now >= self.look.get() {
            let spread = self.pool.borrow_mut().spread_due(now);
            for message in with_commands(&spread) {
                self.peers.iter().for_each(|&peer| engine.tell(peer, message.clone()));
            }
            let relayed = self.pool.borrow_mut().relay_due(now);
            self.tell_leader(engine, &relayed);
            self.look.set(Time::NEVER);
        }
        let idle = self.pool.borrow().is_empty()
            && self.requests.borrow().len() == 0
            && self.reads.borrow().is_idle();
        let next = self.look.get().min(now + self.patience.spread / 4);
        self.look.set(if idle { Time::NEVER } else { next });
    }

    /// Refuses the clients that have waited too long.
    fn expire(&self, now: Time) {
        for id in self.requests.borrow_mut().expire(now) {
            self.pool.borrow_mut().remove(id);
        }
        self.reads.borrow_mut().expire(now);
    }

    fn serve_reads(&self, engine: &Engine, now: Time) {
        for (peer, number) in std::mem::take(&mut *self.asked.borrow_mut()) {
            engine.tell(peer, AppMessage::Answer(number, engine.promised()).encode());
        }
        let applied = self.progress.get().height;
        let mut reads = self.reads.borrow_mut();
        reads.conclude(engine.promised(), applied, now);
        reads.applied(applied);
        let unproven = reads.need_mark(now);
        let questions = reads.questions(now);
        drop(reads);
        if !unproven.is_empty() {
            self.mark(unproven);
            self.tell(engine, now);
        }
        if let Some((number, peers)) = questions {
            let message = AppMessage::Ask(number).encode();
            peers.into_iter().for_each(|peer| engine.tell(peer, message.clone()));
        }
    }

    // ---- blocks ----

    /// What a payload says.
    async fn batch(&self, payload: &Bytes) -> Result<Rc<Batch>, String> {
        let same = |(read, _): &&(Bytes, _)| {
            read.as_ptr() == payload.as_ptr() && read.len() == payload.len()
        };
        let known = self.read.borrow().as_ref().filter(same).map(|(_, batch)| batch.clone());
        if let Some(batch) = known {
            return Ok(batch);
        }
        let batch = Rc::new(batch::decode(payload).await?);
        self.read.replace(Some((payload.clone(), batch.clone())));
        Ok(batch)
    }

    /// A payload of what waits; perhaps nothing does.
    fn payload(&self, height: Height) -> (Bytes, bool) {
        let life = self.life;
        let commands = self.pool.borrow_mut().choose(height, self.batch_bytes_max);
        let (payload, is_empty) =
            (batch::encode(life, commands.iter().map(|named| &named.command)), commands.is_empty());
        self.read.replace(Some((payload.clone(), Rc::new(Batch { life, commands }))));
        (payload, is_empty)
    }

    async fn create(&self, round: &Round) -> Content {
        let patience = self.options.empty_every;
        let end = patience.map_or(Time::NEVER, |patience| self.clock.now() + patience);
        loop {
            let changed = self.changed.listen();
            let (payload, is_empty) = self.payload(round.height);
            let ends = round.view > View::ZERO || self.resumes() || self.clock.now() >= end;
            if ends || !is_empty {
                return Content { time: 0, payload };
            }
            first(changed, self.clock.sleep_until(end)).await;
        }
    }

    async fn judge(&self, block: &Block) -> Result<(), String> {
        let batch = self.batch(&block.payload).await?;
        let bytes_max = self.options.command_bytes_max;
        batch::judge(&self.recent, block.height, &batch.commands, bytes_max).await
    }

    async fn wanted(&self) {
        let end = self.options.empty_every;
        let end = end.map_or(Time::NEVER, |patience| self.clock.now() + patience);
        loop {
            let changed = self.changed.listen();
            let height = self.progress.get().height.next();
            if self.pool.borrow().has_for(height) || self.clock.now() >= end {
                return;
            }
            first(changed, self.clock.sleep_until(end)).await;
        }
    }

    async fn neglected(&self) {
        loop {
            let now = self.clock.now();
            let at = self.pool.borrow().neglected_at();
            if at.is_some_and(|at| at <= now) {
                return;
            }
            self.clock.sleep_until(at.unwrap_or(now + self.patience.neglect)).await;
        }
    }

    // ---- the chain ----

    /// Applies a block. If it is interrupted, the next call goes on where it was.
    async fn apply(&self, block: &Block) -> Result<(), String> {
        let mut progress = self.progress.get();
        let height = progress.height.next();
        if block.height < height {
            return Ok(());
        }
        if block.height > height {
            return Err(format!("the state is that of height {}", progress.height));
        }
        // A quorum never accepts a payload that is no batch; if it did, it would mean nothing.
        let batch = self.batch(&block.payload).await.unwrap_or_default();
        let maker = Some((block.proposer, batch.life));
        if progress.maker != maker {
            (progress.maker, progress.epoch) = (maker, height.0);
            self.progress.set(progress);
        }
        let mut budget = Budget::new(APPLIED_PER_TURN);
        while let Some(named) = batch.commands.get(self.progress.get().done) {
            self.apply_one(height, named);
            budget.spend(1).await;
        }
        self.applied(height);
        Ok(())
    }

    fn apply_one(&self, height: Height, named: &Named) {
        let mut progress = self.progress.get();
        progress.done += 1;
        self.progress.set(progress);
        // The others have skipped it, too: it follows from the chain.
        if self.recent.borrow().admits(height, named).is_err() {
            return;
        }
        self.recent.borrow_mut().remember(named);
        self.pool.borrow_mut().remove(named.id);
        progress.index = progress.index.next();
        self.progress.set(progress);
        let (index, epoch) = (progress.index, progress.epoch);
        let command = &named.command;
        let response = command.payload.as_ref().map(|payload| {
            self.machine.borrow_mut().apply(Committed { index: index.0, epoch, payload })
        });
        if command.origin != self.me {
            return;
        }
        let waiter = self.requests.borrow_mut().take(command.number, &named.id);
        match (waiter, response) {
            (Some(Waiter::Proposer(reply)), Some(response)) => {
                reply.send(Ok(Applied { index, epoch, response }));
            }
            (Some(Waiter::Mark(reads)), _) => self.reads.borrow().marked(&reads),
            _ => {}
        }
    }

    /// The whole block is applied: forgets what can come no more, and asks again for what of this
    /// node's was not in time.
    fn applied(&self, height: Height) {
        self.progress.set(Progress { height, done: 0, ..self.progress.get() });
        self.read.take();
        self.recent.borrow_mut().forget(height);
        let expired = self.pool.borrow_mut().expire(height);
        for Command { number, .. } in &expired {
            let asked = self.requests.borrow().get(*number).map(|(payload, waiter)| {
                matches!(waiter, Waiter::Proposer(_)).then(|| payload.clone())
            });
            asked.into_iter().for_each(|payload| self.stand(*number, payload));
        }
        if !expired.is_empty() || !self.reads.borrow().is_idle() {
            self.wake.notify();
        }
    }
}

impl Inbox {
    fn put(&mut self, from: NodeId, batch: Bytes, bytes_max: usize) -> bool {
        let bytes = self.bytes.entry(from).or_default();
        if *bytes + batch.len() + NOTE_HEAD > bytes_max {
            return false;
        }
        *bytes += batch.len() + NOTE_HEAD;
        self.batches.push_back((from, batch));
        true
    }

    fn take(&mut self) -> Option<(NodeId, Bytes)> {
        let (from, batch) = self.batches.pop_front()?;
        self.bytes.entry(from).and_modify(|bytes| *bytes -= batch.len() + NOTE_HEAD);
        Some((from, batch))
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
