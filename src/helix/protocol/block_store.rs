//! Decided blocks, read back from the journal: for peers that are behind, and for an application
//! that begins anew.
//!
//! Every block stays in the journal for ever. In memory there is one number for every
//! [`STRIDE`] of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Fatal;
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::proof::BlockProof;
use crate::helix::protocol::record::{RECORD, Record};
use crate::id::Height;
use crate::journal::{Journal, Lsn};

/// Heights between two places that are remembered.
const STRIDE: u64 = 32;

/// Bytes of a block and its proof besides the payload and the signatures, at most.
const HEAD: usize = 160;
/// Bytes of a COMMIT in a proof.
const COMMIT: usize = 72;

/// Where the records of a height begin, for some heights.
#[derive(Debug, Default)]
pub(crate) struct BlockStore {
    begins: BTreeMap<Height, Lsn>,
}

/// A decided block and its proof.
pub(crate) type Decided = (Rc<Block>, Rc<BlockProof>);

impl BlockStore {
    /// Notes that the records of `height` begin at `lsn`.
    pub(crate) fn begins(&mut self, height: Height, lsn: Lsn) {
        if self.begins.is_empty() || height.0.is_multiple_of(STRIDE) {
            self.begins.insert(height, lsn);
        }
    }

    /// Decided blocks from `height` on, in order and without a gap, as far as they are durable:
    /// about `bytes_max` in all, at least one if there is one.
    ///
    /// # Errors
    /// [`Fatal`] if the journal cannot be read.
    pub(crate) fn read(
        &self,
        journal: &Journal,
        height: Height,
        bytes_max: usize,
    ) -> Result<Vec<Decided>, Fatal> {
        let mut found: Vec<Decided> = Vec::new();
        let Some((_, &begin)) = self.begins.range(..=height).next_back() else {
            return Ok(found);
        };
        let (mut next, mut bytes) = (height, 0);
        let mut voted: BTreeMap<Hash, Rc<Block>> = BTreeMap::new();
        for lsn in (begin.0..).map(Lsn) {
            let Some(record) = journal.read(lsn)? else { break };
            match decode(record.lsn, record.kind, &record.payload)? {
                Record::Vote { hash, block: Some(block), .. } => {
                    voted.insert(hash, Rc::new(block));
                }
                Record::Decided { proof, block } => {
                    let block = block.map(Rc::new).or_else(|| voted.get(&proof.hash).cloned());
                    voted.clear();
                    if proof.height < next {
                        continue;
                    }
                    let Some(block) = block.filter(|_| proof.height == next) else { break };
                    bytes += HEAD + block.payload.len() + proof.commits.len() * COMMIT;
                    next = next.next();
                    found.push((block, Rc::new(proof)));
                    if bytes >= bytes_max {
                        break;
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Reads a record of the journal.
///
/// # Errors
/// [`Fatal`] if it is none of helix's.
pub(crate) fn decode(lsn: Lsn, kind: u8, payload: &[u8]) -> Result<Record, Fatal> {
    let damaged = |why: String| Fatal::Damaged {
        file: format!("the journal's record {}", lsn.0),
        offset: 0,
        why,
    };
    if kind < RECORD {
        return Err(Fatal::Mismatch(
            "the data directory belongs to a node of the raft engine, but this node was started \
             with the helix engine: use that engine, or an empty directory"
                .into(),
        ));
    }
    if kind != RECORD {
        return Err(damaged(format!("a record of an unknown kind {kind}")));
    }
    let record: Record = borsh::from_slice(payload).map_err(|error| damaged(error.to_string()))?;
    if !record.is_in_range() {
        return Err(damaged("a height or a view that nobody can have reached".into()));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helix::protocol::message::{HEIGHT_MAX, VIEW_MAX};
    use crate::id::View;

    #[test]
    fn a_record_of_a_height_or_view_that_nobody_can_have_reached_is_refused() {
        let is_read = |record: Record| decode(Lsn(1), RECORD, &record.encode()).is_ok();
        let view = |view| is_read(Record::View { height: Height(1), view });
        let decided = |height, view| {
            let proof = BlockProof { height, view, hash: Hash::NONE, commits: vec![], seed: None };
            is_read(Record::Decided { proof, block: None })
        };
        assert!(view(VIEW_MAX) && decided(HEIGHT_MAX, VIEW_MAX));
        assert!(!view(View(u64::MAX)));
        assert!(!decided(Height(u64::MAX), View(1)));
        assert!(!decided(Height(1), View(u64::MAX)));
    }
}
