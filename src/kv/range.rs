//! Reading an interval: filters, order and limit in the order in which etcd applies them.
//!
//! `count` is of the interval, before filters and limit. A limit without a direction and without
//! filters cuts *before* a sort by another target than the key, as it does in etcd.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::core::{Core, Interval};
use super::types::{KeyValue, KvError, RangeRequest, RangeResponse, SortOrder, SortTarget};

/// Refuses a range that makes no sense whatever the state.
pub(super) fn check(request: &RangeRequest) -> Result<(), KvError> {
    if request.key.is_empty() {
        return Err(KvError::EmptyKey);
    }
    Ok(())
}

/// Refuses a revision that is not there yet, or no more.
pub(super) fn check_revision(core: &Core, revision: i64, present: i64) -> Result<(), KvError> {
    if revision > present {
        return Err(KvError::FutureRevision);
    }
    if revision > 0 && revision < core.history.compacted() {
        return Err(KvError::Compacted);
    }
    Ok(())
}

/// Reads; `present` is the revision that counts as now.
pub(super) fn read(
    core: &Core,
    request: &RangeRequest,
    present: i64,
) -> Result<RangeResponse, KvError> {
    check_revision(core, request.revision, present)?;
    let at = if request.revision > 0 { request.revision } else { present };
    let limit =
        usize::try_from(request.limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    let take = if request.sort_order == SortOrder::None && !filters(request) {
        limit.saturating_add(1)
    } else {
        usize::MAX
    };
    let mut count = 0;
    let mut kvs = Vec::new();
    let interval = Interval::new(&request.key, &request.range_end);
    core.visit(interval, at, |key, version| {
        count += 1;
        if !request.count_only && kvs.len() < take {
            let kv = version.named(key);
            if passes(request, &kv) {
                kvs.push(kv);
            }
        }
        ControlFlow::Continue(())
    });
    sort(request, &mut kvs);
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = core.empty.clone());
    }
    Ok(RangeResponse { revision: present, kvs, more, count })
}

fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value, min, max| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Sorts what came in the order of keys; equal ones stay in that order, in either direction.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let order = match (request.sort_target, request.sort_order) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => return,
        (_, order) => order,
    };
    let by = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match request.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    if order == SortOrder::Descend {
        kvs.sort_by(|a, b| by(b, a));
    } else {
        kvs.sort_by(by);
    }
}
