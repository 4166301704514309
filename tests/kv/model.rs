//! The map as naively as it can be: a list of all changes ever, searched from the front.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// One change of one key.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: i64,
    pub(crate) kv: KeyValue,
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) changes: Vec<Change>,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) leases: BTreeMap<i64, i64>,
}

type Bytes<'a> = (&'a [u8], &'a [u8]);

fn within(key: &[u8], (from, end): Bytes<'_>) -> bool {
    if end.is_empty() {
        return key == from;
    }
    key >= from && (end == [0] || key < end)
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { changes: vec![], revision: 1, compacted: -1, leases: BTreeMap::new() }
    }

    fn at(&self, revision: i64, interval: Bytes<'_>) -> Vec<KeyValue> {
        let mut map = BTreeMap::new();
        for change in self.changes.iter().filter(|c| c.revision <= revision) {
            if within(&change.kv.key, interval) {
                map.insert(change.kv.key.clone(), change.kv.clone());
            }
        }
        map.into_values().filter(|kv| kv.version > 0).collect()
    }

    fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.at(i64::MAX, (key, &[])).pop()
    }

    pub(crate) fn range(&self, r: &RangeRequest, now: i64) -> Result<RangeResponse, KvError> {
        if r.revision > now {
            return Err(KvError::FutureRevision);
        }
        let at = if r.revision > 0 { r.revision } else { now };
        if at < self.compacted {
            return Err(KvError::Compacted);
        }
        let mut kvs = self.at(at, (&r.key, &r.range_end));
        let count = kvs.len() as i64;
        let filtered =
            [r.min_mod_revision, r.max_mod_revision, r.min_create_revision, r.max_create_revision];
        let limit = if r.limit > 0 { r.limit as usize } else { 1 << 30 };
        if r.sort_order == SortOrder::None && filtered == [0; 4] {
            kvs.truncate(limit + 1);
        }
        kvs.retain(|kv| {
            (r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision)
                && (r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision)
                && (r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision)
                && (r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision)
        });
        let rank = |kv: &KeyValue| match r.sort_target {
            SortTarget::Key => (0, kv.key.to_vec()),
            SortTarget::Version => (kv.version, vec![]),
            SortTarget::Create => (kv.create_revision, vec![]),
            SortTarget::Mod => (kv.mod_revision, vec![]),
            SortTarget::Value => (0, kv.value.to_vec()),
        };
        match r.sort_order {
            SortOrder::Descend => kvs.sort_by_key(|kv| std::cmp::Reverse(rank(kv))),
            _ => kvs.sort_by_key(rank),
        }
        if r.count_only {
            kvs.clear();
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if r.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Blob::from([]));
        }
        Ok(RangeResponse { revision: now, kvs, more, count })
    }

    /// Writes into the next revision; [`close`](Self::close) makes it the present one.
    fn put(&mut self, r: &PutRequest) -> PutResponse {
        let before = self.get(&r.key);
        let revision = self.revision + 1;
        let kept = before.as_ref();
        let kv = KeyValue {
            key: r.key.clone().into(),
            value: match kept {
                Some(kv) if r.ignore_value => kv.value.clone(),
                _ => r.value.clone().into(),
            },
            create_revision: kept.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: kept.map_or(1, |kv| kv.version + 1),
            lease: match kept {
                Some(kv) if r.ignore_lease => kv.lease,
                _ => r.lease,
            },
        };
        self.changes.push(Change { revision, kv });
        PutResponse { revision, prev_kv: before.filter(|_| r.prev_kv) }
    }

    fn delete(&mut self, r: &DeleteRangeRequest) -> DeleteRangeResponse {
        let gone = self.at(i64::MAX, (&r.key, &r.range_end));
        let revision = self.revision + 1;
        for kv in &gone {
            let kv = KeyValue {
                key: kv.key.clone(),
                value: Blob::from([]),
                create_revision: 0,
                mod_revision: revision,
                version: 0,
                lease: 0,
            };
            self.changes.push(Change { revision, kv });
        }
        DeleteRangeResponse {
            revision: self.now(),
            deleted: gone.len() as i64,
            prev_kvs: if r.prev_kv { gone } else { vec![] },
        }
    }

    /// The revision that reads within an open transaction see.
    fn now(&self) -> i64 {
        let last = self.changes.last().map_or(1, |c| c.revision);
        last.max(self.revision)
    }

    fn close(&mut self) -> i64 {
        self.revision = self.now();
        self.revision
    }

    /// Keeps so many revisions. The first change is at revision 2, so nothing is lost before 3.
    pub(crate) fn bound(&mut self, revisions: i64) {
        let oldest = self.revision - revisions + 1;
        if oldest > 2 {
            self.compacted = self.compacted.max(oldest);
        }
    }

    fn may_put(&self, r: &PutRequest) -> Result<(), KvError> {
        if (r.ignore_value || r.ignore_lease) && self.get(&r.key).is_none() {
            return Err(KvError::KeyNotFound);
        }
        if r.lease != 0 && !self.leases.contains_key(&r.lease) {
            return Err(KvError::LeaseNotFound);
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Put(r) => {
                if r.lease != 0 && !self.leases.contains_key(&r.lease) {
                    return Err(KvError::LeaseNotFound);
                }
                self.may_put(r)?;
                let response = self.put(r);
                self.close();
                Ok(Response::Put(response))
            }
            Command::DeleteRange(r) => {
                let response = self.delete(r);
                self.close();
                Ok(Response::DeleteRange(response))
            }
            Command::Txn(r) => self.txn(r).map(Response::Txn),
            Command::Compact { revision } => {
                if *revision <= self.compacted {
                    return Err(KvError::Compacted);
                }
                if *revision > self.revision {
                    return Err(KvError::FutureRevision);
                }
                self.compacted = *revision;
                let revision = self.revision;
                Ok(Response::Compact { revision })
            }
            Command::LeaseGrant { id, ttl_s } => {
                if self.leases.contains_key(id) {
                    return Err(KvError::LeaseExists);
                }
                self.leases.insert(*id, *ttl_s);
                Ok(Response::LeaseGrant { revision: self.revision, id: *id, ttl_s: *ttl_s })
            }
            Command::LeaseRevoke { id } => {
                self.leases.remove(id).ok_or(KvError::LeaseNotFound)?;
                for kv in self.at(i64::MAX, (&[0], &[0])) {
                    if kv.lease == *id {
                        self.delete(&DeleteRangeRequest {
                            key: kv.key.to_vec(),
                            ..DeleteRangeRequest::default()
                        });
                    }
                }
                let revision = self.close();
                Ok(Response::LeaseRevoke { revision })
            }
            other => panic!("{other:?}"),
        }
    }

    fn txn(&mut self, r: &TxnRequest) -> Result<TxnResponse, KvError> {
        written(&r.success)?;
        written(&r.failure)?;
        let before = self.clone();
        let path = before.path(r);
        for op in &path {
            if let RequestOp::Put(r) = op {
                before.may_put(r)?;
            }
        }
        for op in &path {
            if let RequestOp::Range(r) = op {
                if r.revision > before.revision {
                    return Err(KvError::FutureRevision);
                }
                if r.revision > 0 && r.revision < before.compacted {
                    return Err(KvError::Compacted);
                }
            }
        }
        let mut response = self.run(&before, r);
        stamp(&mut response, self.close());
        Ok(response)
    }

    fn taken<'a>(&self, r: &'a TxnRequest) -> (bool, &'a [RequestOp]) {
        if r.compare.iter().all(|c| self.holds(c)) {
            (true, &r.success)
        } else {
            (false, &r.failure)
        }
    }

    fn path<'a>(&self, r: &'a TxnRequest) -> Vec<&'a RequestOp> {
        let mut path = vec![];
        for op in self.taken(r).1 {
            match op {
                RequestOp::Txn(inner) => path.extend(self.path(inner)),
                op => path.push(op),
            }
        }
        path
    }

    fn run(&mut self, before: &Model, r: &TxnRequest) -> TxnResponse {
        let (succeeded, ops) = before.taken(r);
        let mut responses = vec![];
        for op in ops {
            responses.push(match op {
                RequestOp::Range(r) => ResponseOp::Range(self.range(r, self.now()).unwrap()),
                RequestOp::Put(r) => ResponseOp::Put(self.put(r)),
                RequestOp::DeleteRange(r) => ResponseOp::DeleteRange(self.delete(r)),
                RequestOp::Txn(r) => ResponseOp::Txn(self.run(before, r)),
            });
        }
        TxnResponse { revision: 0, succeeded, responses }
    }

    fn holds(&self, c: &Compare) -> bool {
        let kvs = self.at(i64::MAX, (&c.key, &c.range_end));
        if kvs.is_empty() {
            if matches!(c.target, CompareTarget::Value(_)) {
                return false;
            }
            return relation(c, &[0; 4], &[]);
        }
        kvs.iter().all(|kv| {
            let numbers = [kv.version, kv.create_revision, kv.mod_revision, kv.lease];
            relation(c, &numbers, &kv.value)
        })
    }
}

fn relation(c: &Compare, numbers: &[i64; 4], value: &[u8]) -> bool {
    let order = match &c.target {
        CompareTarget::Version(x) => numbers[0].cmp(x),
        CompareTarget::Create(x) => numbers[1].cmp(x),
        CompareTarget::Mod(x) => numbers[2].cmp(x),
        CompareTarget::Lease(x) => numbers[3].cmp(x),
        CompareTarget::Value(x) => value.cmp(x),
    };
    match c.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}

fn stamp(response: &mut TxnResponse, revision: i64) {
    response.revision = revision;
    for inner in &mut response.responses {
        if let ResponseOp::Txn(inner) = inner {
            stamp(inner, revision);
        }
    }
}

/// The keys put, and the keys of the tests' small alphabet that are deleted.
type Keys = BTreeSet<Vec<u8>>;

fn written(ops: &[RequestOp]) -> Result<(Keys, Keys), KvError> {
    let alphabet = (b'a'..=b'f').map(|c| vec![c]);
    let (mut puts, mut deletes) = (BTreeSet::new(), BTreeSet::new());
    for op in ops {
        if let RequestOp::DeleteRange(r) = op
            && r.range_end != [0]
        {
            let hit = |key: &Vec<u8>| within(key, (&r.key, &r.range_end));
            deletes.extend(alphabet.clone().filter(hit));
        }
    }
    let twice = Err(KvError::DuplicateKey);
    for op in ops {
        if let RequestOp::Txn(r) = op {
            let (then_puts, then_deletes) = written(&r.success)?;
            let (else_puts, else_deletes) = written(&r.failure)?;
            let union: BTreeSet<_> = &then_puts | &else_puts;
            if !puts.is_disjoint(&union) || !deletes.is_disjoint(&union) {
                return twice;
            }
            puts.extend(union);
            deletes.extend(then_deletes);
            deletes.extend(else_deletes);
        }
    }
    for op in ops {
        if let RequestOp::Put(r) = op
            && (deletes.contains(&r.key) || !puts.insert(r.key.clone()))
        {
            return twice;
        }
    }
    Ok((puts, deletes))
}
