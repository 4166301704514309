//! The candidate role: it asks all nodes for a pre-vote and then for their votes.
//!
//! The pre-vote (thesis, section 9.6) asks for no vote yet: it shows that an election can succeed
//! before the candidate raises its term. Then the candidate increments its term, votes for itself
//! and sends `RequestVote` to all (section 5.2).
//!
//! The scope is entered with a [`Campaign`], which only a follower makes. It returns [`Elected`],
//! which only this file makes, when a majority has voted for the candidate and its own vote is
//! durable. It returns a [`Follower`] when another node leads the term, when the node votes for
//! another candidate, or when the node adopts a higher term. If an election timeout passes without
//! a result (a split vote), the candidate begins again with the pre-vote.

use std::collections::BTreeSet;

use crate::host::shutdown::Stop;
use crate::id::{NodeId, Term};
use crate::quorum::majority;
use crate::raft::core::Core;
use crate::raft::follower::{Campaign, Follower};
use crate::raft::mailbox::Event;
use crate::raft::message::{Ballot, Message, Received};
use crate::raft::rules::HardState;
use crate::raft::status::Role;

/// The right to lead a term: a majority has voted for this node in that term.
#[derive(Debug)]
pub(crate) struct Elected {
    term: Term,
}

impl Elected {
    /// The term.
    pub(crate) fn term(&self) -> Term {
        self.term
    }
}

/// The end of a candidacy.
pub(crate) enum Outcome {
    /// A majority voted for this node.
    Won(Elected),
    /// The node becomes a follower again.
    Lost(Follower),
}

/// The result of one round of requests.
enum Round {
    Won,
    Lost(Follower),
    Undecided,
}

/// Runs elections until the node is elected or becomes a follower.
pub(crate) async fn run(core: &Core, campaign: Campaign) -> Result<Outcome, Stop> {
    let alone = core.config.members.len() == 1;
    assert!(alone || core.published.role() == Role::Follower, "only a follower campaigns");
    core.enter(Role::Candidate, None);
    let outcome = stand(core, campaign).await?;
    let why = match &outcome {
        Outcome::Won(_) => "elected",
        Outcome::Lost(follower) => follower.why(),
    };
    core.leave(Role::Candidate, why);
    Ok(outcome)
}

async fn stand(core: &Core, mut campaign: Campaign) -> Result<Outcome, Stop> {
    loop {
        let transfer = std::mem::take(&mut campaign.transfer);
        if !transfer {
            match ask(core, Question::PreVote).await? {
                Round::Won => {}
                Round::Lost(follower) => return Ok(Outcome::Lost(follower)),
                Round::Undecided => continue,
            }
        }
        let term = core.term().next();
        core.set_hard_state(HardState { term, vote: Some(core.me()) });
        match ask(core, Question::Vote { transfer }).await? {
            Round::Won => return Ok(Outcome::Won(Elected { term })),
            Round::Lost(follower) => return Ok(Outcome::Lost(follower)),
            Round::Undecided => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// `PreVote` for the next term. The reply binds no voter.
    PreVote,
    /// `RequestVote` for the current term.
    Vote { transfer: bool },
}

/// Sends one request to all peers and counts the granted replies, until a majority has granted it
/// or an election timeout has passed.
async fn ask(core: &Core, question: Question) -> Result<Round, Stop> {
    let last = core.log().last();
    for peer in core.config.peers() {
        match question {
            Question::PreVote => {
                let ballot = Ballot { last, transfer: false };
                core.send_as(core.term().next(), peer, Message::PreVote(ballot));
            }
            Question::Vote { transfer } => {
                core.send(peer, Message::RequestVote(Ballot { last, transfer }));
            }
        }
    }
    let needed = majority(core.config.members.len());
    let deadline = core.election_deadline();
    let mut granted = BTreeSet::new();
    loop {
        // The candidate's own vote counts only when it is durable, like every other vote.
        if question == Question::PreVote || core.hard_state_is_durable() {
            granted.insert(core.me());
        }
        if granted.len() >= needed && granted.contains(&core.me()) {
            return Ok(Round::Won);
        }
        match core.next(deadline).await? {
            Event::Received(received) => {
                if let Some(lost) = hear(core, question, received, &mut granted) {
                    return Ok(Round::Lost(lost));
                }
            }
            Event::Overtaken => return Ok(Round::Lost(Follower::leaderless("a higher term"))),
            Event::Elapsed => return Ok(Round::Undecided),
            Event::HardStateDurable
            | Event::Synced
            | Event::PieceWritten
            | Event::Installed
            | Event::Requests => {}
        }
    }
}

fn hear(
    core: &Core,
    question: Question,
    received: Received,
    granted: &mut BTreeSet<NodeId>,
) -> Option<Follower> {
    match (&received.message, question) {
        (Message::PreVoteReply { granted: true }, Question::PreVote)
        | (Message::RequestVoteReply { granted: true }, Question::Vote { .. }) => {
            granted.insert(received.from);
        }
        (Message::RequestVote(ballot), _) if core.answer_vote(received.from, ballot.last) => {
            return Some(Follower::leaderless("voted for another"));
        }
        (Message::AppendEntries { .. } | Message::InstallSnapshot { .. }, _) => {
            let leader = received.from;
            core.mailbox.put_back(received);
            return Some(Follower::of(leader));
        }
        _ => {}
    }
    None
}
