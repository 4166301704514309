//! Where a node begins: from nothing, or from what its journal holds.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::env::Env;
use crate::error::Fatal;
use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::helix::protocol::block_store::{BlockStore, decode};
use crate::helix::protocol::config::Config;
use crate::helix::protocol::evidence::Evidence;
use crate::helix::protocol::proof::BlockProof;
use crate::helix::protocol::record::{Accepted, Locked, Record, VoteState};
use crate::id::Height;
use crate::journal::{self, Journal, Lsn, Options};

/// The end of the chain, and what follows from it for the next height.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    /// The last decided height; zero before the first.
    pub(crate) height: Height,
    /// Its block's hash.
    pub(crate) hash: Hash,
    /// The block and its proof, except before the first.
    pub(crate) decided: Option<(Rc<Block>, Rc<BlockProof>)>,
    /// The seed of the next height.
    pub(crate) seed: Seed,
    /// Whether this node may lead the first view of the next height: not if the block came by sync,
    /// for then it is hardly the newest.
    pub(crate) may_lead: bool,
}

impl Tip {
    pub(crate) fn genesis(config: &Config) -> Self {
        let seed = Seed::of(config.instance, Height(1), b"");
        Self { height: Height::ZERO, hash: Hash::NONE, decided: None, seed, may_lead: true }
    }

    /// The end of the chain with this block on it.
    pub(crate) fn after(
        config: &Config,
        block: Rc<Block>,
        proof: Rc<BlockProof>,
        may_lead: bool,
    ) -> Self {
        let signature = proof.seed.clone().unwrap_or_default();
        Self {
            height: proof.height,
            hash: proof.hash,
            seed: Seed::of(config.instance, proof.height.next(), &signature),
            decided: Some((block, proof)),
            may_lead,
        }
    }

    /// The last block.
    pub(crate) fn block(&self) -> Option<&Block> {
        self.decided.as_ref().map(|(block, _)| &**block)
    }
}

/// What was read back.
pub(crate) struct Recovered {
    pub(crate) tip: Tip,
    pub(crate) vote_state: VoteState,
    pub(crate) block_store: BlockStore,
    pub(crate) evidence: Vec<Evidence>,
    /// The journal has no first record yet.
    pub(crate) is_new: bool,
}

/// Opens the journal and reads what it holds.
pub(crate) fn recover(config: &Config, env: &Env) -> Result<(Journal, Recovered), Fatal> {
    let mut replay = Replay::new(config);
    let limits = &config.limits;
    let half = usize::try_from(limits.segment_bytes / 2).unwrap_or(usize::MAX);
    let defaults = Options::default();
    let options = Options {
        segment_bytes: limits.segment_bytes,
        record_bytes_max: limits.record_bytes_max(config.nodes.len()),
        batch_bytes_max: defaults.batch_bytes_max.min(half),
        slices: limits.slices,
        ..defaults
    };
    let journal =
        Journal::open(&env.disk, &env.clock, &env.rng, options, |record| replay.take(record))?;
    Ok((journal, replay.found))
}

struct Replay<'a> {
    config: &'a Config,
    found: Recovered,
    /// Blocks of the present height that were voted for.
    voted: BTreeMap<Hash, Rc<Block>>,
}

impl<'a> Replay<'a> {
    fn new(config: &'a Config) -> Self {
        let found = Recovered {
            tip: Tip::genesis(config),
            vote_state: VoteState::new(Height(1)),
            block_store: BlockStore::default(),
            evidence: Vec::new(),
            is_new: true,
        };
        Self { config, found, voted: BTreeMap::new() }
    }

    fn take(&mut self, record: journal::Record) -> Result<(), Fatal> {
        let lsn = record.lsn;
        let decoded = decode(lsn, record.kind, &record.payload)?;
        let found = &mut self.found;
        if found.is_new {
            found.is_new = false;
            found.block_store.begins(Height(1), lsn);
            return self.check(&decoded, lsn);
        }
        let vote_state = &mut found.vote_state;
        match decoded {
            Record::Identity { .. } => return Err(damaged(lsn, "a second identity")),
            Record::View { height, view }
                if height == vote_state.height && view > vote_state.view =>
            {
                vote_state.view = view;
            }
            Record::Vote { height, view, hash, proposal, block } if height == vote_state.height => {
                if let Some(block) = block {
                    self.voted.insert(hash, Rc::new(block));
                }
                let block = self.voted.get(&hash).cloned();
                let block = block.ok_or_else(|| damaged(lsn, "a vote for no known block"))?;
                vote_state.view = vote_state.view.max(view);
                vote_state.accepted = Some(Accepted { view, hash, proposal, block });
            }
            Record::Lock { height, proof } if height == vote_state.height => {
                let block = self.voted.get(&proof.hash).cloned();
                let block = block.ok_or_else(|| damaged(lsn, "a lock on no known block"))?;
                vote_state.locked = Some(Locked { proof, block });
            }
            Record::Decided { proof, block } => return self.decided(lsn, proof, block),
            Record::Evidence(evidence) => found.evidence.push(evidence),
            Record::View { .. } | Record::Vote { .. } | Record::Lock { .. } => {
                return Err(damaged(lsn, "a record about another height"));
            }
        }
        Ok(())
    }

    fn decided(&mut self, lsn: Lsn, proof: BlockProof, block: Option<Block>) -> Result<(), Fatal> {
        let block = block.map(Rc::new).or_else(|| self.voted.get(&proof.hash).cloned());
        let block = block.ok_or_else(|| damaged(lsn, "a decision for no known block"))?;
        if proof.height <= self.found.tip.height {
            return Err(damaged(lsn, "a height is decided twice"));
        }
        let next = proof.height.next();
        self.found.tip = Tip::after(self.config, block, Rc::new(proof), true);
        self.found.vote_state = VoteState::new(next);
        self.found.block_store.begins(next, Lsn(lsn.0 + 1));
        self.voted.clear();
        Ok(())
    }

    /// A data directory serves one node of one instance.
    fn check(&self, first: &Record, lsn: Lsn) -> Result<(), Fatal> {
        let Record::Identity { instance, node } = *first else {
            return Err(damaged(lsn, "the journal does not begin with whose it is"));
        };
        let mismatch = |what: &str, found: String, told: String| {
            Err(Fatal::Mismatch(format!(
                "the data directory belongs to {what} {found}, but this node was started as \
                 {what} {told}: use that node's own data directory, or an empty one"
            )))
        };
        if instance != self.config.instance {
            return mismatch("cluster", instance.to_string(), self.config.instance.to_string());
        }
        if node != self.config.node {
            return mismatch("node", node.to_string(), self.config.node.to_string());
        }
        Ok(())
    }
}

fn damaged(lsn: Lsn, why: &str) -> Fatal {
    Fatal::Damaged { file: format!("the journal's record {}", lsn.0), offset: 0, why: why.into() }
}
