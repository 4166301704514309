//! The state machine, and the clients of this node that wait for it.
//!
//! A request is *queued* until a leader takes it: this node itself, or the leader it is forwarded
//! to. Then it is *sent*, in a term. It is answered when this node applies its entry. When an entry
//! of a later term is applied first, the request's own entry can no longer appear (terms only grow
//! along a log), so it is queued again: a request survives its leader without ever being applied
//! twice.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Time;
use crate::error::Refused;
use crate::id::{Index, NodeId, Term};
use crate::machine::{Committed, StateMachine};
use crate::raft::entries::{Entry, Kind};
use crate::raft::node::Applied;
use crate::scope::oneshot::{Answer, Reply, oneshot};

/// What the engine needs of the state machine and its waiting clients, whatever their types.
pub(crate) trait Host {
    /// Applies an entry and answers the client that asked for it here.
    fn apply(&mut self, me: NodeId, entry: Entry<'_>);
    /// Hands over queued requests in order, up to about `bytes_max`, as sent in `term`.
    fn take_queued(&mut self, term: Term, bytes_max: usize, take: &mut dyn FnMut(u64, &Bytes));
    /// Whether requests are queued.
    fn has_queued(&self) -> bool;
    /// How many requests wait, queued or sent.
    fn waiting(&self) -> usize;
    /// Answers a request that was sent in `term` with a refusal.
    fn refuse(&mut self, request: u64, term: Term, why: Refused);
    /// A snapshot replaced the state up to `index`: what was sent by then is unknown.
    fn skipped_to(&mut self, index: Index, term: Term);
    /// Refuses what has waited longer than `patience`; to be called now and then.
    fn expire(&mut self, now: Time, patience: Duration);
    /// Refuses everything, now and from now on.
    fn close(&mut self);
    /// Freezes the state.
    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>>;
    /// Replaces the state.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// The state machine `M` and who waits for it.
pub(crate) struct Hosted<M: StateMachine> {
    pub(crate) machine: M,
    closed: bool,
    /// The number of the first request in `requests`.
    base: u64,
    requests: VecDeque<Option<Request<M::Response>>>,
    waiting: usize,
    waiting_bytes: usize,
    queued: VecDeque<u64>,
    /// Up to which request number there were at certain times, for finding the overdue.
    marks: VecDeque<(Time, u64)>,
    /// The term of the last entry that was applied.
    term: Term,
}

struct Request<R> {
    command: Bytes,
    sent: Option<Term>,
    reply: Reply<Result<Applied<R>, Refused>>,
}

/// The answer to come.
pub(crate) type Pending<R> = Answer<Result<Applied<R>, Refused>>;

impl<M: StateMachine> Hosted<M> {
    /// `base` is the number of the first request: random, so that numbers of an earlier life of
    /// this node, which may still be in the log, are nobody's.
    pub(crate) fn new(machine: M, base: u64) -> Self {
        Self {
            machine,
            closed: false,
            base,
            requests: VecDeque::new(),
            waiting: 0,
            waiting_bytes: 0,
            queued: VecDeque::new(),
            marks: VecDeque::new(),
            term: Term::ZERO,
        }
    }

    pub(crate) fn waiting_requests(&self) -> usize {
        self.waiting
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Queues a command.
    pub(crate) fn ask(&mut self, command: Bytes) -> Pending<M::Response> {
        let (reply, answer) = oneshot();
        self.queued.push_back(self.base + self.requests.len() as u64);
        self.waiting += 1;
        self.waiting_bytes += command.len();
        self.requests.push_back(Some(Request { command, sent: None, reply }));
        answer
    }

    fn slot(&mut self, request: u64) -> Option<&mut Option<Request<M::Response>>> {
        let at = usize::try_from(request.checked_sub(self.base)?).ok()?;
        self.requests.get_mut(at)
    }

    /// The request, no longer waiting, if it was sent in `term` (or in any, if `None`).
    fn remove(&mut self, request: u64, term: Option<Term>) -> Option<Request<M::Response>> {
        let found = self.slot(request)?.take_if(|r| term.is_none() || r.sent == term)?;
        self.waiting -= 1;
        self.waiting_bytes -= found.command.len();
        while self.requests.pop_front_if(|request| request.is_none()).is_some() {
            self.base += 1;
        }
        Some(found)
    }

    fn refuse_all(&mut self, why: &Refused, which: impl Fn(&Request<M::Response>) -> bool) {
        let numbers = self.base..self.base + self.requests.len() as u64;
        for number in numbers {
            if self.slot(number).is_some_and(|r| r.as_ref().is_some_and(&which))
                && let Some(request) = self.remove(number, None)
            {
                request.reply.send(Err(why.clone()));
            }
        }
    }

    /// Queues again what was sent before `term`.
    fn resend_before(&mut self, term: Term) {
        for (request, number) in self.requests.iter_mut().zip(self.base..) {
            if let Some(request) = request
                && request.sent.is_some_and(|sent| sent < term)
            {
                request.sent = None;
                self.queued.push_back(number);
            }
        }
    }
}

impl<M: StateMachine> Host for Hosted<M> {
    fn apply(&mut self, me: NodeId, entry: Entry<'_>) {
        if entry.term > self.term {
            self.term = entry.term;
            self.resend_before(entry.term);
        }
        if entry.kind == Kind::Noop {
            return;
        }
        let (index, term) = (entry.index, entry.term);
        let committed = Committed { index: index.0, epoch: term.0, payload: entry.payload };
        let response = self.machine.apply(committed);
        if entry.origin.node == me
            && let Some(request) = self.remove(entry.origin.request, Some(term))
        {
            request.reply.send(Ok(Applied { index, term, response }));
        }
    }

    fn take_queued(&mut self, term: Term, bytes_max: usize, take: &mut dyn FnMut(u64, &Bytes)) {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(number) = self.queued.pop_front()
        {
            if let Some(Some(request)) = self.slot(number)
                && request.sent.is_none()
            {
                request.sent = Some(term);
                bytes += request.command.len();
                take(number, &request.command);
            }
        }
    }

    fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    fn waiting(&self) -> usize {
        self.waiting
    }

    fn refuse(&mut self, request: u64, term: Term, why: Refused) {
        if let Some(request) = self.remove(request, Some(term)) {
            request.reply.send(Err(why));
        }
    }

    fn skipped_to(&mut self, index: Index, term: Term) {
        self.term = self.term.max(term);
        self.refuse_all(&Refused::Compacted(index), |request| {
            request.sent.is_some_and(|sent| sent <= term)
        });
    }

    fn expire(&mut self, now: Time, patience: Duration) {
        let mut overdue = None;
        while let Some((_, number)) =
            self.marks.pop_front_if(|(since, _)| now.since(*since) >= patience)
        {
            overdue = Some(number);
        }
        self.marks.push_back((now, self.base + self.requests.len() as u64));
        let Some(overdue) = overdue else { return };
        while self.base < overdue && !self.requests.is_empty() {
            if let Some(request) = self.remove(self.base, None) {
                request.reply.send(Err(Refused::TimedOut));
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.refuse_all(&Refused::ShuttingDown, |_| true);
        self.queued.clear();
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        self.machine.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.machine.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::entries::Origin;
    use futures_lite::future::{block_on, poll_once};

    struct Count(u64);

    impl StateMachine for Count {
        type Response = u64;
        fn apply(&mut self, _: Committed<'_>) -> u64 {
            self.0 += 1;
            self.0
        }
        fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
            Box::new(std::iter::empty())
        }
        fn restore(&mut self, _: &[u8]) -> Result<(), String> {
            Ok(())
        }
    }

    const ME: NodeId = NodeId(1);

    fn entry(index: u64, term: u64, request: u64) -> Entry<'static> {
        Entry {
            index: Index(index),
            term: Term(term),
            kind: Kind::Command,
            origin: Origin { node: ME, request },
            payload: b"",
        }
    }

    fn sent(host: &mut Hosted<Count>, term: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        host.take_queued(Term(term), usize::MAX, &mut |number, _| numbers.push(number));
        numbers
    }

    #[test]
    fn an_applied_entry_answers_the_one_who_asked() {
        let mut host = Hosted::new(Count(0), 100);
        let answer = host.ask(Bytes::new());
        assert_eq!(sent(&mut host, 1), [100]);
        host.apply(ME, entry(1, 1, 100));
        let applied = block_on(answer).expect("answered").expect("applied");
        assert_eq!((applied.index, applied.response), (Index(1), 1));
        assert_eq!(host.waiting(), 0);
    }

    #[test]
    fn a_later_term_queues_again_what_can_no_longer_appear() {
        let mut host = Hosted::new(Count(0), 0);
        let mut answer = host.ask(Bytes::new());
        assert_eq!(sent(&mut host, 1), [0]);
        assert!(!host.has_queued());
        host.apply(ME, entry(7, 2, 55));
        assert_eq!(sent(&mut host, 2), [0], "asked of the next leader");
        assert!(block_on(poll_once(&mut answer)).is_none());
        host.apply(ME, entry(8, 2, 0));
        assert!(block_on(answer).expect("answered").is_ok());
    }

    #[test]
    fn a_stale_refusal_does_not_touch_what_was_sent_again() {
        let mut host = Hosted::new(Count(0), 0);
        let mut answer = host.ask(Bytes::new());
        sent(&mut host, 1);
        host.apply(ME, entry(7, 2, 55));
        sent(&mut host, 2);
        host.refuse(0, Term(1), Refused::Overloaded);
        assert!(!host.has_queued());
        assert!(block_on(poll_once(&mut answer)).is_none());
    }

    #[test]
    fn who_waits_longer_than_the_patience_is_told_unknown() {
        let mut host = Hosted::new(Count(0), 0);
        let early = host.ask(Bytes::new());
        host.expire(Time(0), Duration::from_secs(5));
        let mut late = host.ask(Bytes::new());
        host.expire(Time(5_000_000_000), Duration::from_secs(5));
        assert_eq!(block_on(early), Some(Err(Refused::TimedOut)));
        assert!(block_on(poll_once(&mut late)).is_none());
    }

    #[test]
    fn closing_answers_everybody() {
        let mut host = Hosted::new(Count(0), 0);
        let answers = [host.ask(Bytes::new()), host.ask(Bytes::new())];
        host.close();
        for answer in answers {
            assert_eq!(block_on(answer), Some(Err(Refused::ShuttingDown)));
        }
    }
}
