//! The store as the log and the clients see it: commands in, answers out, reads at any time.

use std::cell::RefCell;
use std::rc::Rc;

use super::command::{self, Decoded};
use super::core::{Core, Interval};
use super::snapshot::{self, Snapshot};
use super::types::{
    Command, KvError, LeaseStatus, Limits, Outcome, RangeRequest, RangeResponse, Response,
    TxnRequest, TxnResponse, WatchRequest,
};
use super::watch::Watcher;
use super::{check, range, txn};
use crate::machine::{Committed, StateMachine};
use crate::scope::notify::Notify;

impl Default for Limits {
    /// 100,000 revisions and 4 MiB of history: ten thousand changes of 256 bytes, which bridges
    /// the minutes that a client may be away, on a board of few MiB. 256 MiB of data: far above
    /// what coordination needs, far below what would push a small machine into swapping. Leases of
    /// 2 s at least, as etcd, and 16,384 of them.
    fn default() -> Self {
        Self {
            history_revisions: 100_000,
            history_bytes: 4 << 20,
            quota_bytes: 256 << 20,
            lease_ttl_min_s: 2,
            leases_max: 16_384,
        }
    }
}

/// The replicated map. Clones are handles on the same state: the node applies to one, the clients'
/// side reads and watches through others. No call keeps a borrow, so they can be mixed freely.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) core: Rc<RefCell<Core>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store at revision 1, with the default limits. All nodes of a cluster begin so;
    /// other limits come with [`Command::Configure`].
    #[must_use]
    pub fn new() -> Self {
        Self { core: Rc::new(RefCell::new(Core::new(Limits::default()))) }
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.core.borrow().revision
    }

    /// The oldest revision that can be read or watched from; -1 if all can.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.core.borrow().history.compacted()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.core.borrow().limits
    }

    /// How many keys there are.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.core.borrow().live
    }

    /// Bytes that the present keys and values count against the quota.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.core.borrow().live_bytes
    }

    /// Bytes that history counts against its limit.
    #[must_use]
    pub fn history_bytes(&self) -> u64 {
        self.core.borrow().history.bytes()
    }

    /// Reads an interval of the state applied here. Linearizable if the caller waited for that.
    ///
    /// # Errors
    /// [`KvError::EmptyKey`], [`KvError::FutureRevision`], [`KvError::Compacted`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        range::check(request)?;
        let core = self.core.borrow();
        range::read(&core, request, core.revision)
    }

    /// Answers a transaction that only reads; `None` for one that must be proposed.
    ///
    /// # Errors
    /// What is wrong with the request, or with a revision in it.
    pub fn txn(&self, request: &TxnRequest) -> Result<Option<TxnResponse>, KvError> {
        check::txn(request)?;
        if !request.is_read_only() {
            return Ok(None);
        }
        txn::read(&self.core.borrow(), request).map(Some)
    }

    /// What is known of a lease; with its keys if asked for.
    #[must_use]
    pub fn lease(&self, id: i64, keys: bool) -> Option<LeaseStatus> {
        self.core.borrow().leases.status(id, keys)
    }

    /// The leases there are, in order.
    #[must_use]
    pub fn leases(&self) -> Vec<i64> {
        let core = self.core.borrow();
        core.leases.iter().map(|(id, _)| id).collect()
    }

    /// How many leases there are.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.core.borrow().leases.len()
    }

    /// a `Notify` that is notified when an entry set the time of a lease: what a lessor must hear of. It
    /// has one listener, the lessor of this node's leases.
    #[must_use]
    pub fn on_lease_change(&self) -> Notify {
        self.core.borrow().hub.leases.clone()
    }

    /// Begins a watch; `wake` is notified when there is something to pull. Several watches may share a
    /// wake: then each is to be asked.
    #[must_use]
    pub fn watch(&self, request: &WatchRequest, wake: &Notify) -> Watcher {
        Watcher::new(self.core.clone(), request, wake)
    }

    /// A checksum of the whole replicated state: equal on all nodes that applied as far. It reads
    /// everything; a check for tests and for `status`, not for the hot path.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let snapshot = Snapshot::of(&self.core);
        let crc = snapshot.fold(0, |crc, chunk| crc32c::crc32c_append(crc, &chunk));
        u64::from(crc) << 32 | (self.revision() as u64 & 0xffff_ffff)
    }
}

impl StateMachine for Store {
    type Response = Outcome;

    fn apply(&mut self, entry: Committed<'_>) -> Outcome {
        let core = &mut *self.core.borrow_mut();
        let leases_before = core.leases.last();
        let outcome = match command::decode(entry.payload) {
            Some(Decoded::Put(put)) => {
                put.shape().and_then(|()| txn::put(core, put).map(Response::Put))
            }
            Some(Decoded::Other(command)) => core.apply(command, &entry),
            None => Err(KvError::Unreadable),
        };
        core.tidy();
        if core.leases.last() != leases_before {
            core.hub.leases.notify();
        }
        outcome
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(Snapshot::of(&self.core))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let restored = snapshot::read(bytes)?;
        let core = &mut *self.core.borrow_mut();
        let mut old = std::mem::replace(core, restored);
        core.hub = std::mem::take(&mut old.hub);
        core.hub.jumped(old.revision, core.revision);
        core.hub.leases.notify();
        snapshot::retire(old);
        Ok(())
    }
}

impl Core {
    fn apply(&mut self, command: Command, entry: &Committed<'_>) -> Outcome {
        command.check()?;
        match command {
            Command::Put(request) => txn::put(self, (&request).into()).map(Response::Put),
            Command::DeleteRange(request) => {
                Ok(Response::DeleteRange(txn::delete_range(self, &request)))
            }
            Command::Txn(request) => txn::txn(self, &request).map(Response::Txn),
            Command::Compact { revision } => self.compact(revision),
            Command::LeaseGrant { id, ttl_s } => {
                let (id, ttl_s) = self.leases.grant(id, ttl_s, entry.index, &self.limits)?;
                let revision = self.revision;
                Ok(Response::LeaseGrant { revision, id, ttl_s })
            }
            Command::LeaseRevoke { id } => {
                let revision = self.end_lease(id).ok_or(KvError::LeaseNotFound)?;
                Ok(Response::LeaseRevoke { revision })
            }
            Command::LeaseRenew { id } => {
                let ttl_s = self.leases.renew(id)?;
                let revision = self.revision;
                Ok(Response::LeaseRenew { revision, id, ttl_s })
            }
            Command::LeaseCheckpoint { epoch, checkpoints } => {
                for checkpoint in checkpoints {
                    if epoch == entry.epoch {
                        self.leases.checkpoint(checkpoint);
                    }
                }
                Ok(self.noted())
            }
            Command::LeaseExpire { epoch, leases } => {
                for stamp in leases {
                    if epoch == entry.epoch && self.leases.current(stamp).is_some() {
                        self.end_lease(stamp.id);
                    }
                }
                Ok(self.noted())
            }
            Command::Configure(limits) => {
                self.limits = limits;
                Ok(self.noted())
            }
        }
    }

    fn noted(&self) -> Response {
        let revision = self.revision;
        Response::Noted { revision }
    }

    fn compact(&mut self, revision: i64) -> Outcome {
        if revision <= self.history.compacted() {
            return Err(KvError::Compacted);
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision);
        }
        self.history.compact(revision);
        let revision = self.revision;
        Ok(Response::Compact { revision })
    }

    /// Takes a lease away and deletes its keys, in order, in one revision.
    fn end_lease(&mut self, id: i64) -> Option<i64> {
        let keys = self.leases.remove(id)?;
        let mut write = self.write();
        for key in &keys {
            write.delete_range(Interval::new(key, &[]), |_, _| {});
        }
        Some(write.finish())
    }
}
