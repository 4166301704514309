//! Making and judging blocks.

use std::rc::Rc;

use bytes::Bytes;

use super::Service;
use crate::env::Time;
use crate::helix::commands::batch::{self, Batch};
use crate::helix::protocol::app::{Content, Round};
use crate::helix::protocol::block::Block;
use crate::id::{Height, View};
use crate::machine::StateMachine;
use crate::scope::first::first;

impl<M: StateMachine> Service<M> {
    /// What a payload says.
    pub(super) async fn batch(&self, payload: &Bytes) -> Result<Rc<Batch>, String> {
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
    pub(super) fn payload(&self, height: Height) -> (Bytes, bool) {
        let life = self.life;
        let commands = self.pool.borrow_mut().choose(height, self.batch_bytes_max);
        let (payload, is_empty) =
            (batch::encode(life, commands.iter().map(|named| &named.command)), commands.is_empty());
        self.read.replace(Some((payload.clone(), Rc::new(Batch { life, commands }))));
        (payload, is_empty)
    }

    pub(super) async fn create(&self, round: &Round) -> Content {
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

    pub(super) async fn judge(&self, block: &Block) -> Result<(), String> {
        let batch = self.batch(&block.payload).await?;
        let bytes_max = self.options.command_bytes_max;
        batch::judge(&self.recent, block.height, &batch.commands, bytes_max).await
    }

    pub(super) async fn wanted(&self) {
        let end = self.options.empty_every;
        let end = end.map_or(Time::NEVER, |patience| self.clock.now() + patience);
        loop {
            let changed = self.changed.listen();
            if self.pool.borrow().has_for(self.next_height()) || self.clock.now() >= end {
                return;
            }
            first(changed, self.clock.sleep_until(end)).await;
        }
    }

    pub(super) async fn neglected(&self) {
        loop {
            let now = self.clock.now();
            let at = self.pool.borrow().neglected_at(self.next_height());
            if at.is_some_and(|at| at <= now) {
                return;
            }
            self.clock.sleep_until(at.unwrap_or(now + self.patience.neglect)).await;
        }
    }
}
