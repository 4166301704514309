//! The words of the map: requests, responses, events and errors, as etcd's v3 interface has them.
//!
//! The fields mean what those of the same name mean in etcd's `rpc.proto`, so that the layer that
//! speaks to clients only renames. Revisions, versions, leases and limits are `i64` for the same
//! reason. An empty `range_end` names the single key; `[0]` means "from the key on"; anything else
//! is the half-open interval `[key, range_end)`.

use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of a key or a value in the store: exactly sized and shared, never a slice of a frame.
pub type Blob = Rc<[u8]>;

/// The outcome of one command.
pub type Outcome = Result<Response, KvError>;

/// One key as it was at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Blob,
    /// The value; empty in a deletion, and in a range that asked for keys only.
    pub value: Blob,
    /// The revision that created the key after it was last absent; 0 in a deletion.
    pub create_revision: i64,
    /// The revision of this change: a fencing token that grows with every change of the key.
    pub mod_revision: i64,
    /// How many times it was put since it was created; 0 in a deletion.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: i64,
}

/// By which field a range is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision that created the key.
    Create,
    /// The revision of the last change.
    Mod,
    /// The value.
    Value,
}

/// In which direction a range is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SortOrder {
    /// By key upwards; with another target, by that target upwards.
    #[default]
    None,
    /// Upwards.
    Ascend,
    /// Downwards.
    Descend,
}

/// Asks for the keys of an interval. Whether it must be linearizable is for the caller to arrange.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RangeRequest {
    /// The first key; must not be empty.
    pub key: Vec<u8>,
    /// The end of the interval; see the module's text.
    pub range_end: Vec<u8>,
    /// At most so many keys; 0 or less for all.
    pub limit: i64,
    /// As the store was at this revision; 0 or less for now.
    pub revision: i64,
    /// The direction.
    pub sort_order: SortOrder,
    /// The field.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Drop keys last changed before this revision; 0 for no bound. Filters do not change `count`.
    pub min_mod_revision: i64,
    /// Drop keys last changed after this revision; 0 for no bound.
    pub max_mod_revision: i64,
    /// Drop keys created before this revision; 0 for no bound.
    pub min_create_revision: i64,
    /// Drop keys created after this revision; 0 for no bound.
    pub max_create_revision: i64,
}

/// What a [`RangeRequest`] is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's revision, also when an older one was asked for.
    pub revision: i64,
    /// The keys that passed the filters, up to the limit.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many keys the interval holds, whatever the limit and the filters.
    pub count: i64,
}

/// Sets one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PutRequest {
    /// The key; must not be empty.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Vec<u8>,
    /// The lease to attach it to; 0 for none. An earlier lease of the key is detached.
    pub lease: i64,
    /// Answer with the key as it was before.
    pub prev_kv: bool,
    /// Keep the present value; `value` must be empty and the key must exist.
    pub ignore_value: bool,
    /// Keep the present lease; `lease` must be 0 and the key must exist.
    pub ignore_lease: bool,
}

/// What a [`PutRequest`] is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// The revision of this change: the fencing token.
    pub revision: i64,
    /// The key before, if asked for and present.
    pub prev_kv: Option<KeyValue>,
}

/// Deletes the keys of an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DeleteRangeRequest {
    /// The first key; must not be empty.
    pub key: Vec<u8>,
    /// The end of the interval; see the module's text.
    pub range_end: Vec<u8>,
    /// Answer with the keys as they were before.
    pub prev_kv: bool,
}

/// What a [`DeleteRangeRequest`] is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// The store's revision; unchanged if nothing was deleted.
    pub revision: i64,
    /// How many keys there were.
    pub deleted: i64,
    /// The keys before, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// What a [`Compare`] holds a key's present state against; the operand comes with it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CompareTarget {
    /// The version; 0 for an absent key.
    Version(i64),
    /// The revision that created it; 0 for an absent key.
    Create(i64),
    /// The revision of the last change; 0 for an absent key.
    Mod(i64),
    /// The value; an absent key fails every comparison of values.
    Value(Vec<u8>),
    /// The lease; 0 for none.
    Lease(i64),
}

/// How the key's state must relate to the operand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CompareResult {
    /// Equal.
    #[default]
    Equal,
    /// The key's is greater.
    Greater,
    /// The key's is less.
    Less,
    /// Not equal.
    NotEqual,
}

/// One condition of a transaction. Over an interval it must hold for every key in it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Compare {
    /// The key; must not be empty.
    pub key: Vec<u8>,
    /// The end of the interval; see the module's text.
    pub range_end: Vec<u8>,
    /// The relation.
    pub result: CompareResult,
    /// The field and the operand.
    pub target: CompareTarget,
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOp {
    /// Read.
    Range(RangeRequest),
    /// Write.
    Put(PutRequest),
    /// Delete.
    DeleteRange(DeleteRangeRequest),
    /// A transaction within.
    Txn(TxnRequest),
}

/// If all of `compare` hold, do `success`, else do `failure`: all of it at one revision.
///
/// The compares of nested transactions, too, see the state before the whole; the operations run in
/// order and see what earlier ones did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxnRequest {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// What to do if all hold.
    pub success: Vec<RequestOp>,
    /// What to do otherwise.
    pub failure: Vec<RequestOp>,
}

/// What one [`RequestOp`] is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseOp {
    /// To a read.
    Range(RangeResponse),
    /// To a write.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction within. etcd's inner header has no revision; this one has the outer's.
    Txn(TxnResponse),
}

/// What a [`TxnRequest`] is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// The store's revision afterwards.
    pub revision: i64,
    /// Whether all compares held.
    pub succeeded: bool,
    /// One answer for each operation of the branch taken.
    pub responses: Vec<ResponseOp>,
}

/// What the cluster keeps at most. Replicated, so that all nodes decide alike; see
/// [`Command::Configure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Limits {
    /// Revisions of history kept behind the present one.
    pub history_revisions: u64,
    /// Bytes of history: keys, values and overhead of versions that are no longer current.
    pub history_bytes: u64,
    /// Bytes of keys and values that are current, with 160 bytes for each key's place; puts that
    /// would grow the store beyond are refused, everything else goes on.
    pub quota_bytes: u64,
    /// Seconds; shorter leases are granted this time to live.
    pub lease_ttl_min_s: i64,
    /// Leases at a time; more are refused.
    pub leases_max: u64,
}

/// What is proposed to the log. [`encode`](Self::encode) makes the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answered with [`Response::Put`].
    Put(PutRequest),
    /// Answered with [`Response::DeleteRange`].
    DeleteRange(DeleteRangeRequest),
    /// Answered with [`Response::Txn`]. One that only reads needs no entry: see `Store::txn`.
    Txn(TxnRequest),
    /// Forget history below this revision. Answered with [`Response::Compact`].
    Compact {
        /// The oldest revision that stays readable.
        revision: i64,
    },
    /// Answered with [`Response::LeaseGrant`].
    LeaseGrant {
        /// The client's choice, or 0: the store picks one.
        id: i64,
        /// Seconds.
        ttl_s: i64,
    },
    /// Deletes the lease and its keys. Answered with [`Response::LeaseRevoke`].
    LeaseRevoke {
        /// Which.
        id: i64,
    },
    /// Gives a lease its full time again. Answered with [`Response::LeaseRenew`].
    LeaseRenew {
        /// Which.
        id: i64,
    },
    /// Of the leader's lessor: so much time is left. Answered with [`Response::Noted`].
    LeaseCheckpoint {
        /// The epoch that the proposer leads: void in an entry of any other, see
        /// [`lessor`](super::lessor).
        epoch: u64,
        /// What it found.
        checkpoints: Vec<LeaseCheckpoint>,
    },
    /// Of the leader's lessor: these are over, unless something happened to them since.
    /// Answered with [`Response::Noted`].
    LeaseExpire {
        /// The epoch that the proposer leads: void in an entry of any other.
        epoch: u64,
        /// Which, and in which state.
        leases: Vec<LeaseStamp>,
    },
    /// Sets the limits of the whole cluster. Answered with [`Response::Noted`].
    Configure(Limits),
}

/// Names a lease in the state the proposer saw it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseStamp {
    /// Which.
    pub id: i64,
    /// The number of the last entry that set its time; any later one makes this stamp void.
    pub generation: u64,
}

/// How much time the leader saw left for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseCheckpoint {
    /// Which, and in which state.
    pub lease: LeaseStamp,
    /// Seconds, rounded up.
    pub remaining_s: i64,
}

/// What a [`Command`] is answered with. Each carries the store's revision afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact {
        /// The store's revision.
        revision: i64,
    },
    /// To a grant.
    LeaseGrant {
        /// The store's revision.
        revision: i64,
        /// The lease.
        id: i64,
        /// The time to live that was granted, in seconds; at least the smallest allowed.
        ttl_s: i64,
    },
    /// To a revocation.
    LeaseRevoke {
        /// The store's revision.
        revision: i64,
    },
    /// To a renewal. A lease that is gone is an error here; etcd's keep-alive says `TTL` 0.
    LeaseRenew {
        /// The store's revision.
        revision: i64,
        /// The lease.
        id: i64,
        /// Its full time to live, in seconds.
        ttl_s: i64,
    },
    /// To a command of the system itself.
    Noted {
        /// The store's revision.
        revision: i64,
    },
}

/// What is known of one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Which.
    pub id: i64,
    /// The time to live that was granted, in seconds.
    pub granted_ttl_s: i64,
    /// The last time left that was agreed on, in seconds. The leader's lessor knows better.
    pub remaining_s: i64,
    /// The keys attached to it, in order, if asked for.
    pub keys: Vec<Blob>,
}

/// Asks for every change of an interval of keys, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// The first key; empty for the first possible one, `[0]`.
    pub key: Vec<u8>,
    /// The end of the interval; see the module's text.
    pub range_end: Vec<u8>,
    /// The first revision to be told of; 0 for the next. Below 0 the watch ends at once, as
    /// compacted.
    pub start_revision: i64,
    /// Tell with each event the key as it was before, where history still has it.
    pub prev_kv: bool,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletions out.
    pub no_delete: bool,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was put.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which kind.
    pub kind: EventKind,
    /// The key after the change; of a deletion only key and `mod_revision` say something.
    pub kv: KeyValue,
    /// The key before, if asked for and still in history.
    pub prev_kv: Option<KeyValue>,
}

/// Why a request had no effect. Text and code are etcd's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// An empty key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` of a key that does not exist; an operation that says
    /// nothing.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` and a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` and a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More than 128 operations or conditions, nested ones counted as etcd does.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// One key written twice in one transaction.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// The client named a sort that does not exist.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// History begins later.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The store is not there yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The quota is used up; deleting and reading go on.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// No such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// The client chose a lease that exists.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// More than 9,000,000,000 seconds.
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// As many leases as the limits allow; not an etcd error, its code is.
    #[error("etcdserver: too many requests")]
    TooManyLeases,
    /// The entry's bytes are no command of this version: they had no effect on any node.
    #[error("quorate: the entry is not a command of this version")]
    Unreadable,
}

impl KvError {
    /// The gRPC status code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption => 3,
            Self::LeaseNotFound => 5,
            Self::NoSpace | Self::TooManyLeases => 8,
            Self::LeaseExists => 9,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => 11,
            Self::Unreadable => 13,
        }
    }
}
