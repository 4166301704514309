//! An application whose every answer is planned, and which counts what becomes of its futures.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_channel::Sender;
use bytes::Bytes;
use quorate::env::Clock;
use quorate::helix::protocol::app::{Blocks, Chain, Content, Member, Membership, Round};
use quorate::helix::protocol::block::Seed;
use quorate::helix::protocol::committee::{FixedCommittee, Order};
use quorate::helix::{Block, BlockProof, Boxed, Event, Hash};
use quorate::id::{Height, NodeId, View};

use super::INSTANCE;

/// What an application is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Create,
    Validate,
    Commit,
    Committee,
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// At once.
    Now,
    /// After a while on the clock.
    After(Duration),
    /// After so many slices of computing, yielding in between.
    Slices(u32),
    /// When a worker thread has sent its result: see [`RigApp::workers`].
    Worker,
    /// When the test opens the gate.
    Gate,
    /// Not at all.
    Never,
    /// With an error.
    Fail,
    /// It panics.
    Panic,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Returned,
    Dropped,
}

/// One call of the application.
#[derive(Debug)]
pub struct Call {
    pub what: What,
    pub height: Height,
    pub view: View,
    pub polls: Cell<u64>,
    pub end: Cell<Option<End>>,
}

/// One thing that happened, anywhere, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The engine told its observer.
    Told(Event),
    /// A call was made.
    Asked(What, Height, View),
    /// A call's future was polled.
    Polled(What, Height, View),
    /// A call's future is gone.
    Gone(What, Height, View, End),
    /// The application heard of a new round, and whether this node may lead its first view.
    Round(Height, bool),
    /// The test did something.
    Did(&'static str),
}

/// Everything that happened, with the node at which it did.
pub type Log = Rc<RefCell<Vec<(NodeId, Step)>>>;

/// The application of one node; it outlives the node.
pub struct RigApp {
    node: NodeId,
    clock: Clock,
    pub log: Log,
    acts: RefCell<BTreeMap<What, Act>>,
    /// Answers that come before those of `acts`.
    planned: RefCell<BTreeMap<What, Vec<Act>>>,
    pub calls: RefCell<Vec<Rc<Call>>>,
    /// Where the results of worker threads go: one channel for each call, made by the call.
    pub workers: RefCell<Vec<(Rc<Call>, Sender<u64>)>>,
    /// Results of worker threads that were read: which call's, by which call.
    pub read: RefCell<Vec<(u64, usize)>>,
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// What it has taken delivery of, in order, over all lives of the node.
    pub taken: RefCell<Vec<(Height, Hash)>>,
    /// The blocks themselves.
    pub blocks: RefCell<BTreeMap<Height, (Block, BlockProof)>>,
    /// What it says that it has, after a start.
    pub has: Cell<Height>,
    /// The services that were made for the engine, and those that are gone.
    pub made: Cell<u64>,
    pub unmade: Cell<u64>,
    committee: FixedCommittee,
    members: RefCell<Option<Vec<Member>>>,
    /// Whether there is something to decide.
    pub wanted: Cell<bool>,
    /// What the test wants done within the next poll of a call.
    during: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl RigApp {
    pub fn new(node: NodeId, clock: Clock, log: Log, nodes: &[NodeId]) -> Rc<Self> {
        let committee = FixedCommittee::equal(nodes.iter().copied(), Order::Sticky);
        Rc::new(Self {
            node,
            clock,
            log,
            acts: RefCell::default(),
            planned: RefCell::default(),
            calls: RefCell::default(),
            workers: RefCell::default(),
            read: RefCell::default(),
            open: Cell::new(false),
            waiting: RefCell::default(),
            taken: RefCell::default(),
            blocks: RefCell::default(),
            has: Cell::new(Height::ZERO),
            made: Cell::new(0),
            unmade: Cell::new(0),
            committee: committee.expect("four or more"),
            members: RefCell::default(),
            wanted: Cell::new(true),
            during: RefCell::default(),
        })
    }

    /// Answers like this from now on.
    pub fn set(&self, what: What, act: Act) {
        self.acts.borrow_mut().insert(what, act);
    }

    /// Answers the next calls like this, in order, and then as before.
    pub fn plan(&self, what: What, acts: &[Act]) {
        self.planned.borrow_mut().entry(what).or_default().extend(acts);
    }

    /// Answers committee requests with these.
    pub fn set_members(&self, members: Option<Vec<Member>>) {
        self.members.replace(members);
    }

    /// Does something within the next poll of a call.
    pub fn during(&self, done: impl FnOnce() + 'static) {
        self.during.replace(Some(Box::new(done)));
    }

    /// Opens the gate, or closes it again.
    pub fn open(&self, open: bool) {
        self.open.set(open);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    pub fn did(&self, what: &'static str) {
        self.tell(Step::Did(what));
    }

    pub fn tell(&self, step: Step) {
        self.log.borrow_mut().push((self.node, step));
    }

    /// The calls that wait.
    pub fn live(&self, what: What) -> Vec<Rc<Call>> {
        let calls = self.calls.borrow();
        calls.iter().filter(|c| c.what == what && c.end.get().is_none()).cloned().collect()
    }

    /// How many calls were made.
    pub fn count(&self, what: What) -> usize {
        self.calls.borrow().iter().filter(|call| call.what == what).count()
    }

    /// All futures of the application that exist.
    pub fn all_live(&self) -> usize {
        self.calls.borrow().iter().filter(|call| call.end.get().is_none()).count()
    }

    fn next_act(&self, what: What) -> Act {
        let mut planned = self.planned.borrow_mut();
        match planned.get_mut(&what) {
            Some(acts) if !acts.is_empty() => acts.remove(0),
            _ => self.acts.borrow().get(&what).copied().unwrap_or(Act::Now),
        }
    }

    /// Waits as planned, and answers with `value`.
    fn answer<'a, T: 'a>(
        self: &'a Rc<Self>,
        (what, height, view): (What, Height, View),
        answer: impl FnOnce(&Rc<Self>, usize) -> T + 'a,
    ) -> Boxed<'a, Result<T, String>> {
        let act = self.next_act(what);
        let number = self.calls.borrow().len();
        let (polls, end) = (Cell::new(0), Cell::new(None));
        let call = Rc::new(Call { what, height, view, polls, end });
        self.calls.borrow_mut().push(call.clone());
        self.tell(Step::Asked(what, height, view));
        let worker = (act == Act::Worker).then(|| {
            let (sender, receiver) = async_channel::bounded(1);
            self.workers.borrow_mut().push((call.clone(), sender));
            receiver
        });
        let work = async move {
            match act {
                Act::Now => {}
                Act::After(span) => self.clock.sleep(span).await,
                Act::Slices(count) => {
                    for _ in 0..count {
                        futures_lite::future::yield_now().await;
                    }
                }
                Act::Worker => {
                    let result = worker.expect("made above").recv().await;
                    self.read.borrow_mut().push((result.expect("it is sent"), number));
                }
                Act::Gate => poll_fn(|cx| self.poll_gate(cx)).await,
                Act::Never => pending().await,
                Act::Fail => return Err("planned to fail".into()),
                Act::Panic => panic!("planned to panic"),
            }
            Ok(answer(self, number))
        };
        Box::pin(Tracked { future: Box::pin(work), guard: Guard { app: self.clone(), call } })
    }

    fn poll_gate(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.open.get() {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }
}

/// A future of the application; its guard goes after everything else in it has gone.
struct Tracked<F> {
    future: Pin<Box<F>>,
    guard: Guard,
}

struct Guard {
    app: Rc<RigApp>,
    call: Rc<Call>,
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let call = self.guard.call.clone();
        call.polls.set(call.polls.get() + 1);
        self.guard.app.tell(Step::Polled(call.what, call.height, call.view));
        if let Some(done) = self.guard.app.during.take() {
            done();
        }
        let polled = self.future.as_mut().poll(cx);
        if polled.is_ready() {
            call.end.set(Some(End::Returned));
        }
        polled
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Call { what, height, view, ref end, .. } = *self.call;
        let ended = end.get().unwrap_or(End::Dropped);
        end.set(Some(ended));
        self.app.tell(Step::Gone(what, height, view, ended));
    }
}

/// One service that the engine is given; there are three of them.
pub struct Service(Rc<RigApp>);

impl Service {
    pub fn new(app: &Rc<RigApp>) -> Self {
        app.made.set(app.made.get() + 1);
        Self(app.clone())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.unmade.set(self.0.unmade.get() + 1);
    }
}

impl Blocks for Service {
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>> {
        let at = (What::Create, round.height, round.view);
        self.0.answer(at, |app, number| {
            // No two blocks are the same, whoever made them and whenever.
            let name = format!("{} {} {} {number}", app.node, round.height, round.view);
            Content { time: 0, payload: Bytes::from(name) }
        })
    }

    fn validate<'a>(&'a self, round: &'a Round, _: &'a Block) -> Boxed<'a, Result<(), String>> {
        self.0.answer((What::Validate, round.height, round.view), |_, _| ())
    }

    fn wanted(&self) -> Boxed<'_, ()> {
        if self.0.wanted.get() { Box::pin(async {}) } else { Box::pin(pending()) }
    }
}

impl Chain for Service {
    fn height(&self) -> Height {
        self.0.has.get()
    }

    fn committed<'a>(
        &'a self,
        block: &'a Block,
        proof: &'a BlockProof,
    ) -> Boxed<'a, Result<(), String>> {
        self.0.answer((What::Commit, proof.height, proof.view), |app, _| {
            app.blocks.borrow_mut().insert(block.height, (block.clone(), proof.clone()));
            app.taken.borrow_mut().push((block.height, block.hash(INSTANCE)));
        })
    }

    fn new_round(&self, height: Height, _: Option<&Block>, may_lead: bool) {
        self.0.tell(Step::Round(height, may_lead));
    }
}

impl Membership for Service {
    fn committee<'a>(
        &'a self,
        height: Height,
        seed: Seed,
        previous: Option<&'a Block>,
    ) -> Boxed<'a, Result<Vec<Member>, String>> {
        let fixed = self.0.committee.committee(height, seed, previous);
        let planned = self.0.members.borrow().clone();
        let asked = self.0.answer((What::Committee, height, View::ZERO), |_, _| ());
        Box::pin(async move {
            asked.await?;
            planned.map_or(fixed.await, Ok)
        })
    }
}
