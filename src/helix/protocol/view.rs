//! A view: one attempt to decide a block, led by one member. Read it from top to bottom: it is the
//! protocol.
//!
//! Entered with a [`Ticket`], and never left: its term drops it, at any of its awaits, when a block
//! is decided or another view begins. Nothing durable lives here: what it has promised is the
//! node's, what was said to it is the term's.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;

use crate::helix::protocol::app::Content;
use crate::helix::protocol::block::Block;
use crate::helix::protocol::election::{Elected, Ticket};
use crate::helix::protocol::event::Event;
use crate::helix::protocol::message::{Kind, Message, Vote};
use crate::helix::protocol::proof::PreparedProof;
use crate::helix::protocol::record::{Accepted, Locked};
use crate::helix::protocol::signer::{new_view_digest, prepared_digest};
use crate::helix::protocol::term::Term;
use crate::helix::protocol::verify::Justified;
use crate::id::View;
use crate::scope::first::{First, first};

/// Takes part in a view, for as long as it lasts.
pub(crate) async fn run(term: &Term<'_>, ticket: Ticket) -> Infallible {
    let (part, insist) = (pin!(take_part(term, ticket)), pin!(term.insist()));
    match first(part, insist).await {
        First::A(never) | First::B(never) => never,
    }
}

/// Propose or judge, prepare, commit. What comes after that is the others' turn.
async fn take_part(term: &Term<'_>, ticket: Ticket) -> Infallible {
    if !term.is_member() {
        return pending().await;
    }
    let accepted = match ticket {
        Ticket::Changing(view) => return leave_for(term, view).await,
        Ticket::First if term.committee.leader(View::ZERO) == term.core.me() => {
            propose_first(term).await
        }
        Ticket::First => judge_first(term).await,
        Ticket::Elected(elected) => propose_again(term, elected).await,
        Ticket::NewView(justified) => judge_new_view(term, *justified).await,
        Ticket::Resumed(accepted) => vote(term, accepted),
    };
    let Some(Accepted { view, hash, proposal, block }) = accepted else {
        return pending().await;
    };
    let held = term.core.vote_state().locked.as_ref().is_some_and(|l| l.proof.view == view);
    if !held {
        let prepares = term.core.until(|| term.prepared(view, hash)).await;
        let proof = PreparedProof { view, hash, proposal, prepares };
        term.core.record_lock(Locked { proof, block });
    }
    let (height, seed) = (term.height, &term.tip.seed);
    let share = term.core.signer.keys.seeds().map(|scheme| scheme.share(height, seed));
    let vote = sign(term, Kind::Commit, view, hash);
    term.say(&Message::Commit { vote, share });
    pending().await
}

/// Asks for a view, and waits until its leader has enough of the same.
async fn leave_for(term: &Term<'_>, view: View) -> Infallible {
    term.core.record_view(view);
    let locked = term.core.vote_state().locked.clone();
    let (proof, block) = locked.map(|l| (l.proof, (*l.block).clone())).unzip();
    let subject = prepared_digest(proof.as_ref());
    let change = term.core.signer.view_change(term.height, view, proof);
    term.core.tell_signed(Kind::ViewChange, term.height, view, subject);
    let leader = term.committee.leader(view);
    // The leader may need the block: the others have it from the leader then.
    let bare = Message::ViewChange { change: change.clone(), block: None };
    let whole = Message::ViewChange { change, block };
    if leader != term.core.me() {
        term.say_to(vec![leader], &whole, None);
    }
    // Counted here with its block, if it is for this node to need it.
    term.say_to(term.others_but(leader), &bare, Some(whole));
    pending().await
}

/// The leader's part in view 0.
async fn propose_first(term: &Term<'_>) -> Option<Accepted> {
    if !term.tip.may_lead {
        // A block that was learned is hardly the newest: let others lead first.
        return None;
    }
    let block = create(term, View::ZERO).await?;
    let hash = block.hash(term.core.config.instance);
    let vote = sign(term, Kind::PrePrepare, View::ZERO, hash);
    let proposal = vote.signature;
    let accepted = Accepted { view: View::ZERO, hash, proposal, block: block.clone() };
    if !term.core.record_vote(accepted.clone()) {
        return None;
    }
    term.say(&Message::PrePrepare { vote, block: (*block).clone() });
    Some(accepted)
}

/// The leader's part in a later view: propose what may have been decided, or something new.
async fn propose_again(term: &Term<'_>, elected: Elected) -> Option<Accepted> {
    let Elected { view, changes, proven } = elected;
    let block = match proven {
        Some(block) => block,
        None => create(term, view).await?,
    };
    let hash = block.hash(term.core.config.instance);
    let signer = &term.core.signer;
    let subject = new_view_digest(&changes, hash);
    let new_view = signer.new_view(term.height, view, changes, (*block).clone());
    term.core.tell_signed(Kind::PrePrepare, term.height, view, hash);
    term.core.tell_signed(Kind::NewView, term.height, view, subject);
    let accepted = Accepted { view, hash, proposal: new_view.proposal, block };
    if !term.core.record_vote(accepted.clone()) {
        return None;
    }
    term.say(&Message::NewView(Box::new(new_view)));
    Some(accepted)
}

/// Asks the application for a block.
async fn create(term: &Term<'_>, view: View) -> Option<Rc<Block>> {
    let core = term.core;
    let height = term.height;
    core.observer.tell(|| Event::Creating { height, view });
    let round = term.round(view);
    let payload_max = core.config.limits.block_bytes_max;
    match core.blocks.create(&round).await {
        Ok(Content { time, payload }) if payload.len() <= payload_max => Some(Rc::new(Block {
            height,
            previous: term.tip.hash,
            proposer: core.me(),
            time,
            payload,
        })),
        Ok(content) => {
            let len = content.payload.len();
            core.trouble(format!("a block of {len} bytes was made; the limit is {payload_max}"));
            None
        }
        Err(why) => {
            core.trouble(format!("no block was made for height {height}: {why}"));
            None
        }
    }
}

/// The others' part in view 0: wait for the leader's block and judge it.
async fn judge_first(term: &Term<'_>) -> Option<Accepted> {
    let of_this_view = |proposal: &&Accepted| proposal.view == View::ZERO;
    let heard = || term.proposal.borrow().as_ref().filter(of_this_view).cloned();
    let accepted = term.core.until(heard).await;
    judge(term, accepted).await
}

/// The others' part in a later view. A block that a quorum accepted before has been judged by
/// honest members, and must not be refused now.
async fn judge_new_view(term: &Term<'_>, justified: Justified) -> Option<Accepted> {
    let block = Rc::new(justified.block().clone());
    let proposal = *justified.proposal();
    term.keep_proposal(&proposal, block.clone());
    let Vote { view, hash, signature, .. } = proposal;
    let accepted = Accepted { view, hash, proposal: signature, block };
    if justified.proven() { vote(term, accepted) } else { judge(term, accepted).await }
}

/// Asks the application about a block, and votes for it if it is acceptable.
async fn judge(term: &Term<'_>, accepted: Accepted) -> Option<Accepted> {
    let (height, view, hash) = (term.height, accepted.view, accepted.hash);
    term.core.observer.tell(|| Event::Validating { height, view, hash });
    let round = term.round(view);
    match term.core.blocks.validate(&round, &accepted.block).await {
        Ok(()) => vote(term, accepted),
        Err(why) => {
            tracing::debug!(%height, %view, %hash, why, "a block is not acceptable");
            None
        }
    }
}

/// Votes for a block, unless an earlier promise forbids it.
fn vote(term: &Term<'_>, accepted: Accepted) -> Option<Accepted> {
    let Accepted { view, hash, proposal, .. } = accepted;
    if !term.core.record_vote(accepted.clone()) {
        return None;
    }
    if term.committee.leader(view) != term.core.me() {
        let vote = sign(term, Kind::Prepare, view, hash);
        term.say(&Message::Prepare(vote));
    } else if view == View::ZERO {
        // Started again: its proposal is said again.
        let vote = Vote { height: term.height, view, hash, signature: proposal };
        term.say(&Message::PrePrepare { vote, block: (*accepted.block).clone() });
    }
    Some(accepted)
}

fn sign(term: &Term<'_>, kind: Kind, view: View, hash: crate::helix::Hash) -> Vote {
    let vote = term.core.signer.vote(kind, term.height, view, hash);
    term.core.tell_signed(kind, term.height, view, hash);
    vote
}
