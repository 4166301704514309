//! What leases promise: a lease does not end before its time, counted from the last answer that
//! promised it, and it does not live on after an answer that ended it.

use std::collections::BTreeMap;

use crate::kv::{Command, KvError, Response};
use crate::sim::linear::judge::{Promise, Shown};
use crate::sim::linear::record::{Answer, Log, Operation, Request};
use crate::sim::linear::revisions::Revisions;

const SECOND: u64 = 1_000_000_000;

/// What is known of one lease.
#[derive(Debug, Default)]
struct Lease {
    /// When somebody first asked for it.
    asked: Option<u64>,
    /// Answers that promised time: when it was asked for, when it was answered, and until when.
    promises: Vec<(u64, u64, u64)>,
    /// When somebody asked for its end, and when that was answered.
    revoked: Vec<(u64, Option<u64>)>,
}

/// All leases of a log.
#[derive(Debug)]
pub struct Leases(BTreeMap<i64, Lease>);

/// What an operation says of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Is,
    IsNot,
}

impl Leases {
    /// Collects what is known.
    #[must_use]
    pub fn new(log: &Log, promise: &Promise) -> Self {
        let mut leases = BTreeMap::<i64, Lease>::new();
        let happened = log.operations.iter().filter(|operation| operation.may_have_happened());
        for operation in happened {
            let until = |ttl_s: i64| {
                let ttl_ns = u64::try_from(ttl_s).unwrap_or(0).saturating_mul(SECOND);
                let span = u128::from(ttl_ns) * 1_000 / u128::from(promise.clock_rate_max);
                operation.called.saturating_add(u64::try_from(span).unwrap_or(u64::MAX))
            };
            let mut promised = |lease: i64, ttl_s: i64| {
                let ended = operation.ended.unwrap_or(u64::MAX);
                let promise = (operation.called, ended, until(ttl_s));
                leases.entry(lease).or_default().promises.push(promise);
            };
            match (&operation.request, &operation.answer) {
                (_, Answer::Done(Response::LeaseGrant { id, ttl_s, .. })) => {
                    promised(*id, *ttl_s);
                    ask(&mut leases, *id, operation.called);
                }
                (_, Answer::Done(Response::LeaseRenew { id, ttl_s, .. })) => promised(*id, *ttl_s),
                (Request::KeepAlive(id), Answer::Kept(ttl_s)) => promised(*id, *ttl_s),
                (Request::Command(Command::LeaseGrant { id, .. }), _) => {
                    ask(&mut leases, *id, operation.called);
                }
                (Request::Command(Command::LeaseRevoke { id }), answer) => {
                    let ended = operation.ended.filter(|_| matches!(answer, Answer::Done(_)));
                    let revoked = &mut leases.entry(*id).or_default().revoked;
                    revoked.push((operation.called, ended));
                }
                _ => {}
            }
        }
        Self(leases)
    }

    /// Whether a lease's time may have been over when a revision was first shown, which deletes its
    /// keys; and it is not used afterwards.
    #[must_use]
    pub fn may_end(&self, id: i64, revision: i64, history: &Revisions, shown: &Shown) -> bool {
        let Some(lease) = self.0.get(&id) else { return false };
        let over = lease.promises.iter().all(|&(_, _, until)| until <= shown.first(revision));
        let later = history.between(revision + 1, history.last());
        over && !later.into_iter().any(|event| event.kv.lease == id)
    }

    /// Why that may not be, for the report.
    #[must_use]
    pub fn tell(&self, id: i64, revision: i64, shown: &Shown) -> String {
        let until = self.0.get(&id).and_then(|lease| lease.promises.iter().map(|p| p.2).max());
        let first = shown.first(revision);
        format!("; lease {id} was promised until {until:?}, this is shown at {first}")
    }

    /// Judges what answers say of leases.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self, log: &Log, history: &Revisions, shown: &Shown) -> Result<(), String> {
        for operation in &log.operations {
            if let Some((id, says)) = says(operation) {
                self.judge(id, says, operation)?;
            }
            if let Answer::Lease(revision, Some(status)) = &operation.answer
                && status.keys != history.leased(status.id, *revision)
            {
                let keys = history.leased(status.id, *revision);
                return Err(format!("the keys of the lease are {keys:?}: {operation}"));
            }
        }
        for event in history.between(2, history.last()).filter(|event| event.kv.lease != 0) {
            let (id, revision) = (event.kv.lease, event.kv.mod_revision);
            let asked = self.0.get(&id).and_then(|lease| lease.asked);
            if asked.is_none_or(|asked| asked >= shown.first(revision)) {
                return Err(format!("revision {revision} uses lease {id}, which nobody wanted"));
            }
        }
        Ok(())
    }

    fn judge(&self, id: i64, says: Says, operation: &Operation) -> Result<(), String> {
        let none = Lease::default();
        let lease = self.0.get(&id).unwrap_or(&none);
        let ended = operation.ended.unwrap_or(u64::MAX);
        match says {
            Says::Is => {
                let gone = |&(_, end): &(_, Option<u64>)| end.is_some_and(|e| e < operation.called);
                if lease.asked.is_none_or(|asked| asked > ended) {
                    return Err(format!("nobody wanted this lease: {operation}"));
                }
                if lease.revoked.iter().any(gone) {
                    return Err(format!("the lease was revoked before: {operation}"));
                }
            }
            Says::IsNot => {
                let known = lease.promises.iter().filter(|promise| promise.1 < operation.called);
                let until = known.map(|promise| promise.2).max().unwrap_or(0);
                let revoked = lease.revoked.iter().any(|&(called, _)| called < ended);
                if ended < until && !revoked {
                    return Err(format!("the lease was promised until {until}: {operation}"));
                }
            }
        }
        Ok(())
    }
}

fn ask(leases: &mut BTreeMap<i64, Lease>, id: i64, called: u64) {
    let asked = &mut leases.entry(id).or_default().asked;
    *asked = Some(asked.map_or(called, |before| before.min(called)));
}

/// Which lease an operation says something of.
fn says(operation: &Operation) -> Option<(i64, Says)> {
    let id = match &operation.request {
        Request::Command(Command::Put(put)) => put.lease,
        Request::Command(Command::LeaseRenew { id } | Command::LeaseRevoke { id })
        | Request::Lease(id)
        | Request::KeepAlive(id) => *id,
        _ => return None,
    };
    let says = match &operation.answer {
        Answer::Done(_) | Answer::Kept(_) | Answer::Lease(_, Some(_)) => Says::Is,
        Answer::Refused(KvError::LeaseNotFound) | Answer::Lease(_, None) => Says::IsNot,
        _ => return None,
    };
    (id != 0).then_some((id, says))
}
