//! The replicated side of leases: who holds which keys, and how much time was last agreed on.
//!
//! There is no clock here. The leader counts down with its own (see
//! [`Lessor`](super::lessor::Lessor)) and proposes what it found; this side only sees to
//! it that a proposal made on an outdated view of a lease has no effect: each entry that sets a
//! lease's time gives it a new *generation*, and an expiry or a checkpoint names the generation
//! that it is about.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Blob, KvError, LeaseCheckpoint, LeaseStamp, LeaseStatus, Limits};

/// The longest time to live, in seconds: etcd's.
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// One lease.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    /// Seconds granted.
    pub ttl_s: i64,
    /// Seconds left when last agreed on; equal to `ttl_s` after a grant and a renewal.
    pub remaining_s: i64,
    /// The number of the last entry that set the time.
    pub generation: u64,
    /// The keys that go with it.
    pub keys: BTreeSet<Blob>,
}

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: BTreeMap<i64, Lease>,
    /// Which lease each generation in use belongs to: what changed since, at a glance.
    generations: BTreeMap<u64, i64>,
    /// The last generation given out.
    last: u64,
}

impl Leases {
    /// From a snapshot.
    pub(super) fn restored(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    pub(super) fn insert(&mut self, id: i64, lease: Lease) {
        self.generations.insert(lease.generation, id);
        self.leases.insert(id, lease);
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn get(&self, id: i64) -> Option<&Lease> {
        self.leases.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.leases.iter().map(|(&id, lease)| (id, lease))
    }

    /// The leases whose time was set by an entry after this generation.
    pub(super) fn since(&self, generation: u64) -> impl Iterator<Item = (i64, &Lease)> {
        let changed = self.generations.range(generation.saturating_add(1)..);
        changed.filter_map(|(_, &id)| self.get(id).map(|lease| (id, lease)))
    }

    /// A lease to attach a key to: 0 is none.
    pub(super) fn check(&self, id: i64) -> Result<(), KvError> {
        if id != 0 && !self.leases.contains_key(&id) {
            return Err(KvError::LeaseNotFound);
        }
        Ok(())
    }

    /// Grants a lease. For id 0 one is made up from the entry's index: the same on every node.
    pub(super) fn grant(
        &mut self,
        id: i64,
        ttl_s: i64,
        index: u64,
        limits: &Limits,
    ) -> Result<(i64, i64), KvError> {
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(KvError::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(KvError::LeaseExists);
        }
        if self.leases.len() as u64 >= limits.leases_max {
            return Err(KvError::TooManyLeases);
        }
        let id = if id == 0 { self.fresh(index) } else { id };
        let ttl_s = ttl_s.max(limits.lease_ttl_min_s).clamp(1, LEASE_TTL_MAX_S);
        self.last += 1;
        let lease =
            Lease { ttl_s, remaining_s: ttl_s, generation: self.last, keys: BTreeSet::new() };
        self.insert(id, lease);
        Ok((id, ttl_s))
    }

    /// A positive id that is not in use; scattered, so that nobody mistakes it for a count.
    fn fresh(&self, index: u64) -> i64 {
        // An odd factor makes this a bijection: different entries get different ids.
        let mut id = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
        while id == 0 || self.leases.contains_key(&(id as i64)) {
            id = (id + 1) & (i64::MAX as u64);
        }
        id as i64
    }

    /// Gives a lease its full time again. Returns its time to live.
    pub(super) fn renew(&mut self, id: i64) -> Result<i64, KvError> {
        let ttl_s = self.get(id).ok_or(KvError::LeaseNotFound)?.ttl_s;
        self.set_remaining(id, ttl_s);
        Ok(ttl_s)
    }

    /// Notes how much time is left, unless the lease's time was set by another entry since.
    pub(super) fn checkpoint(&mut self, checkpoint: LeaseCheckpoint) {
        if let Some(lease) = self.current(checkpoint.lease) {
            let remaining_s = checkpoint.remaining_s.min(lease.remaining_s).max(1);
            self.set_remaining(checkpoint.lease.id, remaining_s);
        }
    }

    /// The lease, if it is still in the state that the stamp names.
    pub(super) fn current(&self, stamp: LeaseStamp) -> Option<&Lease> {
        let lease = self.get(stamp.id)?;
        (lease.generation == stamp.generation).then_some(lease)
    }

    fn set_remaining(&mut self, id: i64, remaining_s: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            self.last += 1;
            self.generations.remove(&lease.generation);
            self.generations.insert(self.last, id);
            lease.generation = self.last;
            lease.remaining_s = remaining_s;
        }
    }

    /// Takes the lease away; its keys are for the caller to delete.
    pub(super) fn remove(&mut self, id: i64) -> Option<BTreeSet<Blob>> {
        let lease = self.leases.remove(&id)?;
        self.generations.remove(&lease.generation);
        Some(lease.keys)
    }

    pub(super) fn attach(&mut self, id: i64, key: &Blob) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key.clone());
        }
    }

    pub(super) fn detach(&mut self, id: i64, key: &Blob) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// What a client may know.
    pub(super) fn status(&self, id: i64, keys: bool) -> Option<LeaseStatus> {
        let lease = self.get(id)?;
        Some(LeaseStatus {
            id,
            granted_ttl_s: lease.ttl_s,
            remaining_s: lease.remaining_s,
            keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
        })
    }
}
