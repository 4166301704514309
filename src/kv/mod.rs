//! A replicated map with revisions, transactions, leases and watches: etcd's v3 data model as a
//! deterministic state machine. It knows no HTTP, no JSON and, but for the [`keeper`] of leases, no
//! clock.
//!
//! # The model
//!
//! Keys are bytes in one ordered space. The store as a whole has a **revision**, 1 when empty; an
//! entry that changes anything makes the next one, and everything it changes carries that number.
//! So a revision names a state of the whole store, and a key's `mod_revision` is a fencing token:
//! whoever holds the greater one came later. A key also knows the revision that created it, its
//! `version` (puts since then) and the lease it is attached to; a deletion ends all three.
//!
//! A **transaction** is conditions and two branches. All conditions, those of transactions within
//! it, too, see the state before; then one branch happens, in order, at one revision, each
//! operation seeing the ones before. Whatever can fail is checked first, so it happens as a whole
//! or not at all.
//!
//! A **lease** is a promise to delete keys unless its owner keeps it alive. Time is the leader's
//! ([`lessor`], [`keeper`]), but its verdict is an entry like any other, and one that comes too late, after
//! a renewal, is void. What was counted is noted in the log now and then, so a new leader goes on
//! where the old one stopped.
//!
//! A **watch** is a cursor into the history of all changes. It is told every change of its keys,
//! in order, a whole revision at a time; if it is so slow that history was compacted beyond its
//! cursor, it is told that and ends. It never skips, and it never holds up the store.
//!
//! # Where it is
//!
//! The present is a `BTreeMap` from key to version; the past is an undo log in front of it: a
//! queue of changes, each holding the version that it overwrote. A read of an older revision walks
//! back from the present; the versions of one key are chained, so that a read costs at most one
//! walk through history. A value is stored once, exactly sized, and shared by reference count with
//! every answer that carries it.
//!
//! A snapshot is a revision and a pin on the undo log: taking one costs nothing (3 µs with a
//! million keys), and its chunks read the keys as of that revision while entries are applied.
//!
//! On one core of a shared machine, values of 256 bytes, keys of 16, 10,000 keys: a put is applied
//! in 500 to 800 ns, a get in 300; a key takes 110 to 150 bytes above its own and its value's.
//! `tests/kv/figures.rs` measures it.
//!
//! # What it deliberately does differently from etcd
//!
//! - **History is bounded** where etcd keeps it until told otherwise: it is in memory here. The
//!   bounds, and the quota, are [`Limits`], part of the replicated state and changed only by
//!   [`Command::Configure`]: were they each node's own flags, one node would answer "compacted"
//!   where another answers, and the copies would differ.
//! - **A full store heals by itself.** Puts that grow it are refused; deletions, and puts that
//!   shrink it, go on; there is no alarm to disarm.
//! - **Time to live goes on across a change of leader**, where etcd begins again unless told to
//!   checkpoint. See [`lessor`] for what keeps that safe.
//! - A lease without a wished id gets one made from its entry's index, not a random one.
//! - `prev_kv` of an event is there for every change that history still has; etcd loses it for the
//!   oldest.
//! - Transactions may delete without an upper end and put an existing key "with the value it has":
//!   after the deletion there is none, so it is empty here. etcd's servers stop on it.
//!
//! # What takes long
//!
//! One entry is one step, and the loop does nothing else meanwhile: no heartbeat, no other client.
//! One entry that deletes a million keys (a range, or the end of a lease that holds as many) takes
//! most of a second on every node, reading as many in one range a fifth of one. A step longer than
//! the shortest election timeout (400 ms) makes the leader step down, so it costs an election; it
//! loses nothing. Limits on transactions do not help: delete and read by parts, with `limit` and the
//! last key as the next beginning, or with intervals of some ten thousand keys.
//!
//! A snapshot is made chunk by chunk, but restored in one step, at start or when a leader sends one:
//! a million keys take about half a second, and its bytes are in memory twice. Its node follows
//! then, and nobody waits for it.

mod check;
mod command;
mod core;
mod history;
pub mod keeper;
mod lease;
pub mod lessor;
mod range;
mod snapshot;
mod store;
mod txn;
pub mod types;
mod watch;

pub use check::TXN_OPS_MAX;
pub use keeper::Keeper;
pub use lease::LEASE_TTL_MAX_S;
pub use lessor::{KeepAlive, Lessor};
pub use store::Store;
pub use types::*;
pub use watch::{Batch, Compacted, Watcher};
