//! A candidate: asks whether it would be elected, then asks to be (section 5.2; thesis, section
//! 9.6 for the first question).
//!
//! Entered with a [`Campaign`], which only a follower makes. Left with [`Elected`], which only this
//! file makes, when a majority has voted and its own vote is durable; or as a follower, when
//! somebody else leads or the term is over. A round that decides nothing is tried again after a
//! random time, from the first question on.

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

/// The right to lead a term: a majority has voted for this node in it.
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

/// How a candidacy ends.
pub(crate) enum Outcome {
    /// A majority voted for this node.
    Won(Elected),
    /// It follows again.
    Lost(Follower),
}

/// How one round of questions ends.
enum Round {
    Won,
    Lost(Follower),
    Undecided,
}

/// Stands for election until it is decided.
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
            match ask(core, Question::WouldYou).await? {
                Round::Won => {}
                Round::Lost(follower) => return Ok(Outcome::Lost(follower)),
                Round::Undecided => continue,
            }
        }
        let term = core.term().next();
        core.set_hard_state(HardState { term, vote: Some(core.me()) });
        match ask(core, Question::WillYou { transfer }).await? {
            Round::Won => return Ok(Outcome::Won(Elected { term })),
            Round::Lost(follower) => return Ok(Outcome::Lost(follower)),
            Round::Undecided => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Would you vote for me in the next term? Nobody promises anything.
    WouldYou,
    /// Vote for me in this term.
    WillYou { transfer: bool },
}

/// Puts one question to all and counts the answers, until a majority is for it or time is up.
async fn ask(core: &Core, question: Question) -> Result<Round, Stop> {
    let last = core.log().last();
    for peer in core.config.peers() {
        match question {
            Question::WouldYou => {
                let ballot = Ballot { last, transfer: false };
                core.send_as(core.term().next(), peer, Message::PreVote(ballot));
            }
            Question::WillYou { transfer } => {
                core.send(peer, Message::RequestVote(Ballot { last, transfer }));
            }
        }
    }
    let needed = majority(core.config.members.len());
    let deadline = core.election_deadline();
    let mut granted = BTreeSet::new();
    loop {
        // My own vote counts when it is as durable as anybody's.
        if question == Question::WouldYou || core.hard_state_is_durable() {
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
        (Message::PreVoteReply { granted: true }, Question::WouldYou)
        | (Message::RequestVoteReply { granted: true }, Question::WillYou { .. }) => {
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
