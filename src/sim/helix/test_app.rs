//! An application with blocks of its own: it makes them, judges those of others and takes delivery,
//! as slowly, as pickily and as badly as it is told.
//!
//! A mason belongs to an identity, not to a life: what it keeps survives a crash of its node, as a
//! database of the application would. Whatever it does is told to the checker, which knows by that
//! who made a block and who accepted it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::env::{Clock, Rng};
use crate::helix::app::{Blocks, Boxed, Chain, Content, Round};
use crate::helix::block::{Block, Hash};
use crate::helix::proof::BlockProof;
use crate::id::{Height, NodeId};
use crate::sim::helix::checker::Checker;
use crate::sim::helix::words::INSTANCE;

/// What a mason's block says: who made it, which of its works it is, and whether it is any good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Stone {
    /// Who made it.
    pub maker: NodeId,
    /// Which of its works it is.
    pub number: u64,
    /// Whether an honest mason accepts it.
    pub sound: bool,
}

impl Stone {
    /// The payload.
    #[must_use]
    pub fn payload(self) -> Bytes {
        borsh::to_vec(&self).expect("memory does not refuse a write").into()
    }
}

/// How a mason works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
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

impl Habits {
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
    habits: Cell<Habits>,
    works: Cell<u64>,
    kept: RefCell<Vec<Hash>>,
    checker: Rc<RefCell<Checker>>,
}

/// The application of one identity; clones are the same one.
#[derive(Clone)]
pub struct Mason(Rc<Inner>);

impl Mason {
    /// The application of `node`.
    #[must_use]
    pub fn new(
        node: NodeId,
        clock: Clock,
        rng: Rng,
        habits: Habits,
        checker: Rc<RefCell<Checker>>,
    ) -> Self {
        let (habits, works, kept) = (Cell::new(habits), Cell::new(0), RefCell::default());
        Self(Rc::new(Inner { node, clock, rng, habits, works, kept, checker }))
    }

    /// How it works at present.
    #[must_use]
    pub fn habits(&self) -> Habits {
        self.0.habits.get()
    }

    /// Works otherwise from now on.
    pub fn change(&self, change: impl FnOnce(&mut Habits)) {
        let mut habits = self.0.habits.get();
        change(&mut habits);
        self.0.habits.set(habits);
    }

    /// Begins a new life: it may have lost what it had.
    pub fn begin(&self) {
        if !self.habits().keeps {
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

    async fn take(&self, (least, most): (Duration, Duration)) {
        if most > Duration::ZERO {
            self.0.clock.sleep(self.0.rng.between(least, most)).await;
        }
    }

    async fn make(&self, round: &Round) -> Result<Content, String> {
        self.take(self.habits().makes_in).await;
        if self.habits().cannot_make {
            return Err("the mason is told to fail".into());
        }
        let (maker, number) = (self.0.node, self.0.works.get() + 1);
        self.0.works.set(number);
        let time = self.0.clock.now().0 / 1_000_000;
        let payload = Stone { maker, number, sound: true }.payload();
        let (height, previous) = (round.height, round.previous);
        let block = Block { height, previous, proposer: maker, time, payload };
        self.0.checker.borrow_mut().accepts(maker, &block);
        Ok(Content { time, payload: block.payload })
    }

    async fn judge(&self, block: &Block) -> Result<(), String> {
        self.take(self.habits().judges_in).await;
        if self.habits().refuses {
            return Err("the mason is told to refuse".into());
        }
        match borsh::from_slice::<Stone>(&block.payload) {
            Ok(stone) if stone.sound => {
                self.0.checker.borrow_mut().accepts(self.0.node, block);
                Ok(())
            }
            Ok(_) => Err("the stone is cracked".into()),
            Err(error) => Err(format!("this is no stone: {error}")),
        }
    }

    async fn store(&self, block: &Block, proof: &BlockProof) -> Result<(), String> {
        self.take(self.habits().stores_in).await;
        let failures = self.habits().failures;
        if failures > 0 {
            self.change(|habits| {
                if failures < u32::MAX {
                    habits.failures -= 1;
                }
            });
            return Err("the mason is told to fail".into());
        }
        self.0.checker.borrow_mut().delivered(self.0.node, block, proof);
        self.0.kept.borrow_mut().push(block.hash(INSTANCE));
        Ok(())
    }
}

impl Blocks for Mason {
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>> {
        Box::pin(self.make(round))
    }

    fn validate<'a>(&'a self, _: &'a Round, block: &'a Block) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.judge(block))
    }
}

impl Chain for Mason {
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

impl fmt::Debug for Mason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mason({:?}, {:?})", self.0.node, self.height())
    }
}
