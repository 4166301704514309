//! The state machine, and the clients of this node that wait for its answers.
//!
//! A request is *queued* until it goes to a leader: to this node, or to another one by forwarding.
//! The node then stores the term in which it sent the request. It answers the client when it
//! applies the request's entry. If it applies an entry of a later term first, the request's own
//! entry can no longer follow, because terms only grow along a log (section 5.4.1). The request is
//! then queued again. So a request survives a change of leader and is applied at most once.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::env::Time;
use crate::error::Refused;
use crate::host::Applied;
use crate::host::clients::{Admission, Clients};
use crate::id::{Index, NodeId, Term};
use crate::machine::{Committed, StateMachine};
use crate::raft::entries::{Entry, Kind};
use crate::scope::oneshot::{Answer, Reply, oneshot};

/// The engine's interface to the state machine and its clients, without their types.
pub(crate) trait AnyMachine {
    /// Applies an entry and answers the client that asked for it here.
    fn apply(&mut self, me: NodeId, entry: Entry<'_>);
    /// Takes queued requests in order, up to about `bytes_max`, and marks them as sent in `term`.
    fn take_queued(&mut self, term: Term, bytes_max: usize, take: &mut dyn FnMut(u64, &Bytes));
    /// Finds requests that were sent in `term`, are not answered, and are older than `before`: each
    /// in turn, up to about `bytes_max` at a time.
    fn find_unanswered(
        &mut self,
        term: Term,
        before: Time,
        bytes_max: usize,
        found: &mut dyn FnMut(u64, &Bytes),
    );
    /// Whether requests are queued.
    fn has_queued(&self) -> bool;
    /// Answers a request that was sent in `term` with a refusal.
    fn refuse(&mut self, request: u64, term: Term, why: Refused);
    /// Notes that a snapshot has replaced the state up to `index`. The sent requests are refused
    /// with an unknown outcome.
    fn skipped_to(&mut self, index: Index, term: Term);
    /// Refuses the requests whose deadline has passed.
    fn expire(&mut self, now: Time);
    /// The earliest deadline of a request.
    fn due(&self) -> Time;
    /// Refuses all requests, now and later.
    fn close(&mut self);
    /// A copy of the current state, in pieces.
    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>>;
    /// Replaces the state.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
}

type Outcome<R> = Result<Applied<R>, Refused>;

/// The state machine `M` and its clients.
pub(crate) struct Machine<M: StateMachine> {
    state: M,
    /// The waiting clients, each with the term in which its request was sent.
    clients: Clients<Reply<Outcome<M::Response>>, Term>,
    queued: VecDeque<u64>,
    /// The request from which on unanswered ones are looked for.
    turn: u64,
    /// The term of the last entry that was applied.
    term: Term,
}

impl<M: StateMachine> Machine<M> {
    /// `first` is the random number of the first request; see [`Clients::new`].
    pub(crate) fn new(state: M, first: u64, admission: Admission) -> Self {
        let clients = Clients::new(first, admission);
        Self { state, clients, queued: VecDeque::new(), turn: 0, term: Term::ZERO }
    }

    /// The current state.
    pub(crate) fn state(&self) -> &M {
        &self.state
    }

    /// The number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.clients.len()
    }

    /// Queues a command.
    ///
    /// # Errors
    /// [`Refused`] if the command is not admitted; it is not proposed then.
    pub(crate) fn propose(
        &mut self,
        command: Bytes,
        now: Time,
    ) -> Result<Answer<Outcome<M::Response>>, Refused> {
        self.clients.admit(command.len())?;
        let (reply, answer) = oneshot();
        self.queued.push_back(self.clients.insert(command, reply, now));
        Ok(answer)
    }
}

impl<M: StateMachine> AnyMachine for Machine<M> {
    fn apply(&mut self, me: NodeId, entry: Entry<'_>) {
        if entry.term > self.term {
            self.term = entry.term;
            self.queued.extend(self.clients.release(|sent| *sent < entry.term));
        }
        if entry.kind == Kind::Noop {
            return;
        }
        let (index, term) = (entry.index, entry.term);
        let committed = Committed { index: index.0, epoch: term.0, payload: entry.payload };
        let response = self.state.apply(committed);
        if entry.origin.node == me
            && let Some(reply) = self.clients.take(entry.origin.request, &term)
        {
            reply.send(Ok(Applied { index, epoch: term.0, response }));
        }
    }

    fn take_queued(&mut self, term: Term, bytes_max: usize, take: &mut dyn FnMut(u64, &Bytes)) {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(number) = self.queued.pop_front()
        {
            if self.clients.is_idle(number)
                && let Some(command) = self.clients.stand(number, term)
            {
                bytes += command.len();
                take(number, command);
            }
        }
    }

    fn find_unanswered(
        &mut self,
        term: Term,
        before: Time,
        bytes_max: usize,
        found: &mut dyn FnMut(u64, &Bytes),
    ) {
        let mut bytes = 0;
        let mut unanswered = self.clients.standing(self.turn, &term, before);
        let next = unanswered.find_map(|(number, command)| {
            if bytes >= bytes_max {
                return Some(number);
            }
            bytes += command.len();
            found(number, command);
            None
        });
        self.turn = next.unwrap_or(0);
    }

    fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    fn refuse(&mut self, request: u64, term: Term, why: Refused) {
        if let Some(reply) = self.clients.take(request, &term) {
            reply.send(Err(why));
        }
    }

    fn skipped_to(&mut self, index: Index, term: Term) {
        self.term = self.term.max(term);
        self.clients.refuse_where(&Refused::Compacted(index), |sent| *sent <= term);
    }

    fn expire(&mut self, now: Time) {
        self.clients.expire(now);
    }

    fn due(&self) -> Time {
        self.clients.due()
    }

    fn close(&mut self) {
        self.clients.close();
        self.queued.clear();
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        self.state.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::entries::Origin;
    use futures_lite::future::{block_on, poll_once};
    use std::time::Duration;

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

    fn counting(first: u64) -> Machine<Count> {
        let admission = Admission {
            command_bytes_max: 8,
            requests_max: 8,
            bytes_max: 64,
            patience: Duration::from_secs(5),
        };
        Machine::new(Count(0), first, admission)
    }

    fn ask(machine: &mut Machine<Count>) -> Answer<Outcome<u64>> {
        machine.propose(Bytes::new(), Time(0)).expect("room")
    }

    fn entry(index: u64, term: u64, request: u64) -> Entry<'static> {
        Entry {
            index: Index(index),
            term: Term(term),
            kind: Kind::Command,
            origin: Origin { node: ME, request },
            payload: b"",
        }
    }

    fn sent(machine: &mut Machine<Count>, term: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        machine.take_queued(Term(term), usize::MAX, &mut |number, _| numbers.push(number));
        numbers
    }

    #[test]
    fn an_applied_entry_answers_the_one_who_asked() {
        let mut machine = counting(100);
        let answer = ask(&mut machine);
        assert_eq!(sent(&mut machine, 1), [100]);
        machine.apply(ME, entry(1, 1, 100));
        let applied = block_on(answer).expect("answered").expect("applied");
        assert_eq!((applied.index, applied.epoch, applied.response), (Index(1), 1, 1));
        assert_eq!(machine.waiting(), 0);
    }

    #[test]
    fn a_later_term_queues_again_what_can_no_longer_appear() {
        let mut machine = counting(0);
        let mut answer = ask(&mut machine);
        assert_eq!(sent(&mut machine, 1), [0]);
        assert!(!machine.has_queued());
        machine.apply(ME, entry(7, 2, 55));
        assert_eq!(sent(&mut machine, 2), [0], "asked of the next leader");
        assert!(block_on(poll_once(&mut answer)).is_none());
        machine.apply(ME, entry(8, 2, 0));
        assert!(block_on(answer).expect("answered").is_ok());
    }

    #[test]
    fn a_stale_refusal_does_not_touch_what_was_sent_again() {
        let mut machine = counting(0);
        let mut answer = ask(&mut machine);
        sent(&mut machine, 1);
        machine.apply(ME, entry(7, 2, 55));
        sent(&mut machine, 2);
        machine.refuse(0, Term(1), Refused::Overloaded);
        assert!(!machine.has_queued());
        assert!(block_on(poll_once(&mut answer)).is_none());
    }
}
