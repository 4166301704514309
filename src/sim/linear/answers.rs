//! Every answer against the history: it shows the state of its revision, and time does not go back.

use crate::kv::{Command, KvError, RangeRequest};
use crate::sim::linear::authors::{Author, Authors};
use crate::sim::linear::judge::Shown;
use crate::sim::linear::record::{Answer, Log, Operation, Request};
use crate::sim::linear::revisions::Revisions;
use crate::sim::linear::spec;

/// Judges every answer.
///
/// # Errors
/// The first that is wrong.
pub fn check(
    log: &Log,
    history: &Revisions,
    shown: &Shown,
    authors: &Authors,
) -> Result<(), String> {
    let compactions = Compactions::new(log);
    for (id, operation) in log.operations.iter().enumerate() {
        let revision = operation.revision();
        let wrote = revision.is_some_and(|at| authors.get(&at) == Some(&Author::Answered(id)));
        if let Some(revision) = revision.filter(|_| !operation.is_stale()) {
            let floor = shown.floor(operation.called);
            if revision < floor || (wrote && revision == floor) {
                return Err(format!("revision {floor} was shown before: {operation}"));
            }
        }
        match (&operation.request, &operation.answer) {
            (Request::Range { request, .. }, Answer::Range(answer)) => {
                let expected = spec::range(history, answer.revision, request);
                if expected.as_ref().is_some_and(|expected| expected != answer) {
                    return Err(format!("the answer must be {expected:?}: {operation}"));
                }
                compactions.allow(request, operation)?;
            }
            (Request::Range { request, .. }, Answer::Refused(error)) => {
                let floor = shown.floor(operation.called);
                let future = request.revision > floor || operation.is_stale();
                let right = match error {
                    KvError::FutureRevision => future,
                    KvError::Compacted => compactions.explain(request.revision, operation.ended),
                    _ => false,
                };
                if !right {
                    return Err(format!("there was no reason for this: {operation}"));
                }
            }
            (Request::Command(command), Answer::Done(response)) if !wrote => {
                idle(operation, command, history)
                    .map_err(|expected| format!("{response:?} must be {expected}: {operation}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A command that changed nothing.
fn idle(operation: &Operation, command: &Command, history: &Revisions) -> Result<(), String> {
    let Some(revision) = operation.revision() else { return Ok(()) };
    let Some((changes, expected)) = spec::effect(history, revision, command) else {
        return Ok(());
    };
    match &operation.answer {
        Answer::Done(response) if changes.is_empty() && expected == *response => Ok(()),
        _ => Err(format!("{expected:?} with {changes:?}")),
    }
}

/// The compactions that clients asked for: when, up to where, and when that was answered.
pub struct Compactions(Vec<(u64, i64, Option<u64>)>);

impl Compactions {
    /// Those of a log.
    #[must_use]
    pub fn new(log: &Log) -> Self {
        let compaction = |operation: &Operation| match &operation.request {
            Request::Command(Command::Compact { revision }) if operation.may_have_happened() => {
                let answered = matches!(operation.answer, Answer::Done(_));
                let ended = operation.ended.filter(|_| answered);
                Some((operation.called, *revision, ended))
            }
            _ => None,
        };
        Self(log.operations.iter().filter_map(compaction).collect())
    }

    /// Whether history may have begun behind a revision at a time.
    #[must_use]
    pub fn explain(&self, revision: i64, at: Option<u64>) -> bool {
        let at = at.unwrap_or(u64::MAX);
        self.0.iter().any(|&(called, up_to, _)| called < at && up_to > revision)
    }

    /// An old state may be shown while it is kept.
    fn allow(&self, request: &RangeRequest, operation: &Operation) -> Result<(), String> {
        let gone = self.0.iter().any(|&(_, up_to, ended)| {
            up_to > request.revision && ended.is_some_and(|ended| ended < operation.called)
        });
        if request.revision > 0 && gone && !operation.is_stale() {
            return Err(format!("what was compacted is shown: {operation}"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Compactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compactions({})", self.0.len())
    }
}
