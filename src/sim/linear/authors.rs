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
    let mut inquiry = Inquiry { log, history, shown, authors: Authors::new() };
    inquiry.hear_writes()?;
    inquiry.hear_revocations()?;
    let open = (2..=history.last()).filter(|at| !inquiry.authors.contains_key(at));
    let ways: BTreeMap<_, _> = open.map(|at| (at, inquiry.ways(at, leases))).collect();
    let mut taken = BTreeMap::new();
    for &revision in ways.keys() {
        if !augment(revision, &ways, &mut taken, &mut BTreeSet::new()) {
            return Err(inquiry.tell(revision, &ways[&revision], leases));
        }
    }
    let Inquiry { mut authors, .. } = inquiry;
    authors.extend(taken.into_iter().map(|(author, revision)| (revision, author)));
    Ok(authors)
}

/// Everything that there is to find them by, and those that are found.
struct Inquiry<'a> {
    log: &'a Log,
    history: &'a Revisions,
    shown: &'a Shown,
    authors: Authors,
}

impl Inquiry<'_> {
    /// The writes that were answered.
    fn hear_writes(&mut self) -> Result<(), String> {
        for (id, operation) in self.log.operations.iter().enumerate() {
            if let (Request::Command(command), Answer::Done(response)) =
                (&operation.request, &operation.answer)
                && wrote(response)
            {
                self.claim(id, operation, command, response)?;
            }
        }
        Ok(())
    }

    fn claim(
        &mut self,
        id: usize,
        operation: &Operation,
        command: &Command,
        response: &Response,
    ) -> Result<(), String> {
        let revision = revision_of(response);
        if let Some(Author::Answered(other)) = self.authors.insert(revision, Author::Answered(id)) {
            let other = &self.log.operations[other];
            return Err(format!("revision {revision} has two authors: {other}; {operation}"));
        }
        if operation.called >= self.shown.first(revision) {
            return Err(format!("revision {revision} was seen before: {operation}"));
        }
        let Some((changes, expected)) = spec::effect(self.history, revision - 1, command) else {
            return Ok(());
        };
        let done = self.history.changes(revision);
        if changes != done {
            return Err(format!("revision {revision} is {done:?}, but answered was: {operation}"));
        }
        if expected != *response {
            return Err(format!("the answer must be {expected:?}: {operation}"));
        }
        Ok(())
    }

    /// The revocations that were answered: the answer does not say whether there were keys.
    fn hear_revocations(&mut self) -> Result<(), String> {
        for (id, operation) in self.log.operations.iter().enumerate() {
            if let (Request::Command(Command::LeaseRevoke { id: lease }), Some(revision)) =
                (&operation.request, operation.revision())
            {
                let changes = self.history.end_of_lease(*lease, revision - 1);
                let is_it = !changes.is_empty() && *self.history.changes(revision) == changes;
                // What was seen before may be the work of an unanswered deletion of the same keys.
                let asked = operation.called < self.shown.first(revision);
                if is_it && asked && !self.authors.contains_key(&revision) {
                    self.authors.insert(revision, Author::Answered(id));
                } else if !self.history.leased(*lease, revision).is_empty() {
                    return Err(format!("keys outlive their lease: {operation}"));
                }
            }
        }
        Ok(())
    }

    /// Who can be the author of a revision that no answer claims.
    fn ways(&self, revision: i64, leases: &Leases) -> Vec<Author> {
        let (history, shown) = (self.history, self.shown);
        let changes = history.changes(revision);
        let lease = lease_end(history, revision, changes)
            .filter(|&lease| leases.may_end(lease, revision, history, shown))
            .map(Author::LeaseEnd);
        let unknown = self.log.operations.iter().enumerate().filter_map(|(id, operation)| {
            let command = operation.unknown()?;
            let asked = operation.called < shown.first(revision);
            let (effect, _) = spec::effect(history, revision - 1, command).filter(|_| asked)?;
            (effect == changes).then_some(Author::Unanswered(id))
        });
        lease.into_iter().chain(unknown).collect()
    }

    /// A revision that nobody can have made, for the report.
    fn tell(&self, revision: i64, ways: &[Author], leases: &Leases) -> String {
        let changes = self.history.changes(revision);
        let lease = lease_end(self.history, revision, changes);
        let hint = lease.map(|lease| leases.tell(lease, revision, self.shown)).unwrap_or_default();
        format!(
            "nobody is the author of revision {revision}: {changes:?}{hint}; \
             those who could be are those of others: {ways:?}"
        )
    }
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
