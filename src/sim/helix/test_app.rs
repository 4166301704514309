//! An application with blocks of its own: it makes them, judges those of others and takes delivery,
//! as slowly, as pickily and as badly as it is told.
//!
//! A test app belongs to an identity, not to a life: what it keeps survives a crash of its node, as a
//! database of the application would. Whatever it does is told to the checker, which knows by that
//! who made a block and who accepted it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::env::{Clock, Rng};
use crate::helix::protocol::app::{Blocks, Boxed, Chain, Content, Round};
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::proof::BlockProof;
use crate::id::{Height, NodeId};
use crate::sim::helix::checker::Checker;
use crate::sim::helix::events::INSTANCE;

/// What a test app's block says: who made it, which of its works it is, and whether it is any good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TestBlock {
    /// Who made it.
    pub maker: NodeId,
    /// Which of its works it is.
    pub number: u64,
    /// Whether an honest test app accepts it.
    pub sound: bool,
}

impl TestBlock {
    /// The payload.
    #[must_use]
    pub fn payload(self) -> Bytes {
        borsh::to_vec(&self).expect("memory does not refuse a write").into()
    }
}

/// How a test app works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// How long it takes to make a block: at least, at most.
    pub makes_in: (Duration, Duration),
    /// How long it takes to judge one.
    pub judges_in: (Duration, Duration),
    /// How long it takes to take delivery.
    pub stores_in: (Duration, Duration),
    /// It fails to make a block.
    pub cannot_make: bool,
    /// It accepts no block of others.
    pub refuses: bool,
    /// How many deliveries will fail; `u32::MAX` means all of them, for ever.
    pub failures: u32,
    /// What was delivered is still there in its next life.
    pub keeps: bool,
}

impl Behaviour {
    /// A block takes 20 to 40 ms, the rest a millisecond; it keeps what it gets.
    pub const STEADY: Self = Self {
        makes_in: (Duration::from_millis(20), Duration::from_millis(40)),
        judges_in: (Duration::from_micros(100), Duration::from_millis(1)),
        stores_in: (Duration::ZERO, Duration::from_millis(1)),
        cannot_make: false,
        refuses: false,
        failures: 0,
        keeps: true,
    };
}

struct Inner {
    node: NodeId,
    clock: Clock,
    rng: Rng,
    behaviour: Cell<Behaviour>,
    works: Cell<u64>,
    kept: RefCell<Vec<Hash>>,
    /// Everything that it has ever taken delivery of.
    taken: RefCell<BTreeMap<Height, (Block, BlockProof)>>,
    checker: Rc<RefCell<Checker>>,
}

/// The application of one identity; clones are the same one.
#[derive(Clone)]
pub struct TestApp(Rc<Inner>);

impl TestApp {
    /// The application of `node`.
    #[must_use]
    pub fn new(
        node: NodeId,
        clock: Clock,
        rng: Rng,
        behaviour: Behaviour,
        checker: Rc<RefCell<Checker>>,
    ) -> Self {
        let (behaviour, works) = (Cell::new(behaviour), Cell::new(0));
        let (kept, taken) = (RefCell::default(), RefCell::default());
        Self(Rc::new(Inner { node, clock, rng, behaviour, works, kept, taken, checker }))
    }

    /// How it works at present.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.0.behaviour.get()
    }

    /// Works otherwise from now on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.0.behaviour.get();
        change(&mut behaviour);
        self.0.behaviour.set(behaviour);
    }

    /// Begins a new life: it may have lost what it had.
    pub fn begin(&self) {
        if !self.behaviour().keeps {
            self.0.kept.borrow_mut().clear();
        }
        let height = self.height();
        self.0.checker.borrow_mut().begins(self.0.node, height);
    }

    /// Forgets everything.
    pub fn wipe(&self) {
        self.0.kept.borrow_mut().clear();
    }

    /// The hashes of the blocks that it has.
    #[must_use]
    pub fn chain(&self) -> Vec<Hash> {
        self.0.kept.borrow().clone()
    }

    /// A block that it has taken delivery of, with its proof.
    #[must_use]
    pub fn taken(&self, height: Height) -> Option<(Block, BlockProof)> {
        self.0.taken.borrow().get(&height).cloned()
    }

    /// Takes in a block that came to it past its engine: by a sync of its own, as an application may
    /// have one.
    pub fn adopt(&self, block: &Block, proof: &BlockProof) {
        self.0.checker.borrow_mut().delivered(self.0.node, block, proof);
        self.0.kept.borrow_mut().push(block.hash(INSTANCE));
        self.0.taken.borrow_mut().insert(block.height, (block.clone(), proof.clone()));
    }

    async fn take(&self, (least, most): (Duration, Duration)) {
        if most > Duration::ZERO {
            self.0.clock.sleep(self.0.rng.between(least, most)).await;
        }
    }

    async fn make(&self, round: &Round) -> Result<Content, String> {
        self.take(self.behaviour().makes_in).await;
        if self.behaviour().cannot_make {
            return Err("the test_app is told to fail".into());
        }
        let (maker, number) = (self.0.node, self.0.works.get() + 1);
        self.0.works.set(number);
        let time = self.0.clock.now().0 / 1_000_000;
        let payload = TestBlock { maker, number, sound: true }.payload();
        let (height, previous) = (round.height, round.previous);
        let block = Block { height, previous, proposer: maker, time, payload };
        self.0.checker.borrow_mut().accepts(maker, &block);
        Ok(Content { time, payload: block.payload })
    }

    async fn judge(&self, block: &Block) -> Result<(), String> {
        self.take(self.behaviour().judges_in).await;
        if self.behaviour().refuses {
            return Err("the test app is told to refuse".into());
        }
        match borsh::from_slice::<TestBlock>(&block.payload) {
            Ok(made) if made.sound => {
                self.0.checker.borrow_mut().accepts(self.0.node, block);
                Ok(())
            }
            Ok(_) => Err("the block is not sound".into()),
            Err(error) => Err(format!("this is no test block: {error}")),
        }
    }

    async fn store(&self, block: &Block, proof: &BlockProof) -> Result<(), String> {
        self.take(self.behaviour().stores_in).await;
        let failures = self.behaviour().failures;
        if failures > 0 {
            self.change(|behaviour| {
                if failures < u32::MAX {
                    behaviour.failures -= 1;
                }
            });
            return Err("the test_app is told to fail".into());
        }
        self.adopt(block, proof);
        Ok(())
    }
}

impl Blocks for TestApp {
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>> {
        Box::pin(self.make(round))
    }

    fn validate<'a>(&'a self, _: &'a Round, block: &'a Block) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.judge(block))
    }
}

impl Chain for TestApp {
    fn height(&self) -> Height {
        Height(self.0.kept.borrow().len() as u64)
    }

    fn committed<'a>(
        &'a self,
        block: &'a Block,
        proof: &'a BlockProof,
    ) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.store(block, proof))
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestApp({:?}, {:?})", self.0.node, self.height())
    }
}
