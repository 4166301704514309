//! The mailbox of the node scope: whoever leads, follows or stands asks here what happens next.
//!
//! Drop the past, hold the future, deliver the present: a message of an earlier term is answered
//! with the present one and dropped; one of a later term makes the node adopt that term, and is
//! held until the role has left; so a role sees messages of its own term only, and no handler checks
//! a term again. Pre-votes are answered here, because every role answers them alike.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::yield_now;

use crate::env::Time;
use crate::env::clock::Sleep;
use crate::host::shutdown::Stop;
use crate::id::{NodeId, Term};
use crate::raft::core::Core;
use crate::raft::message::{Envelope, Message, Position, Received};
use crate::raft::rules;
use crate::raft::status::Role;
use crate::scope::budget::Longest;

/// Events handled before the other tasks get their turn: some 100 µs of work.
const EVENTS_PER_TURN: u32 = 64;

/// What happens next, to whichever role asks.
#[derive(Debug)]
pub(crate) enum Event {
    /// A member sent this, in the present term.
    Received(Received),
    /// A higher term exists; it has been adopted. The message that told of it comes next.
    Overtaken,
    /// The present hard state has become durable.
    HardStateDurable,
    /// More of the log is durable than before.
    Synced,
    /// A piece of the incoming snapshot has been written.
    PieceWritten,
    /// A snapshot has been installed.
    Installed,
    /// Clients of this node ask for something.
    Requests,
    /// The deadline has passed.
    Elapsed,
}

/// What the mailbox remembers between two questions.
pub(crate) struct Mailbox {
    /// When the present event happened.
    now: Cell<Time>,
    /// Put back, or held until the role has left: the next message.
    held: Cell<Option<Received>>,
    /// Events since the other tasks had their turn.
    turn: Cell<u32>,
    /// How late timers fired: what the loop did instead.
    lag: RefCell<Longest>,
    /// The timer that is set, and for when.
    alarm: RefCell<Option<(Time, Pin<Box<Sleep>>)>>,
    malformed: Cell<u64>,
    hard_state_durable: Cell<bool>,
    synced: Cell<bool>,
    piece_written: Cell<bool>,
    requests: Cell<bool>,
    next_question: Cell<u64>,
}

impl Mailbox {
    /// `question` is the number of the first question to a leader: random, so that answers to an
    /// earlier life are nobody's.
    pub(crate) fn new(now: Time, question: u64) -> Self {
        Self {
            now: Cell::new(now),
            held: Cell::new(None),
            turn: Cell::new(0),
            lag: RefCell::default(),
            alarm: RefCell::default(),
            malformed: Cell::new(0),
            hard_state_durable: Cell::new(false),
            synced: Cell::new(false),
            piece_written: Cell::new(false),
            requests: Cell::new(false),
            next_question: Cell::new(question),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now.get()
    }

    /// How late the loop came to a timer, at most, lately.
    pub(crate) fn lag(&self) -> Duration {
        self.lag.borrow().get()
    }

    /// Messages that made no sense so far.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.get()
    }

    pub(crate) fn hard_state_is_durable(&self) {
        self.hard_state_durable.set(true);
    }

    pub(crate) fn log_is_synced(&self) {
        self.synced.set(true);
    }

    pub(crate) fn piece_is_written(&self) {
        self.piece_written.set(true);
    }

    /// Clients of this node ask for something.
    pub(crate) fn request(&self) {
        self.requests.set(true);
    }

    /// A number for a question to the leader, never used before.
    pub(crate) fn next_question(&self) -> u64 {
        self.next_question.replace(self.next_question.get() + 1)
    }

    /// Puts a message back: the next scope will handle it first.
    pub(crate) fn put_back(&self, received: Received) {
        self.held.set(Some(received));
    }

    /// What has become durable since the last question.
    fn growth(&self) -> Option<Event> {
        if self.hard_state_durable.take() {
            return Some(Event::HardStateDurable);
        }
        if self.synced.take() {
            return Some(Event::Synced);
        }
        self.piece_written.take().then_some(Event::PieceWritten)
    }
}

impl Core {
    /// What happens next; [`Event::Elapsed`] when nothing does until `deadline`.
    ///
    /// Cancel safe: an event that was not returned is returned by the next call.
    pub(crate) async fn next(&self, deadline: Time) -> Result<Event, Stop> {
        let mailbox = &self.mailbox;
        loop {
            if mailbox.turn.get() >= EVENTS_PER_TURN {
                mailbox.turn.set(0);
                yield_now().await;
            }
            mailbox.turn.set(mailbox.turn.get() + 1);
            mailbox.now.set(self.env.clock.now());
            if let Some(event) = self.take(deadline)? {
                return Ok(event);
            }
            if !self.decided.is_behind() {
                self.wait(deadline).await;
                mailbox.turn.set(0);
            }
        }
    }

    fn take(&self, deadline: Time) -> Result<Option<Event>, Stop> {
        self.shutdown.check()?;
        if let Some(installed) = self.snapshots.take_installed() {
            self.install(installed)?;
            return Ok(Some(Event::Installed));
        }
        self.take_synced();
        self.apply_slice()?;
        if let Some(event) = self.mailbox.growth() {
            return Ok(Some(event));
        }
        if let Some(event) = self.receive() {
            return Ok(Some(event));
        }
        if self.mailbox.requests.take() {
            return Ok(Some(Event::Requests));
        }
        self.expire_clients();
        Ok((self.now() >= deadline).then_some(Event::Elapsed))
    }

    async fn wait(&self, deadline: Time) {
        let deadline = deadline.min(self.clients_due());
        poll_fn(|cx| {
            let mut alarm = self.mailbox.alarm.borrow_mut();
            if alarm.as_ref().is_none_or(|(at, _)| *at > deadline) {
                *alarm = Some((deadline, Box::pin(self.env.clock.sleep_until(deadline))));
            }
            if let Some((_, sleep)) = alarm.as_mut()
                && sleep.as_mut().poll(cx).is_ready()
            {
                // An alarm that was set for an earlier deadline is a reason to look, no more.
                if let Some((at, _)) = alarm.take() {
                    let late = self.env.clock.now().since(at);
                    self.mailbox.lag.borrow_mut().see(late);
                }
                return Poll::Ready(());
            }
            self.wake.poll_notified(cx)
        })
        .await;
    }

    /// The next message that concerns the present term, or the news of a higher one.
    fn receive(&self) -> Option<Event> {
        if let Some(received) = self.mailbox.held.take() {
            return Some(Event::Received(received));
        }
        while let Some((from, frame)) = self.env.net.receive() {
            let envelope = match Envelope::decode(&frame) {
                Ok(envelope) if self.is_welcome(from, &envelope.message) => envelope,
                refused => {
                    self.mailbox.malformed.set(self.mailbox.malformed.get() + 1);
                    tracing::debug!(%from, ?refused, "dropped a frame");
                    continue;
                }
            };
            let received = Received { from, term: envelope.term, message: envelope.message };
            if let Some(event) = self.judge(received) {
                return Some(event);
            }
        }
        None
    }

    /// Whether it comes from a member and is no larger than what a healthy one sends.
    fn is_welcome(&self, from: NodeId, message: &Message) -> bool {
        self.config.members.contains(&from)
            && message.entries_bytes() <= self.config.limits.entries_bytes_max()
    }

    /// Drops the past, answers what every role answers alike, adopts the future.
    fn judge(&self, received: Received) -> Option<Event> {
        let present = self.term();
        match &received.message {
            Message::PreVote(ballot) => {
                self.answer_pre_vote(received.from, received.term, ballot.last);
                return None;
            }
            Message::PreVoteReply { granted: true } => {
                return (received.term == present.next()).then_some(Event::Received(received));
            }
            Message::RequestVote(ballot)
                if received.term > present && !ballot.transfer && self.leader_is_alive() =>
            {
                return None;
            }
            _ => {}
        }
        if received.term < present {
            self.answer_the_past(&received);
            return None;
        }
        if received.term > present {
            self.adopt(received.term);
            self.mailbox.held.set(Some(received));
            return Some(Event::Overtaken);
        }
        Some(Event::Received(received))
    }

    /// Whether a leader of the present term was heard lately: nobody may disturb it then.
    fn leader_is_alive(&self) -> bool {
        let patience = self.config.timing.election_min;
        self.published.role() == Role::Leader
            || self.published.heard().is_some_and(|at| self.now().since(at) < patience)
    }

    fn answer_pre_vote(&self, from: NodeId, asked: Term, last: Position) {
        let present = self.term();
        let mine = self.log().last();
        let granted = rules::may_pre_vote(asked, present, last, mine, self.leader_is_alive());
        let term = if granted { asked } else { present };
        self.send_as(term, from, Message::PreVoteReply { granted });
    }

    /// Tells a sender of an earlier term that it is behind.
    fn answer_the_past(&self, received: &Received) {
        let reply = match &received.message {
            Message::RequestVote(_) => Message::RequestVoteReply { granted: false },
            // Any message in the present term makes the old leader step down.
            Message::AppendEntries { .. } | Message::InstallSnapshot { .. } => {
                Message::PreVoteReply { granted: false }
            }
            Message::ReadIndex { id } => Message::ReadIndexReply { id: *id, index: None },
            _ => return,
        };
        self.send(received.from, reply);
    }
}
