//! The clients of this node that wait for their commands.
//!
//! A request is known by its number as long as it waits; the command that stands for it is another
//! one each time that it has to be asked again (see [`batch`](super::batch)). It is answered when
//! the command that stands for it *now* is applied here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Time;
use crate::error::Refused;
use crate::helix::commands::batch::{Command, CommandId};
use crate::helix::commands::reads::Read;
use crate::host::Applied;
use crate::scope::oneshot::{Answer, Reply, oneshot};

/// Who waits for a command.
pub(crate) enum Waiter<R> {
    /// A client that proposed it.
    Proposer(Reply<Result<Applied<R>, Refused>>),
    /// Reads that need a mark in the order.
    Reads(Vec<Read>),
}

struct Request<R> {
    payload: Option<Bytes>,
    since: Time,
    /// The command that stands for it.
    stands: Option<CommandId>,
    waiter: Waiter<R>,
}

/// Requests by number.
pub(crate) struct Requests<R> {
    next: u64,
    waiting: BTreeMap<u64, Request<R>>,
    bytes: usize,
}

/// The answer to come.
pub(crate) type Pending<R> = Answer<Result<Applied<R>, Refused>>;

impl<R> Requests<R> {
    /// `first` is the number of the first request: random, so that commands of an earlier life are
    /// nobody's.
    pub(crate) fn new(first: u64) -> Self {
        Self { next: first, waiting: BTreeMap::new(), bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A client proposes; returns the request's number and the answer to come.
    pub(crate) fn propose(&mut self, payload: Bytes, now: Time) -> (u64, Pending<R>) {
        let (reply, answer) = oneshot();
        (self.add(Some(payload), now, Waiter::Proposer(reply)), answer)
    }

    /// Reads need a mark; returns the request's number.
    pub(crate) fn mark(&mut self, reads: Vec<Read>, now: Time) -> u64 {
        self.add(None, now, Waiter::Reads(reads))
    }

    fn add(&mut self, payload: Option<Bytes>, now: Time, waiter: Waiter<R>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += payload.as_ref().map_or(0, Bytes::len);
        self.waiting.insert(number, Request { payload, since: now, stands: None, waiter });
        number
    }

    /// What a request asks for, if it still waits.
    pub(crate) fn payload(&self, number: u64) -> Option<Option<Bytes>> {
        self.waiting.get(&number).map(|request| request.payload.clone())
    }

    /// From now on this command stands for the request.
    pub(crate) fn stands(&mut self, number: u64, id: CommandId) {
        if let Some(request) = self.waiting.get_mut(&number) {
            request.stands = Some(id);
        }
    }

    /// The one who waits for this command, who no longer does.
    pub(crate) fn take(&mut self, command: &Command, id: CommandId) -> Option<Waiter<R>> {
        let request = self.waiting.get(&command.number)?;
        if request.stands != Some(id) {
            return None;
        }
        self.remove(command.number)
    }

    fn remove(&mut self, number: u64) -> Option<Waiter<R>> {
        let request = self.waiting.remove(&number)?;
        self.bytes -= request.payload.as_ref().map_or(0, Bytes::len);
        Some(request.waiter)
    }

    /// Refuses those that have waited longer than `patience`; returns the commands that stood for
    /// them. They came in the order of their numbers.
    pub(crate) fn expire(&mut self, now: Time, patience: Duration) -> Vec<CommandId> {
        let mut stood = Vec::new();
        while let Some((&number, request)) = self.waiting.first_key_value()
            && now.since(request.since) >= patience
        {
            stood.extend(request.stands);
            if let Some(waiter) = self.remove(number) {
                waiter.refuse(&Refused::TimedOut);
            }
        }
        stood
    }

    /// Refuses everybody.
    pub(crate) fn close(&mut self) {
        self.bytes = 0;
        for (_, request) in std::mem::take(&mut self.waiting) {
            request.waiter.refuse(&Refused::ShuttingDown);
        }
    }
}

impl<R> Waiter<R> {
    fn refuse(self, why: &Refused) {
        match self {
            Self::Proposer(reply) => reply.send(Err(why.clone())),
            Self::Reads(reads) => reads.into_iter().for_each(|read| read.refuse(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Height, NodeId};
    use futures_lite::future::{block_on, poll_once};

    fn command(number: u64, until: u64) -> Command {
        Command { origin: NodeId(1), number, until: Height(until), payload: Some(Bytes::new()) }
    }

    #[test]
    fn only_the_command_that_stands_for_a_request_answers_it() {
        let mut requests = Requests::<()>::new(7);
        let (number, mut answer) = requests.propose(Bytes::new(), Time(0));
        let (old, new) = (command(number, 5), command(number, 9));
        requests.stands(number, old.id());
        requests.stands(number, new.id());
        assert!(requests.take(&old, old.id()).is_none(), "it was asked again since");
        assert!(block_on(poll_once(&mut answer)).is_none());
        assert!(requests.take(&new, new.id()).is_some());
        assert_eq!((requests.len(), requests.bytes()), (0, 0));
    }

    #[test]
    fn who_waits_too_long_is_told_unknown_and_the_others_wait_on() {
        let mut requests = Requests::<()>::new(0);
        let (_, early) = requests.propose(Bytes::from_static(b"12"), Time(0));
        let (_, mut late) = requests.propose(Bytes::from_static(b"3"), Time(10));
        assert_eq!(requests.bytes(), 3);
        requests.expire(Time(1_000), Duration::from_nanos(1_000));
        assert_eq!(block_on(early), Some(Err(Refused::TimedOut)));
        assert!(block_on(poll_once(&mut late)).is_none());
        requests.close();
        assert_eq!(block_on(late), Some(Err(Refused::ShuttingDown)));
        assert_eq!((requests.len(), requests.bytes()), (0, 0));
    }
}
