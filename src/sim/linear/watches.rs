//! Every watch against the history: each change of its keys from its beginning on, in order, once, a
//! whole revision at a time.

use crate::kv::{Event, EventKind, WatchRequest};
use crate::sim::linear::answers::Compactions;
use crate::sim::linear::record::{Log, Watched};
use crate::sim::linear::register::has;
use crate::sim::linear::revisions::Revisions;

/// Judges every watch; returns how many events they were told.
///
/// # Errors
/// The first event that is wrong or missing.
pub fn check(log: &Log, history: &Revisions) -> Result<u64, String> {
    let compactions = Compactions::new(log);
    let mut told = 0;
    for watched in &log.watches {
        told += judge(watched, history, &compactions).map_err(|what| {
            let Watched { client, created, request, .. } = watched;
            format!("the watch of client {client} from {created} on, {request:?}: {what}")
        })?;
    }
    Ok(told)
}

fn wants(request: &WatchRequest, event: &Event) -> bool {
    let unwanted = match event.kind {
        EventKind::Put => request.no_put,
        EventKind::Delete => request.no_delete,
    };
    let start = if request.key.is_empty() { &[0][..] } else { &request.key };
    !unwanted && has(start, &request.range_end, &event.kv.key)
}

fn judge(watched: &Watched, history: &Revisions, compactions: &Compactions) -> Result<u64, String> {
    let Watched { request, told, compacted, .. } = watched;
    let mut expected = history
        .between(watched.from().max(2), history.last())
        .filter(|event| wants(request, event))
        .peekable();
    let (mut count, mut up_to) = (0, watched.from() - 1);
    for told in told {
        for event in &told.events {
            let Some(right) = expected.next() else {
                return Err(format!("there is no {event:?}"));
            };
            if (event.kind, &event.kv) != (right.kind, &right.kv) {
                return Err(format!("told {event:?}, not {right:?}"));
            }
            let before = history.at(&event.kv.key, event.kv.mod_revision - 1);
            if event.prev_kv.as_ref() != before.filter(|_| request.prev_kv) {
                return Err(format!("before {event:?} was {before:?}"));
            }
            up_to = event.kv.mod_revision;
            count += 1;
        }
        up_to = up_to.max(told.up_to.unwrap_or(0));
        if let Some(missed) = expected.peek().filter(|next| next.kv.mod_revision <= up_to) {
            return Err(format!("not told {missed:?}, but what is behind it, at {}", told.at));
        }
    }
    if let Some(compacted) = compacted {
        let asked = compactions.explain(compacted - 1, None);
        if !asked || up_to + 1 >= *compacted {
            return Err(format!("ended as compacted at {compacted}, told up to {up_to}"));
        }
    }
    Ok(count)
}
