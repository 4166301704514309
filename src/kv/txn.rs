//! Transactions: all conditions first, on the state before; then the operations, in order.
//!
//! [`Plan`] is the transaction with every branch chosen. What can fail is checked on the whole plan
//! before the first operation, so a transaction happens as a whole or not at all.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::core::{Core, Interval, Write, live_cost};
use super::history::Version;
use super::range;
use super::types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, KvError,
    PutResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse,
};

/// A put, wherever its bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct PutView<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub lease: i64,
    pub prev_kv: bool,
    pub ignore_value: bool,
    pub ignore_lease: bool,
}

impl PutView<'_> {
    /// Refuses what makes no sense whatever the state.
    pub(super) fn shape(&self) -> Result<(), KvError> {
        if self.key.is_empty() {
            return Err(KvError::EmptyKey);
        }
        if self.ignore_value && !self.value.is_empty() {
            return Err(KvError::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(KvError::LeaseProvided);
        }
        Ok(())
    }

    /// Refuses what the present state does not allow; the key and its lease, not the space.
    fn check(&self, core: &Core) -> Result<(), KvError> {
        if (self.ignore_value || self.ignore_lease) && core.present(self.key).is_none() {
            return Err(KvError::KeyNotFound);
        }
        core.leases.check(self.lease)
    }

    /// By how many bytes the store grows; 0 if it shrinks.
    fn growth(&self, core: &Core) -> u64 {
        let before = core.present(self.key);
        let before_bytes = before.map_or(0, |v| live_cost(self.key, &v.value));
        let value = match before {
            Some(v) if self.ignore_value => &v.value,
            _ => self.value,
        };
        live_cost(self.key, value).saturating_sub(before_bytes)
    }

    /// Puts; nothing can fail any more. A key deleted earlier in the same transaction has nothing
    /// to keep: an ignored value is then empty, an ignored lease none (etcd's server dies of it).
    fn apply(&self, write: &mut Write<'_>) -> PutResponse {
        let looks = self.prev_kv || self.ignore_value || self.ignore_lease;
        let before = looks.then(|| {
            let known = write.core.items.get_key_value(self.key);
            known.filter(|(_, item)| item.head.exists())
        });
        let before = before.flatten().map(|(key, item)| item.head.named(key));
        let value = match &before {
            Some(kv) if self.ignore_value => kv.value.clone(),
            _ if self.value.is_empty() => write.core.empty.clone(),
            _ => self.value.into(),
        };
        let lease = match &before {
            Some(kv) if self.ignore_lease => kv.lease,
            _ => self.lease,
        };
        write.put(self.key, value, lease);
        PutResponse { revision: write.next(), prev_kv: before.filter(|_| self.prev_kv) }
    }
}

/// One put as an entry of its own. etcd looks at the lease first here, at the key in transactions.
pub(super) fn put(core: &mut Core, put: PutView<'_>) -> Result<PutResponse, KvError> {
    core.leases.check(put.lease)?;
    put.check(core)?;
    // The key is looked up for this only when it may matter.
    if check_space(core, live_cost(put.key, put.value)).is_err() {
        check_space(core, put.growth(core))?;
    }
    let mut write = core.write();
    let response = put.apply(&mut write);
    write.finish();
    Ok(response)
}

/// One deletion as an entry of its own.
pub(super) fn delete_range(core: &mut Core, request: &DeleteRangeRequest) -> DeleteRangeResponse {
    let mut write = core.write();
    let response = delete_in(&mut write, request);
    write.finish();
    response
}

fn delete_in(write: &mut Write<'_>, request: &DeleteRangeRequest) -> DeleteRangeResponse {
    let interval = Interval::new(&request.key, &request.range_end);
    let mut prev_kvs = Vec::new();
    let deleted = write.delete_range(interval, |key, version| {
        if request.prev_kv {
            prev_kvs.push(version.named(key));
        }
    });
    DeleteRangeResponse { revision: write.revision(), deleted, prev_kvs }
}

fn check_space(core: &Core, growth: u64) -> Result<(), KvError> {
    if growth > 0 && core.live_bytes.saturating_add(growth) > core.limits.quota_bytes {
        return Err(KvError::NoSpace);
    }
    Ok(())
}

/// A transaction as an entry of its own; its shape was checked.
pub(super) fn txn(core: &mut Core, request: &TxnRequest) -> Result<TxnResponse, KvError> {
    let plan = Plan::choose(core, request);
    let growth = plan.check_puts(core)?;
    plan.check_ranges(core)?;
    check_space(core, growth)?;
    let mut write = core.write();
    let mut response = plan.apply(&mut write)?;
    set_revision(&mut response, write.finish());
    Ok(response)
}

/// A transaction that only reads, without an entry; its shape was checked.
pub(super) fn read(core: &Core, request: &TxnRequest) -> Result<TxnResponse, KvError> {
    let plan = Plan::choose(core, request);
    plan.check_ranges(core)?;
    plan.read(core)
}

/// The header of the whole, and of the transactions within, is the revision afterwards.
fn set_revision(response: &mut TxnResponse, revision: i64) {
    response.revision = revision;
    for inner in &mut response.responses {
        if let ResponseOp::Txn(inner) = inner {
            set_revision(inner, revision);
        }
    }
}

/// A transaction whose branches are chosen.
struct Plan<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    /// Anything but a transaction.
    Op(&'a RequestOp),
    Txn(Plan<'a>),
}

impl<'a> Plan<'a> {
    /// Evaluates all conditions, those of the transactions within the chosen branch, too.
    fn choose(core: &Core, request: &'a TxnRequest) -> Self {
        let succeeded = request.compare.iter().all(|c| holds(core, c));
        let ops = if succeeded { &request.success } else { &request.failure };
        let step = |op: &'a RequestOp| match op {
            RequestOp::Txn(inner) => Step::Txn(Self::choose(core, inner)),
            op => Step::Op(op),
        };
        Self { succeeded, steps: ops.iter().map(step).collect() }
    }

    /// Checks each put against the state before; returns by how much they grow the store.
    fn check_puts(&self, core: &Core) -> Result<u64, KvError> {
        let mut growth = 0u64;
        for step in &self.steps {
            growth = growth.saturating_add(match step {
                Step::Op(RequestOp::Put(request)) => {
                    let put = PutView::from(request);
                    put.check(core)?;
                    put.growth(core)
                }
                Step::Op(_) => 0,
                Step::Txn(plan) => plan.check_puts(core)?,
            });
        }
        Ok(growth)
    }

    /// Checks the revision of each range against the state before.
    fn check_ranges(&self, core: &Core) -> Result<(), KvError> {
        for step in &self.steps {
            match step {
                Step::Op(RequestOp::Range(request)) => {
                    range::check_revision(core, request.revision, core.revision)?;
                }
                Step::Op(_) => {}
                Step::Txn(plan) => plan.check_ranges(core)?,
            }
        }
        Ok(())
    }

    fn apply(&self, write: &mut Write<'_>) -> Result<TxnResponse, KvError> {
        let mut responses = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            responses.push(match step {
                Step::Op(RequestOp::Range(request)) => {
                    ResponseOp::Range(range::read(write.core, request, write.revision())?)
                }
                Step::Op(RequestOp::Put(request)) => {
                    ResponseOp::Put(PutView::from(request).apply(write))
                }
                Step::Op(RequestOp::DeleteRange(request)) => {
                    ResponseOp::DeleteRange(delete_in(write, request))
                }
                Step::Op(RequestOp::Txn(_)) => continue,
                Step::Txn(plan) => ResponseOp::Txn(plan.apply(write)?),
            });
        }
        Ok(self.answered(responses))
    }

    fn read(&self, core: &Core) -> Result<TxnResponse, KvError> {
        let mut responses = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            responses.push(match step {
                Step::Op(RequestOp::Range(request)) => {
                    ResponseOp::Range(range::read(core, request, core.revision)?)
                }
                Step::Op(_) => continue,
                Step::Txn(plan) => ResponseOp::Txn(plan.read(core)?),
            });
        }
        let mut response = self.answered(responses);
        set_revision(&mut response, core.revision);
        Ok(response)
    }

    fn answered(&self, responses: Vec<ResponseOp>) -> TxnResponse {
        TxnResponse { revision: 0, succeeded: self.succeeded, responses }
    }
}

/// Whether a condition holds for every key of its interval; for an empty interval, whether it
/// holds for a key that was never there (values never do).
fn holds(core: &Core, compare: &Compare) -> bool {
    let interval = Interval::new(&compare.key, &compare.range_end);
    let (mut any, mut all) = (false, true);
    core.visit(interval, core.revision, |_, version| {
        any = true;
        all = holds_for(compare, version);
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if any {
        return all;
    }
    let absent = Version::absent(&core.empty, 0);
    !matches!(compare.target, CompareTarget::Value(_)) && holds_for(compare, &absent)
}

fn holds_for(compare: &Compare, version: &Version) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(operand) => version.version.cmp(operand),
        CompareTarget::Create(operand) => version.create.cmp(operand),
        CompareTarget::Mod(operand) => version.modified.cmp(operand),
        CompareTarget::Value(operand) => (*version.value).cmp(operand.as_slice()),
        CompareTarget::Lease(operand) => version.lease.cmp(operand),
    };
    match compare.result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}
