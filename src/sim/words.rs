//! What the frames between raft nodes say: for the trace, for scripts that pick messages by kind,
//! and for the checker, which holds every node to its word.

use std::fmt::{self, Write as _};

use crate::raft::message::{AppendOutcome, Envelope, Message};
use crate::raft::{Event, Role};
use crate::sim::checker::{Checker, Claim};
use crate::sim::net::Flight;
use crate::sim::picture::sketch::{Speech, Step, Tone};

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

/// How frames are called in a picture.
pub(crate) const SPEECH: Speech = Speech { name, tell: describe };

/// The short name of a frame: its kind, its term, and what matters most.
fn name(flight: &Flight) -> String {
    let Ok(Envelope { term, message }) = Envelope::decode(&flight.frame) else {
        return "malformed".into();
    };
    let kind = kind(&message);
    match message {
        Message::PreVoteReply { granted } | Message::RequestVoteReply { granted } => {
            format!("{kind} {}", if granted { "yes" } else { "no" })
        }
        Message::AppendEntries { prev, entries, .. } if !entries.is_empty() => {
            format!("{kind} {:?}+{}", prev.index, entries.iter().count())
        }
        Message::AppendReply { outcome: AppendOutcome::Matched(index), .. } => {
            format!("{kind} {index:?}")
        }
        Message::AppendReply { outcome: AppendOutcome::Conflict { .. }, .. } => {
            format!("{kind} refused")
        }
        _ => format!("{kind} {term:?}"),
    }
}

/// What an event does to the picture of its node: a life holds the tenure of a role.
pub(crate) fn step(event: &Event) -> Option<Step> {
    let mark = |does, what| Some(Step::Mark { does, what });
    match *event {
        Event::Started { .. } => {
            let (name, why) = ("node".into(), String::new());
            Some(Step::Open { depth: 0, name, tone: Tone::Quiet, why })
        }
        Event::Entered { role, term, .. } => {
            let (name, tone) = match role {
                Role::Follower => ("follower", Tone::Plain),
                Role::Candidate => ("candidate", Tone::Seeking),
                Role::Leader => ("leader", Tone::Leading),
            };
            let name = format!("{name} {term:?}");
            Some(Step::Open { depth: 1, name, tone, why: String::new() })
        }
        Event::Left { why, .. } => Some(Step::Close { depth: 1, why: why.into() }),
        Event::HardStateSet { term, vote: None } => mark("promises", format!("{term:?}")),
        Event::HardStateSet { term, vote: Some(vote) } => {
            mark("promises", format!("{term:?}, votes {vote:?}"))
        }
        Event::Appended { index, term, .. } => mark("appends", format!("{index:?}@{term:?}")),
        Event::Truncated { from } => mark("truncates from", format!("{from:?}")),
        Event::Committed { index } => mark("commits to", format!("{index:?}")),
        Event::Compacted { index, .. } => mark("snapshot to", format!("{index:?}")),
        Event::Installed { index, .. } => mark("installs", format!("{index:?}")),
        Event::Synced { .. } | Event::Applied { .. } => None,
    }
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
