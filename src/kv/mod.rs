//! A replicated map with revisions, transactions, leases and watches: etcd's v3 data model.

mod check;
mod command;
mod core;
pub mod countdown;
mod history;
mod lease;
mod range;
mod snapshot;
mod store;
mod txn;
pub mod types;
mod watch;

pub use check::TXN_OPS_MAX;
pub use countdown::{Countdown, KeepAlive};
pub use lease::LEASE_TTL_MAX_S;
pub use store::Store;
pub use types::*;
pub use watch::{Batch, Compacted, Watcher};
