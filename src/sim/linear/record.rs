//! What clients did and what they were told, as they note it.

use std::fmt;

use crate::kv::{
    Command, Event, KvError, LeaseStatus, RangeRequest, RangeResponse, Response, WatchRequest,
};

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A command, or a transaction that only reads.
    Command(Command),
    /// Keys.
    Range {
        /// Which.
        request: RangeRequest,
        /// It was content with an old state.
        stale: bool,
    },
    /// A lease, with its keys.
    Lease(i64),
    /// That a lease live on, whether that is written down or not.
    KeepAlive(i64),
}

/// What it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, or that nobody knows: it may take effect at any later time, or never.
    Unknown,
    /// It has no effect and never will, or it would have had none.
    Nothing,
    /// The store refused it.
    Refused(KvError),
    /// To a command.
    Done(Response),
    /// To a range.
    Range(RangeResponse),
    /// To a question after a lease: the store's revision, and the lease if there is one.
    Lease(i64, Option<LeaseStatus>),
    /// To a wish that a lease live on: it has these seconds again.
    Kept(i64),
}

/// One call of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Which client.
    pub client: u32,
    /// When it asked.
    pub called: u64,
    /// When it was answered, if it was.
    pub ended: Option<u64>,
    /// What it asked for.
    pub request: Request,
    /// What it was answered.
    pub answer: Answer,
}

impl Operation {
    /// The store's revision that the answer names.
    #[must_use]
    pub fn revision(&self) -> Option<i64> {
        match &self.answer {
            Answer::Done(response) => Some(revision_of(response)),
            Answer::Range(range) => Some(range.revision),
            Answer::Lease(revision, _) => Some(*revision),
            Answer::Unknown | Answer::Nothing | Answer::Refused(_) | Answer::Kept(_) => None,
        }
    }

    /// Whether the answer may be older than the call.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self.request, Request::Range { stale: true, .. })
    }

    /// Whether it may have had an effect.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        !matches!(self.answer, Answer::Nothing | Answer::Refused(_))
    }

    /// The command whose outcome nobody learned.
    #[must_use]
    pub fn unknown(&self) -> Option<&Command> {
        match (&self.request, &self.answer) {
            (Request::Command(command), Answer::Unknown) => Some(command),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, called, ended, request, answer } = self;
        write!(f, "client {client} asked at {called} for {request:?}")?;
        match ended {
            Some(ended) => write!(f, " and was answered at {ended} {answer:?}"),
            None => write!(f, " and was not answered"),
        }
    }
}

/// The revision in the header of a response.
#[must_use]
pub fn revision_of(response: &Response) -> i64 {
    match response {
        Response::Put(put) => put.revision,
        Response::DeleteRange(deleted) => deleted.revision,
        Response::Txn(txn) => txn.revision,
        Response::Compact { revision }
        | Response::LeaseGrant { revision, .. }
        | Response::LeaseRevoke { revision }
        | Response::LeaseRenew { revision, .. }
        | Response::Noted { revision } => *revision,
    }
}

/// What a watch was told at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: u64,
    /// The changes.
    pub events: Vec<Event>,
    /// Everything up to this revision has been told now, if that was said.
    pub up_to: Option<i64>,
}

/// One watch of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Which client.
    pub client: u32,
    /// When it was told that the watch is there.
    pub created: u64,
    /// The revision that it was told then.
    pub revision: i64,
    /// What it watches.
    pub request: WatchRequest,
    /// What it was told, in this order.
    pub told: Vec<Told>,
    /// The revision that it was told at the end, if history had gone on without it.
    pub compacted: Option<i64>,
}

impl Watched {
    /// The first revision that it must be told of.
    #[must_use]
    pub fn from(&self) -> i64 {
        match self.request.start_revision {
            0 => self.revision + 1,
            start => start,
        }
    }
}

/// Everything that the clients of one store did.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Their calls.
    pub operations: Vec<Operation>,
    /// Their watches.
    pub watches: Vec<Watched>,
    last: u64,
}

impl Log {
    /// A time that no other entry has, as near to `now_ns` as can be.
    pub fn moment(&mut self, now_ns: u64) -> u64 {
        self.last = now_ns.max(self.last + 1);
        self.last
    }

    /// A client asks; returns the number of the operation.
    pub fn ask(&mut self, now_ns: u64, client: u32, request: Request) -> usize {
        let called = self.moment(now_ns);
        let answer = Answer::Unknown;
        self.operations.push(Operation { client, called, ended: None, request, answer });
        self.operations.len() - 1
    }

    /// It is answered.
    pub fn answer(&mut self, now_ns: u64, operation: usize, answer: Answer) {
        let ended = self.moment(now_ns);
        let operation = &mut self.operations[operation];
        (operation.ended, operation.answer) = (Some(ended), answer);
    }

    /// A watch begins, in a store of this revision; returns its number.
    pub fn watch(
        &mut self,
        now_ns: u64,
        client: u32,
        request: WatchRequest,
        revision: i64,
    ) -> usize {
        let created = self.moment(now_ns);
        let (told, compacted) = (Vec::new(), None);
        self.watches.push(Watched { client, created, revision, request, told, compacted });
        self.watches.len() - 1
    }

    /// A watch is told something.
    pub fn tell(&mut self, now_ns: u64, watch: usize, events: Vec<Event>, up_to: Option<i64>) {
        let at = self.moment(now_ns);
        self.watches[watch].told.push(Told { at, events, up_to });
    }
}
