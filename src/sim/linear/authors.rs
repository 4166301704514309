//! Whose work each revision is.
//!
//! A write that was answered names its revision. What no answer claims must be the work of a write
//! whose outcome nobody learned, or the end of a lease; each of those happens at most once, so they
//! are matched with the revisions that are open (by augmenting paths: there are few).

use std::collections::{BTreeMap, BTreeSet};

use crate::kv::{Command, Event, EventKind, Response, ResponseOp, TxnResponse};
use crate::sim::linear::judge::Shown;
use crate::sim::linear::leases::Leases;
use crate::sim::linear::record::{Answer, Log, Operation, Request, revision_of};
use crate::sim::linear::revisions::Revisions;
use crate::sim::linear::spec;

/// Who made a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Author {
    /// The end of this lease.
    LeaseEnd(i64),
    /// This operation, whose outcome nobody learned.
    Unanswered(usize),
    /// This operation, which was answered so.
    Answered(usize),
}

/// The author of each revision.
pub type Authors = BTreeMap<i64, Author>;

/// Whether a response says that something was changed; a revocation does not say.
#[must_use]
pub fn wrote(response: &Response) -> bool {
    match response {
        Response::Put(_) => true,
        Response::DeleteRange(deleted) => deleted.deleted > 0,
        Response::Txn(txn) => txn_wrote(txn),
        _ => false,
    }
}

fn txn_wrote(txn: &TxnResponse) -> bool {
    txn.responses.iter().any(|response| match response {
        ResponseOp::Range(_) => false,
        ResponseOp::Put(_) => true,
        ResponseOp::DeleteRange(deleted) => deleted.deleted > 0,
        ResponseOp::Txn(inner) => txn_wrote(inner),
    })
}

/// Finds the author of each revision.
///
/// # Errors
/// A revision with two of them or none, and an author that did something else.
pub fn find(
    log: &Log,
    history: &Revisions,
    shown: &Shown,
    leases: &Leases,
) -> Result<Authors, String> {
    let mut authors = Authors::new();
    for (id, operation) in log.operations.iter().enumerate() {
        if let (Request::Command(command), Answer::Done(response)) =
            (&operation.request, &operation.answer)
            && wrote(response)
        {
            claim(&mut authors, id, operation, command, response, log, history, shown)?;
        }
    }
    for (id, operation) in log.operations.iter().enumerate() {
        if let (Request::Command(Command::LeaseRevoke { id: lease }), Some(revision)) =
            (&operation.request, operation.revision())
        {
            let changes = history.end_of_lease(*lease, revision - 1);
            let is_it = !changes.is_empty() && *history.changes(revision) == changes;
            if is_it && !authors.contains_key(&revision) {
                authors.insert(revision, Author::Answered(id));
            } else if !history.leased(*lease, revision).is_empty() {
                return Err(format!("keys outlive their lease: {operation}"));
            }
        }
    }
    match_open(&mut authors, log, history, shown, leases)?;
    Ok(authors)
}

#[allow(clippy::too_many_arguments, reason = "everything that there is")]
fn claim(
    authors: &mut Authors,
    id: usize,
    operation: &Operation,
    command: &Command,
    response: &Response,
    log: &Log,
    history: &Revisions,
    shown: &Shown,
) -> Result<(), String> {
    let revision = revision_of(response);
    if let Some(Author::Answered(other)) = authors.insert(revision, Author::Answered(id)) {
        let other = &log.operations[other];
        return Err(format!("revision {revision} has two authors: {other}; {operation}"));
    }
    if operation.called >= shown.first(revision) {
        return Err(format!("revision {revision} was seen before it was asked for: {operation}"));
    }
    let Some((changes, expected)) = spec::effect(history, revision - 1, command) else {
        return Ok(());
    };
    let done = history.changes(revision);
    if changes != done {
        return Err(format!("revision {revision} is {done:?}, but answered was: {operation}"));
    }
    if expected != *response {
        return Err(format!("the answer must be {expected:?}: {operation}"));
    }
    Ok(())
}

/// Finds authors for the revisions that no answer claims.
fn match_open(
    authors: &mut Authors,
    log: &Log,
    history: &Revisions,
    shown: &Shown,
    leases: &Leases,
) -> Result<(), String> {
    let unknown: Vec<_> = (log.operations.iter().enumerate())
        .filter_map(|(id, operation)| Some((id, operation.called, operation.unknown()?)))
        .collect();
    let open: Vec<i64> = (2..=history.last()).filter(|at| !authors.contains_key(at)).collect();
    let mut ways: BTreeMap<i64, Vec<Author>> = BTreeMap::new();
    for &revision in &open {
        let changes = history.changes(revision);
        let lease = lease_end(history, revision, changes);
        let mut may: Vec<Author> = lease
            .filter(|&lease| leases.may_end(lease, revision, history, shown))
            .map(Author::LeaseEnd)
            .into_iter()
            .collect();
        let asked = unknown.iter().filter(|(_, called, _)| *called < shown.first(revision));
        may.extend(asked.filter_map(|&(id, _, command)| {
            let (effect, _) = spec::effect(history, revision - 1, command)?;
            (effect == changes).then_some(Author::Unanswered(id))
        }));
        ways.insert(revision, may);
    }
    let mut taken = BTreeMap::new();
    for &revision in &open {
        if !augment(revision, &ways, &mut taken, &mut BTreeSet::new()) {
            let changes = history.changes(revision);
            let hint = lease_end(history, revision, changes)
                .map(|lease| leases.tell(lease, revision, shown))
                .unwrap_or_default();
            let ways = &ways[&revision];
            return Err(format!(
                "nobody is the author of revision {revision}: {changes:?}{hint}; \
                 those who could be are those of others: {ways:?}"
            ));
        }
    }
    authors.extend(taken.into_iter().map(|(author, revision)| (revision, author)));
    Ok(())
}

/// The lease whose end would change just this.
fn lease_end(history: &Revisions, revision: i64, changes: &[Event]) -> Option<i64> {
    let first = changes.first().filter(|event| event.kind == EventKind::Delete)?;
    let lease = history.at(&first.kv.key, revision - 1)?.lease;
    (lease != 0 && history.end_of_lease(lease, revision - 1) == changes).then_some(lease)
}

/// Gives a revision an author, if need be by giving another revision another one.
fn augment(
    revision: i64,
    ways: &BTreeMap<i64, Vec<Author>>,
    taken: &mut BTreeMap<Author, i64>,
    tried: &mut BTreeSet<Author>,
) -> bool {
    for &author in &ways[&revision] {
        if !tried.insert(author) {
            continue;
        }
        let other = taken.get(&author).copied();
        if other.is_none_or(|other| augment(other, ways, taken, tried)) {
            taken.insert(author, revision);
            return true;
        }
    }
    false
}
