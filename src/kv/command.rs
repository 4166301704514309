//! What is proposed, as bytes.
//!
//! A put is by far the commonest entry, so it has a layout of its own, three bytes above key and
//! value: one byte `1000 lipv` (lease follows, ignore lease, ignore value, previous wanted), the
//! length of the key (base 128, low bits first, shortest form), the lease if there is one (8
//! bytes), the key, and the value up to the end. All other commands are a byte from 1 on and their
//! fields as `borsh` writes them.
//!
//! Every byte string decodes to at most one command, and a command to one byte string.

use borsh::{BorshDeserialize, BorshSerialize};

use super::txn::PutView;
use super::types::{
    Command, Compare, DeleteRangeRequest, KvError, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

const PUT: u8 = 0x80;
const PUT_PREV_KV: u8 = 1;
const PUT_IGNORE_VALUE: u8 = 2;
const PUT_IGNORE_LEASE: u8 = 4;
const PUT_LEASE: u8 = 8;
const PUT_FLAGS: u8 = 15;

const DELETE_RANGE: u8 = 1;
const TXN: u8 = 2;
const COMPACT: u8 = 3;
const LEASE_GRANT: u8 = 4;
const LEASE_REVOKE: u8 = 5;
const LEASE_RENEW: u8 = 6;
const LEASE_CHECKPOINT: u8 = 7;
const LEASE_EXPIRE: u8 = 8;
const CONFIGURE: u8 = 9;

/// Transactions within transactions; no deeper one passes [`Command::check`], as each level must
/// have an operation to hold the next.
const TXN_DEPTH_MAX: usize = 1 + super::check::TXN_OPS_MAX;

/// A decoded entry; puts are not copied.
#[derive(Debug)]
pub(super) enum Decoded<'a> {
    Put(PutView<'a>),
    Other(Command),
}

impl Command {
    /// The bytes to propose.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Put(request) => encode_put(request),
            Self::DeleteRange(request) => tagged(DELETE_RANGE, request),
            Self::Txn(request) => {
                let mut bytes = vec![TXN];
                encode_txn(request, &mut bytes);
                bytes
            }
            Self::Compact { revision } => tagged(COMPACT, revision),
            Self::LeaseGrant { id, ttl_s } => tagged(LEASE_GRANT, &(*id, *ttl_s)),
            Self::LeaseRevoke { id } => tagged(LEASE_REVOKE, id),
            Self::LeaseRenew { id } => tagged(LEASE_RENEW, id),
            Self::LeaseCheckpoint { epoch, checkpoints } => {
                tagged(LEASE_CHECKPOINT, &(epoch, checkpoints))
            }
            Self::LeaseExpire { epoch, leases } => tagged(LEASE_EXPIRE, &(epoch, leases)),
            Self::Configure(limits) => tagged(CONFIGURE, limits),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`KvError::Unreadable`] for anything else.
    pub fn decode(payload: &[u8]) -> Result<Self, KvError> {
        Ok(match decode(payload).ok_or(KvError::Unreadable)? {
            Decoded::Put(put) => Self::Put(PutRequest {
                key: put.key.to_vec(),
                value: put.value.to_vec(),
                lease: put.lease,
                prev_kv: put.prev_kv,
                ignore_value: put.ignore_value,
                ignore_lease: put.ignore_lease,
            }),
            Decoded::Other(command) => command,
        })
    }
}

impl<'a> From<&'a PutRequest> for PutView<'a> {
    fn from(request: &'a PutRequest) -> Self {
        Self {
            key: &request.key,
            value: &request.value,
            lease: request.lease,
            prev_kv: request.prev_kv,
            ignore_value: request.ignore_value,
            ignore_lease: request.ignore_lease,
        }
    }
}

/// Reads an entry; `None` if it is no command.
pub(super) fn decode(payload: &[u8]) -> Option<Decoded<'_>> {
    let (&tag, mut rest) = payload.split_first()?;
    if tag & !PUT_FLAGS == PUT {
        return decode_put(tag, rest).map(Decoded::Put);
    }
    let rest = &mut rest;
    let command = match tag {
        DELETE_RANGE => Command::DeleteRange(field(rest)?),
        TXN => Command::Txn(decode_txn(rest, TXN_DEPTH_MAX)?),
        COMPACT => Command::Compact { revision: field(rest)? },
        LEASE_GRANT => {
            let (id, ttl_s) = field(rest)?;
            Command::LeaseGrant { id, ttl_s }
        }
        LEASE_REVOKE => Command::LeaseRevoke { id: field(rest)? },
        LEASE_RENEW => Command::LeaseRenew { id: field(rest)? },
        LEASE_CHECKPOINT => {
            let (epoch, checkpoints) = field(rest)?;
            Command::LeaseCheckpoint { epoch, checkpoints }
        }
        LEASE_EXPIRE => {
            let (epoch, leases) = field(rest)?;
            Command::LeaseExpire { epoch, leases }
        }
        CONFIGURE => Command::Configure(field(rest)?),
        _ => return None,
    };
    rest.is_empty().then_some(Decoded::Other(command))
}

fn field<T: BorshDeserialize>(bytes: &mut &[u8]) -> Option<T> {
    T::deserialize(bytes).ok()
}

fn write<T: BorshSerialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    value.serialize(bytes).expect("writing to memory does not fail");
}

fn tagged<T: BorshSerialize>(tag: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![tag];
    write(value, &mut bytes);
    bytes
}

fn encode_put(request: &PutRequest) -> Vec<u8> {
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    let mut bytes = Vec::with_capacity(16 + request.key.len() + request.value.len());
    bytes.push(
        PUT | flag(request.prev_kv, PUT_PREV_KV)
            | flag(request.ignore_value, PUT_IGNORE_VALUE)
            | flag(request.ignore_lease, PUT_IGNORE_LEASE)
            | flag(request.lease != 0, PUT_LEASE),
    );
    let mut len = request.key.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    if request.lease != 0 {
        bytes.extend_from_slice(&request.lease.to_le_bytes());
    }
    bytes.extend_from_slice(&request.key);
    bytes.extend_from_slice(&request.value);
    bytes
}

fn decode_put(tag: u8, mut rest: &[u8]) -> Option<PutView<'_>> {
    let len = decode_len(&mut rest)?;
    let mut lease = 0;
    if tag & PUT_LEASE != 0 {
        let (bytes, after) = rest.split_first_chunk()?;
        (lease, rest) = (i64::from_le_bytes(*bytes), after);
        if lease == 0 {
            return None;
        }
    }
    let (key, value) = rest.split_at_checked(len)?;
    Some(PutView {
        key,
        value,
        lease,
        prev_kv: tag & PUT_PREV_KV != 0,
        ignore_value: tag & PUT_IGNORE_VALUE != 0,
        ignore_lease: tag & PUT_IGNORE_LEASE != 0,
    })
}

/// A length below 2^35 in its shortest form.
fn decode_len(rest: &mut &[u8]) -> Option<usize> {
    let mut len = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        len |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let shortest = byte != 0 || shift == 0;
            return usize::try_from(len).ok().filter(|_| shortest);
        }
    }
    None
}

fn encode_txn(request: &TxnRequest, bytes: &mut Vec<u8>) {
    write(&request.compare, bytes);
    for ops in [&request.success, &request.failure] {
        write(&(ops.len() as u32), bytes);
        for op in ops {
            match op {
                RequestOp::Range(request) => write(&(0u8, request), bytes),
                RequestOp::Put(request) => write(&(1u8, request), bytes),
                RequestOp::DeleteRange(request) => write(&(2u8, request), bytes),
                RequestOp::Txn(request) => {
                    bytes.push(3);
                    encode_txn(request, bytes);
                }
            }
        }
    }
}

/// By hand, because the depth of what a stranger wrote must have a limit.
fn decode_txn(bytes: &mut &[u8], depth: usize) -> Option<TxnRequest> {
    let depth = depth.checked_sub(1)?;
    let compare: Vec<Compare> = field(bytes)?;
    let success = decode_ops(bytes, depth)?;
    let failure = decode_ops(bytes, depth)?;
    Some(TxnRequest { compare, success, failure })
}

fn decode_ops(bytes: &mut &[u8], depth: usize) -> Option<Vec<RequestOp>> {
    let count: u32 = field(bytes)?;
    let mut ops = Vec::new();
    for _ in 0..count {
        ops.push(match field::<u8>(bytes)? {
            0 => RequestOp::Range(field::<RangeRequest>(bytes)?),
            1 => RequestOp::Put(field::<PutRequest>(bytes)?),
            2 => RequestOp::DeleteRange(field::<DeleteRangeRequest>(bytes)?),
            3 => RequestOp::Txn(decode_txn(bytes, depth)?),
            _ => return None,
        });
    }
    Some(ops)
}
