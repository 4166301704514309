//! The life beside the engine: it tells leaders of commands, asks and answers for reads, and refuses
//! the clients that have waited too long.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use bytes::Bytes;

use super::Service;
use crate::env::Time;
use crate::helix::commands::app_message::{AppMessage, with_commands};
use crate::helix::commands::batch::{self, Command};
use crate::helix::protocol::node::Engine;
use crate::id::NodeId;
use crate::machine::StateMachine;
use crate::scope::first::{First, first};

/// Bytes that an unread message costs besides its own, more or less.
const MESSAGE_HEAD: usize = 64;

/// Batches of peers that were not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    batches: VecDeque<(NodeId, Bytes)>,
    bytes: BTreeMap<NodeId, usize>,
}

impl Inbox {
    pub(super) fn put(&mut self, from: NodeId, batch: Bytes, bytes_max: usize) -> bool {
        let bytes = self.bytes.entry(from).or_default();
        if *bytes + batch.len() + MESSAGE_HEAD > bytes_max {
            return false;
        }
        *bytes += batch.len() + MESSAGE_HEAD;
        self.batches.push_back((from, batch));
        true
    }

    pub(super) fn take(&mut self) -> Option<(NodeId, Bytes)> {
        let (from, batch) = self.batches.pop_front()?;
        self.bytes.entry(from).and_modify(|bytes| *bytes -= batch.len() + MESSAGE_HEAD);
        Some((from, batch))
    }
}

impl<M: StateMachine> Service<M> {
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
        for message in with_commands(commands, self.options.batch_bytes_max / 2) {
            self.leader.get().into_iter().for_each(|leader| engine.tell(leader, message.clone()));
        }
    }

    /// Now and then, while anybody waits: tells everybody what has waited for a while, and refuses
    /// what has waited for too long.
    fn look(&self, engine: &Engine, now: Time) {
        if now >= self.look.get() {
            let spread = self.pool.borrow_mut().spread_due(now);
            for message in with_commands(&spread, self.options.batch_bytes_max / 2) {
                self.peers.iter().for_each(|&peer| engine.tell(peer, message.clone()));
            }
            let relayed = self.pool.borrow_mut().relay_due(self.next_height(), now);
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
}
