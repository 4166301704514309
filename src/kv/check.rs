//! Refuses what makes no sense whatever the state: the checks that etcd makes before it proposes.
//!
//! They run twice: on arrival, so that nonsense costs no entry, and when the entry is applied,
//! because a log holds what it holds.

use std::collections::BTreeSet;

use super::core::Interval;
use super::range;
use super::txn::PutView;
use super::types::{Command, DeleteRangeRequest, KvError, RequestOp, TxnRequest};

/// Operations or conditions on one level of a transaction, as in etcd; each level takes its own
/// from what the levels within may have.
pub const TXN_OPS_MAX: usize = 128;

impl Command {
    /// Refuses a command that makes no sense whatever the state; call it before proposing.
    ///
    /// # Errors
    /// What the store would answer.
    pub fn check(&self) -> Result<(), KvError> {
        match self {
            Self::Put(request) => PutView::from(request).shape(),
            Self::DeleteRange(request) => delete_range(request),
            Self::Txn(request) => txn(request),
            Self::Compact { .. }
            | Self::LeaseGrant { .. }
            | Self::LeaseRevoke { .. }
            | Self::LeaseRenew { .. }
            | Self::LeaseCheckpoint { .. }
            | Self::LeaseExpire { .. }
            | Self::Configure(_) => Ok(()),
        }
    }
}

impl TxnRequest {
    /// Whether neither branch writes: then no entry is needed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            RequestOp::Range(_) => true,
            RequestOp::Put(_) | RequestOp::DeleteRange(_) => false,
            RequestOp::Txn(inner) => inner.is_read_only(),
        })
    }
}

fn delete_range(request: &DeleteRangeRequest) -> Result<(), KvError> {
    if request.key.is_empty() {
        return Err(KvError::EmptyKey);
    }
    Ok(())
}

/// A transaction and all within it.
pub(super) fn txn(request: &TxnRequest) -> Result<(), KvError> {
    shape(request, TXN_OPS_MAX)?;
    written_once(&request.success)?;
    written_once(&request.failure)?;
    Ok(())
}

fn shape(request: &TxnRequest, ops_max: usize) -> Result<(), KvError> {
    let ops = request.compare.len();
    let ops = ops.max(request.success.len()).max(request.failure.len());
    if ops > ops_max {
        return Err(KvError::TooManyOps);
    }
    if request.compare.iter().any(|c| c.key.is_empty()) {
        return Err(KvError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match op {
            RequestOp::Range(request) => range::check(request)?,
            RequestOp::Put(request) => PutView::from(request).shape()?,
            RequestOp::DeleteRange(request) => delete_range(request)?,
            RequestOp::Txn(request) => shape(request, ops_max - ops)?,
        }
    }
    Ok(())
}

/// The keys put and the intervals deleted by one branch.
#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<Interval<'a>>,
}

impl<'a> Written<'a> {
    /// Adds a put, unless the key is written already. `excused` may be put twice: one of the two
    /// branches is not taken.
    fn put(&mut self, key: &'a [u8], excused: &BTreeSet<&[u8]>) -> Result<(), KvError> {
        let twice = !self.puts.insert(key) && !excused.contains(key);
        if twice || self.deletes.iter().any(|i| i.contains(key)) {
            return Err(KvError::DuplicateKey);
        }
        Ok(())
    }
}

/// No key may be put twice, or put and deleted, in one branch with all within it. As in etcd, a
/// deletion in a later nested transaction does not count against a put in an earlier one, and a
/// deletion without an upper end is not held against any put.
fn written_once(ops: &[RequestOp]) -> Result<Written<'_>, KvError> {
    let none = BTreeSet::new();
    let mut written = Written::default();
    for op in ops {
        if let RequestOp::DeleteRange(request) = op
            && request.range_end != [0]
        {
            let interval = Interval::new(&request.key, &request.range_end);
            written.deletes.push(interval);
        }
    }
    for op in ops {
        if let RequestOp::Txn(request) = op {
            let success = written_once(&request.success)?;
            let failure = written_once(&request.failure)?;
            for key in &success.puts {
                written.put(key, &none)?;
            }
            for key in &failure.puts {
                written.put(key, &success.puts)?;
            }
            written.deletes.extend(success.deletes);
            written.deletes.extend(failure.deletes);
        }
    }
    for op in ops {
        if let RequestOp::Put(request) = op {
            written.put(&request.key, &none)?;
        }
    }
    Ok(written)
}
