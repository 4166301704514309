//! Requests from JSON, as etcd's gateway reads them: names in either spelling, bytes as base64,
//! integers as numbers or strings, enums by name or number, unknown fields and whatever follows
//! the object ignored, `null` and an empty body the same as nothing.
//!
//! Stricter than etcd in two things, on purpose: a field given twice is refused (there the last
//! one wins), and so is the number of an enum value that does not exist (there it is ignored, and
//! one such number stops the server).

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};

use crate::api::body::Collected;
use crate::api::fail::Failure;
use crate::kv::types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KvError, PutRequest, RangeRequest,
    RequestOp, SortOrder, SortTarget, TxnRequest, WatchRequest,
};

/// As Go decodes: padded, and the bits after the last byte are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Reads one request. Its text is gone then: nobody who waits for an answer holds it.
pub(crate) fn request<T: DeserializeOwned + Default>(body: Collected) -> Result<T, Failure> {
    if body.bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let mut input = serde_json::Deserializer::from_slice(&body.bytes);
    Option::<T>::deserialize(&mut input)
        .map(Option::unwrap_or_default)
        .map_err(|error| Failure::malformed(error.to_string()))
}

/// Takes the first whole request off the front of `input`: `None` if it is not all there yet.
pub(crate) fn next_request<T>(input: &mut Vec<u8>) -> Option<Result<T, Failure>>
where
    T: for<'a> Deserialize<'a> + Default,
{
    let mut items = serde_json::Deserializer::from_slice(input).into_iter::<Option<T>>();
    let item = items.next()?;
    let used = items.byte_offset();
    match item {
        Ok(request) => {
            input.drain(..used);
            Some(Ok(request.unwrap_or_default()))
        }
        Err(error) if error.is_eof() => None,
        Err(error) => Some(Err(Failure::malformed(error.to_string()))),
    }
}

/// Accepts what the visitor accepts, from whatever the input holds.
struct Int;

impl Visitor<'_> for Int {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a 64-bit integer, as a number or a string")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
        i64::try_from(value).map_err(|_| E::custom(format_args!("{value} is above 2^63 - 1")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
        let text = text.trim();
        text.parse()
            .map_err(|error| E::custom(format_args!("\"{text}\" is not an integer: {error}")))
    }

    fn visit_unit<E: de::Error>(self) -> Result<i64, E> {
        Ok(0)
    }
}

fn int<'de, D: Deserializer<'de>>(input: D) -> Result<i64, D::Error> {
    input.deserialize_any(Int)
}

struct Base64;

impl Visitor<'_> for Base64 {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, as a base64 string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        // Text in lines is rare, and looking for their ends first costs more than decoding.
        BASE64
            .decode(text)
            .or_else(|_| BASE64.decode(text.replace(['\r', '\n'], "")))
            .map_err(|error| E::custom(format_args!("illegal base64 data: {error}")))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<u8>, E> {
        Ok(Vec::new())
    }
}

fn bytes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    input.deserialize_any(Base64)
}

fn flag<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

/// The values of an enum, in the order of their numbers.
trait Named: Copy + 'static {
    const KIND: &'static str;
    const VALUES: &'static [(&'static str, Self)];
}

/// Accepts the name or the number of a value.
struct Name<T>(std::marker::PhantomData<T>);

impl<T: Named> Visitor<'_> for Name<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name or a number of {}", T::KIND)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        let found = T::VALUES.iter().find(|(known, _)| *known == name);
        found.map(|&(_, value)| value).ok_or_else(|| {
            E::custom(format_args!("unknown value {name:?} for enum etcdserverpb.{}", T::KIND))
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let found = usize::try_from(number).ok().and_then(|at| T::VALUES.get(at));
        found.map(|&(_, value)| value).ok_or_else(|| {
            E::custom(format_args!("unknown value {number} for enum etcdserverpb.{}", T::KIND))
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Ok(T::VALUES[0].1)
    }
}

fn named<'de, D: Deserializer<'de>, T: Named>(input: D) -> Result<T, D::Error> {
    input.deserialize_any(Name(std::marker::PhantomData))
}

impl Named for SortOrder {
    const KIND: &'static str = "RangeRequest_SortOrder";
    const VALUES: &'static [(&'static str, Self)] =
        &[("NONE", Self::None), ("ASCEND", Self::Ascend), ("DESCEND", Self::Descend)];
}

impl Named for SortTarget {
    const KIND: &'static str = "RangeRequest_SortTarget";
    const VALUES: &'static [(&'static str, Self)] = &[
        ("KEY", Self::Key),
        ("VERSION", Self::Version),
        ("CREATE", Self::Create),
        ("MOD", Self::Mod),
        ("VALUE", Self::Value),
    ];
}

impl Named for CompareResult {
    const KIND: &'static str = "Compare_CompareResult";
    const VALUES: &'static [(&'static str, Self)] = &[
        ("EQUAL", Self::Equal),
        ("GREATER", Self::Greater),
        ("LESS", Self::Less),
        ("NOT_EQUAL", Self::NotEqual),
    ];
}

/// Which field a comparison looks at, before its operand is known.
#[derive(Debug, Clone, Copy, Default)]
enum Target {
    #[default]
    Version,
    Create,
    Mod,
    Value,
    Lease,
}

impl Named for Target {
    const KIND: &'static str = "Compare_CompareTarget";
    const VALUES: &'static [(&'static str, Self)] = &[
        ("VERSION", Self::Version),
        ("CREATE", Self::Create),
        ("MOD", Self::Mod),
        ("VALUE", Self::Value),
        ("LEASE", Self::Lease),
    ];
}

/// What a watch leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    NoPut,
    NoDelete,
}

impl Named for Filter {
    const KIND: &'static str = "WatchCreateRequest_FilterType";
    const VALUES: &'static [(&'static str, Self)] =
        &[("NOPUT", Self::NoPut), ("NODELETE", Self::NoDelete)];
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        named(input)
    }
}

/// `RangeRequest`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Range {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    #[serde(alias = "rangeEnd", deserialize_with = "bytes")]
    range_end: Vec<u8>,
    #[serde(deserialize_with = "int")]
    limit: i64,
    #[serde(deserialize_with = "int")]
    revision: i64,
    #[serde(alias = "sortOrder", deserialize_with = "named")]
    sort_order: SortOrder,
    #[serde(alias = "sortTarget", deserialize_with = "named")]
    sort_target: SortTarget,
    /// Whether this node's present state will do.
    #[serde(deserialize_with = "flag")]
    pub(crate) serializable: bool,
    #[serde(alias = "keysOnly", deserialize_with = "flag")]
    keys_only: bool,
    #[serde(alias = "countOnly", deserialize_with = "flag")]
    count_only: bool,
    #[serde(alias = "minModRevision", deserialize_with = "int")]
    min_mod_revision: i64,
    #[serde(alias = "maxModRevision", deserialize_with = "int")]
    max_mod_revision: i64,
    #[serde(alias = "minCreateRevision", deserialize_with = "int")]
    min_create_revision: i64,
    #[serde(alias = "maxCreateRevision", deserialize_with = "int")]
    max_create_revision: i64,
}

impl From<Range> for RangeRequest {
    fn from(range: Range) -> Self {
        Self {
            key: range.key,
            range_end: range.range_end,
            limit: range.limit,
            revision: range.revision,
            sort_order: range.sort_order,
            sort_target: range.sort_target,
            keys_only: range.keys_only,
            count_only: range.count_only,
            min_mod_revision: range.min_mod_revision,
            max_mod_revision: range.max_mod_revision,
            min_create_revision: range.min_create_revision,
            max_create_revision: range.max_create_revision,
        }
    }
}

/// `PutRequest`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Put {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    value: Vec<u8>,
    #[serde(deserialize_with = "int")]
    lease: i64,
    #[serde(alias = "prevKv", deserialize_with = "flag")]
    prev_kv: bool,
    #[serde(alias = "ignoreValue", deserialize_with = "flag")]
    ignore_value: bool,
    #[serde(alias = "ignoreLease", deserialize_with = "flag")]
    ignore_lease: bool,
}

impl From<Put> for PutRequest {
    fn from(put: Put) -> Self {
        Self {
            key: put.key,
            value: put.value,
            lease: put.lease,
            prev_kv: put.prev_kv,
            ignore_value: put.ignore_value,
            ignore_lease: put.ignore_lease,
        }
    }
}

/// `DeleteRangeRequest`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct DeleteRange {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    #[serde(alias = "rangeEnd", deserialize_with = "bytes")]
    range_end: Vec<u8>,
    #[serde(alias = "prevKv", deserialize_with = "flag")]
    prev_kv: bool,
}

impl From<DeleteRange> for DeleteRangeRequest {
    fn from(delete: DeleteRange) -> Self {
        Self { key: delete.key, range_end: delete.range_end, prev_kv: delete.prev_kv }
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    #[serde(alias = "rangeEnd", deserialize_with = "bytes")]
    range_end: Vec<u8>,
    #[serde(deserialize_with = "named")]
    result: CompareResult,
    #[serde(deserialize_with = "named")]
    target: Target,
    #[serde(deserialize_with = "int")]
    version: i64,
    #[serde(alias = "createRevision", deserialize_with = "int")]
    create_revision: i64,
    #[serde(alias = "modRevision", deserialize_with = "int")]
    mod_revision: i64,
    #[serde(deserialize_with = "bytes")]
    value: Vec<u8>,
    #[serde(deserialize_with = "int")]
    lease: i64,
}

impl From<Condition> for Compare {
    fn from(condition: Condition) -> Self {
        Self {
            key: condition.key,
            range_end: condition.range_end,
            result: condition.result,
            target: match condition.target {
                Target::Version => CompareTarget::Version(condition.version),
                Target::Create => CompareTarget::Create(condition.create_revision),
                Target::Mod => CompareTarget::Mod(condition.mod_revision),
                Target::Value => CompareTarget::Value(condition.value),
                Target::Lease => CompareTarget::Lease(condition.lease),
            },
        }
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Op {
    #[serde(alias = "requestRange")]
    request_range: Option<Range>,
    #[serde(alias = "requestPut")]
    request_put: Option<Put>,
    #[serde(alias = "requestDeleteRange")]
    request_delete_range: Option<DeleteRange>,
    #[serde(alias = "requestTxn")]
    request_txn: Option<Txn>,
}

impl TryFrom<Option<Op>> for RequestOp {
    type Error = Failure;

    fn try_from(op: Option<Op>) -> Result<Self, Failure> {
        let op = op.unwrap_or_default();
        let parts = (op.request_range, op.request_put, op.request_delete_range, op.request_txn);
        match parts {
            (Some(range), None, None, None) => Ok(Self::Range(range.into())),
            (None, Some(put), None, None) => Ok(Self::Put(put.into())),
            (None, None, Some(delete), None) => Ok(Self::DeleteRange(delete.into())),
            (None, None, None, Some(txn)) => Ok(Self::Txn(txn.try_into()?)),
            (None, None, None, None) => Err(KvError::KeyNotFound.into()),
            _ => Err(Failure::malformed("an operation of a transaction is only one thing")),
        }
    }
}

/// `TxnRequest`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Txn {
    #[serde(deserialize_with = "list")]
    compare: Vec<Option<Condition>>,
    #[serde(deserialize_with = "list")]
    success: Vec<Option<Op>>,
    #[serde(deserialize_with = "list")]
    failure: Vec<Option<Op>>,
}

impl TryFrom<Txn> for TxnRequest {
    type Error = Failure;

    fn try_from(txn: Txn) -> Result<Self, Failure> {
        let conditions = txn.compare.into_iter();
        Ok(Self {
            compare: conditions.map(|c| c.unwrap_or_default().into()).collect(),
            success: txn.success.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            failure: txn.failure.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

/// `CompactionRequest`; `physical` is ignored: compaction is done when it is answered.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Compaction {
    #[serde(deserialize_with = "int")]
    pub(crate) revision: i64,
}

/// `LeaseGrantRequest`, and every request that names a lease.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Lease {
    #[serde(rename = "ID", deserialize_with = "int")]
    pub(crate) id: i64,
    #[serde(rename = "TTL", deserialize_with = "int")]
    pub(crate) ttl: i64,
    #[serde(deserialize_with = "flag")]
    pub(crate) keys: bool,
}

/// `WatchCreateRequest`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct WatchCreate {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    #[serde(alias = "rangeEnd", deserialize_with = "bytes")]
    range_end: Vec<u8>,
    #[serde(alias = "startRevision", deserialize_with = "int")]
    start_revision: i64,
    #[serde(alias = "progressNotify", deserialize_with = "flag")]
    pub(crate) progress_notify: bool,
    #[serde(deserialize_with = "list")]
    filters: Vec<Filter>,
    #[serde(alias = "prevKv", deserialize_with = "flag")]
    prev_kv: bool,
    #[serde(alias = "watchId", deserialize_with = "int")]
    pub(crate) watch_id: i64,
}

impl From<WatchCreate> for WatchRequest {
    fn from(create: WatchCreate) -> Self {
        // etcd watches the first possible key if none is given.
        let key = if create.key.is_empty() { vec![0] } else { create.key };
        Self {
            key,
            range_end: create.range_end,
            start_revision: create.start_revision,
            prev_kv: create.prev_kv,
            no_put: create.filters.contains(&Filter::NoPut),
            no_delete: create.filters.contains(&Filter::NoDelete),
        }
    }
}

/// `WatchCancelRequest`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct WatchCancel {
    #[serde(alias = "watchId", deserialize_with = "int")]
    pub(crate) watch_id: i64,
}

/// `WatchRequest`: one of three; nothing at all is nothing to do.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Watch {
    #[serde(alias = "createRequest")]
    pub(crate) create_request: Option<WatchCreate>,
    #[serde(alias = "cancelRequest")]
    pub(crate) cancel_request: Option<WatchCancel>,
    #[serde(alias = "progressRequest")]
    pub(crate) progress_request: Option<serde::de::IgnoredAny>,
}
