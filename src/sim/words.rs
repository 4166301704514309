//! What the frames between raft nodes say: for the trace, for scripts that pick messages by kind,
//! and for the checker, which holds every node to its word.

use std::fmt::{self, Write as _};

use crate::raft::message::{AppendOutcome, Envelope, Message};
use crate::sim::checker::{Checker, Claim};
use crate::sim::net::Flight;

/// The name of a message's kind.
#[must_use]
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::PreVote(_) => "PreVote",
        Message::PreVoteReply { .. } => "PreVoteReply",
        Message::RequestVote(_) => "RequestVote",
        Message::RequestVoteReply { .. } => "RequestVoteReply",
        Message::AppendEntries { .. } => "AppendEntries",
        Message::AppendReply { .. } => "AppendReply",
        Message::InstallSnapshot { .. } => "InstallSnapshot",
        Message::InstallReply { .. } => "InstallReply",
        Message::TimeoutNow => "TimeoutNow",
        Message::Forward { .. } => "Forward",
        Message::ForwardDeclined { .. } => "ForwardDeclined",
        Message::ReadIndex { .. } => "ReadIndex",
        Message::ReadIndexReply { .. } => "ReadIndexReply",
    }
}

/// The kind of a frame; `malformed` if it is no message.
#[must_use]
pub fn kind_of(flight: &Flight) -> &'static str {
    Envelope::decode(&flight.frame).map_or("malformed", |envelope| kind(&envelope.message))
}

/// Writes what a frame says.
pub(crate) fn describe(text: &mut String, flight: &Flight) -> fmt::Result {
    match Envelope::decode(&flight.frame) {
        Ok(envelope) => write!(text, "{envelope:?}"),
        Err(error) => write!(text, "{error}"),
    }
}

/// Holds the sender of a frame to what it promises in it.
pub(crate) fn listen(flight: &Flight, checker: &mut Checker) {
    let (from, to) = (flight.from, flight.to);
    let Ok(Envelope { term, message }) = Envelope::decode(&flight.frame) else {
        return checker.report("malformed", format!("{from:?} sends what cannot be read"));
    };
    match message {
        // They ask about a term that nobody has promised, and promise nothing.
        Message::PreVote(_) | Message::PreVoteReply { .. } => return,
        Message::RequestVote(_) => checker.said(from, Claim::Vote(term, from)),
        Message::RequestVoteReply { granted: true } => {
            checker.said(from, Claim::Vote(term, to));
        }
        Message::AppendReply { outcome: AppendOutcome::Matched(index), .. } => {
            checker.said(from, Claim::Durable(index));
        }
        _ => {}
    }
    checker.said(from, Claim::Term(term));
}
