//! A replicated map with revisions, transactions, leases and watches: etcd's v3 data model.

pub mod types;
