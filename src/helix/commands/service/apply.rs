//! Applying decided blocks, and answering the clients that wait for their commands.

use super::Service;
use crate::helix::commands::batch::{Command, Named};
use crate::helix::commands::requests::Waiter;
use crate::helix::protocol::block::Block;
use crate::host::Applied;
use crate::id::{Height, Index, NodeId};
use crate::machine::{Committed, StateMachine};
use crate::scope::budget::Budget;

/// Commands applied between two yields.
const APPLIED_PER_TURN: u32 = 128;

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

impl<M: StateMachine> Service<M> {
    /// Applies a block. If it is interrupted, the next call goes on where it was.
    pub(super) async fn apply(&self, block: &Block) -> Result<(), String> {
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
