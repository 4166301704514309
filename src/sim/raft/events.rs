//! What raft nodes tell and say: for the [`trace`](crate::sim::trace), for scripts that pick messages
//! by kind, and for the checker, which holds every node to its word.
//!
//! ```text
//! 0.412s n2 follower -> candidate t3: no leader heard
//! 0.413s n2 > n1 t3 RequestVote last=i4@t2
//! ```

use std::fmt::{self, Write as _};

use crate::id::NodeId;
use crate::raft::message::{AppendOutcome, Envelope, Message};
use crate::raft::{Event, Role};
use crate::sim::checks::Checks;
use crate::sim::net::Flight;
use crate::sim::picture::sketch::{Step, Tone};
use crate::sim::raft::checker::{Checker, Claim};
use crate::sim::trace::{Part, Tell};

impl Tell for Event {
    fn numbers(&self, mix: &mut dyn FnMut(u64)) {
        let numbers = match *self {
            Event::Started { term, vote, snapshot, durable } => {
                mix(durable.0);
                [1, term.0, vote.map_or(0, |n| n.0), snapshot.0]
            }
            Event::Entered { role, term, leader } => {
                [2, role as u64, term.0, leader.map_or(0, |n| n.0)]
            }
            Event::Left { role, term, why } => {
                [3, role as u64, term.0, u64::from(crc32c::crc32c(why.as_bytes()))]
            }
            Event::HardStateSet { term, vote } => [4, term.0, vote.map_or(0, |n| n.0), 0],
            Event::Appended { index, term, digest } => [5, index.0, term.0, u64::from(digest)],
            Event::Truncated { from } => [6, from.0, 0, 0],
            Event::Synced { index } => [7, index.0, 0, 0],
            Event::Committed { index } => [8, index.0, 0, 0],
            Event::Applied { index } => [9, index.0, 0, 0],
            Event::Compacted { index, term } => [10, index.0, term.0, 0],
            Event::Installed { index, term } => [11, index.0, term.0, 0],
        };
        numbers.into_iter().for_each(mix);
    }

    fn is_story(&self) -> bool {
        use Event::{Committed, Compacted, Entered, Installed, Left, Started, Truncated};
        matches!(
            self,
            Started { .. }
                | Entered { .. }
                | Left { .. }
                | Truncated { .. }
                | Committed { .. }
                | Compacted { .. }
                | Installed { .. }
        )
    }

    /// Leaving one role and entering the next are one line. What was left in an earlier life is
    /// told no more.
    fn part(&self) -> Part {
        match self {
            Event::Left { .. } => Part::First,
            Event::Entered { .. } | Event::Started { .. } => Part::Second,
            _ => Part::Whole,
        }
    }

    fn tell(&self, text: &mut String, node: NodeId, first: Option<&Self>) -> fmt::Result {
        match *self {
            Event::Started { term, vote, snapshot, durable } => {
                write!(text, "started {term:?}")?;
                if let Some(vote) = vote {
                    write!(text, " voted for {vote:?}")?;
                }
                if snapshot.0 > 0 {
                    write!(text, ", snapshot to {snapshot:?}")?;
                }
                write!(text, ", log to {durable:?}")
            }
            Event::Entered { role, term, leader } => {
                let (from, why) = match first {
                    Some(&Event::Left { role, why, .. }) => (Some(role), why),
                    _ => (None, ""),
                };
                if let Some(from) = from {
                    write!(text, "{} -> ", word(from))?;
                }
                write!(text, "{} {term:?}", word(role))?;
                if let Some(leader) = leader.filter(|&leader| leader != node) {
                    write!(text, " of {leader:?}")?;
                }
                if why.is_empty() { Ok(()) } else { write!(text, ": {why}") }
            }
            Event::Left { .. } => Ok(()),
            Event::HardStateSet { term, vote: None } => write!(text, "promised {term:?}"),
            Event::HardStateSet { term, vote: Some(vote) } => {
                write!(text, "promised {term:?} and its vote to {vote:?}")
            }
            Event::Appended { index, term, .. } => write!(text, "appended {index:?}@{term:?}"),
            Event::Truncated { from } => write!(text, "truncated from {from:?}"),
            Event::Synced { index } => write!(text, "synced to {index:?}"),
            Event::Committed { index } => write!(text, "committed to {index:?}"),
            Event::Applied { index } => write!(text, "applied to {index:?}"),
            Event::Compacted { index, term } => write!(text, "compacted to {index:?}@{term:?}"),
            Event::Installed { index, term } => {
                write!(text, "installed a snapshot to {index:?}@{term:?}")
            }
        }
    }

    fn tell_frame(text: &mut String, flight: &Flight) -> fmt::Result {
        match Envelope::decode(&flight.frame) {
            Ok(envelope) => write!(text, "{envelope:?}"),
            Err(error) => write!(text, "{error}"),
        }
    }

    fn step(&self, _: NodeId) -> Option<Step> {
        step(self)
    }

    fn name_frame(flight: &Flight) -> String {
        name(flight)
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

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

/// Holds the sender of a frame to what it promises in it.
pub(super) fn listen(flight: &Flight, checker: &mut Checker) {
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
fn step(event: &Event) -> Option<Step> {
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

#[cfg(test)]
mod tests {
    use crate::env::Time;
    use crate::id::{NodeId, Term};
    use crate::raft::{Event, Role};
    use crate::sim::trace::{Detail, Trace};

    #[test]
    fn leaving_and_entering_are_one_line() {
        let trace = Trace::new(Detail::Events, 10, false);
        let at = Time(412_000_000);
        let (term, leader) = (Term(3), None);
        let left = Event::Left { role: Role::Follower, term, why: "no leader heard" };
        trace.event(at, NodeId(2), left);
        trace.event(at, NodeId(2), Event::Entered { role: Role::Candidate, term, leader });
        let told = ["0.412s n2 follower -> candidate t3: no leader heard"];
        assert_eq!(trace.take_text(), told);
    }
}
