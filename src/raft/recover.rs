//! The start of a node: its hard state, log and state machine are restored from the journal and the
//! latest snapshot (figure 2, persistent state; section 7). A new node begins with an empty log.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::Config;
use crate::env::Env;
use crate::error::Fatal;
use crate::id::{Index, Term};
use crate::journal::{Journal, Options, Record};
use crate::raft::core::{Core, Recovered};
use crate::raft::event::Event as Told;
use crate::raft::log::Log;
use crate::raft::machine::AnyMachine;
use crate::raft::message::Position;
use crate::raft::record::{
    Checkpoint, RECORD_CHECKPOINT, RECORD_ENTRIES, RECORD_HARD_STATE, RECORD_OF_HELIX,
};
use crate::raft::rules::HardState;
use crate::raft::snapshot::{Meta, read_all};

/// The state that the journal records read so far give.
struct Replay<'a> {
    config: &'a Config,
    log: Log,
    /// Where the furthest snapshot ends that a checkpoint names: once it was on the disk.
    claimed: Option<Position>,
    hard_state: HardState,
}

/// Opens the journal and restores the node's state from it and from the latest snapshot.
pub(crate) fn recover<H: AnyMachine>(
    config: &Config,
    env: &Env,
    machine: &Rc<RefCell<H>>,
) -> Result<(Journal, Recovered), Fatal> {
    let limits = &config.limits;
    let mut replay = Replay {
        config,
        log: Log::empty(limits.cache_bytes_max),
        claimed: None,
        hard_state: HardState::default(),
    };
    let defaults = Options::default();
    let half = usize::try_from(limits.segment_bytes / 2).unwrap_or(usize::MAX);
    let options = Options {
        segment_bytes: limits.segment_bytes,
        record_bytes_max: limits.entries_bytes_max() + (4 << 10),
        batch_bytes_max: defaults.batch_bytes_max.min(half),
        slices: limits.slices,
        ..defaults
    };
    let journal =
        Journal::open(&env.disk, &env.clock, &env.rng, options, |record| replay.take(record))?;
    let mut log = replay.log;
    let claimed = replay.claimed.unwrap_or_default();
    let covers = restore(config, &journal, machine)?;
    if covers.index < claimed.index {
        let why = format!("the journal expects a snapshot up to entry {}", claimed.index);
        return Err(damaged("the snapshot", &why));
    }
    if covers.index > Index::ZERO {
        log.follow(covers);
        log.compact(covers, limits.snapshot_keep_entries);
    }
    if log.first() > covers.index.next() {
        let why = format!(
            "its entries begin at {}, but the snapshot ends at {}",
            log.first(),
            covers.index
        );
        return Err(damaged("the journal", &why));
    }
    let recovered = Recovered {
        log,
        hard_state: replay.hard_state,
        applied: covers.index,
        checkpoint_due: replay.claimed.is_none() || covers.index > claimed.index,
    };
    Ok((journal, recovered))
}

fn damaged(file: &str, why: &str) -> Fatal {
    Fatal::Damaged { file: file.into(), offset: 0, why: why.into() }
}

impl Replay<'_> {
    fn take(&mut self, record: Record) -> Result<(), Fatal> {
        let name = || format!("the journal's record {}", record.lsn.0);
        let read = |error: std::io::Error| damaged(&name(), &error.to_string());
        let reached = |term: Term, index: Index| match (Position { term, index }).is_in_range() {
            true => Ok(()),
            false => Err(damaged(&name(), "a term or an index that nobody can have reached")),
        };
        match record.kind {
            RECORD_ENTRIES => {
                let replayed = self.log.replay(record.lsn, record.payload.clone());
                replayed.map_err(|why| damaged(&name(), &why))?;
                self.log.trim_cache(self.log.last().index);
            }
            RECORD_HARD_STATE => {
                self.hard_state = borsh::from_slice(&record.payload).map_err(read)?;
                reached(self.hard_state.term, Index::ZERO)?;
            }
            RECORD_CHECKPOINT => {
                let checkpoint: Checkpoint = borsh::from_slice(&record.payload).map_err(read)?;
                self.check(&checkpoint)?;
                reached(checkpoint.hard_state.term, Index::ZERO)?;
                reached(checkpoint.snapshot.term, checkpoint.snapshot.index)?;
                self.hard_state = checkpoint.hard_state;
                self.log.follow(checkpoint.snapshot);
                if self.claimed.is_none_or(|known| known.index <= checkpoint.snapshot.index) {
                    self.claimed = Some(checkpoint.snapshot);
                }
            }
            RECORD_OF_HELIX => {
                return Err(Fatal::Mismatch(
                    "the data directory belongs to a node of the helix engine, but this node was \
                     started with the raft engine: use that engine, or an empty directory"
                        .into(),
                ));
            }
            kind => {
                return Err(damaged(&name(), &format!("a record of an unknown kind {kind}")));
            }
        }
        Ok(())
    }

    /// Refuses a data directory of another node, cluster or membership.
    fn check(&self, found: &Checkpoint) -> Result<(), Fatal> {
        let config = self.config;
        let members: Vec<_> = config.members.iter().copied().collect();
        let mismatch = |what: &str, found: String, told: String| {
            Err(Fatal::Mismatch(format!(
                "the data directory belongs to {what} {found}, but this node was started as \
                 {what} {told}: use that node's own data directory, or an empty one"
            )))
        };
        if found.cluster != config.cluster {
            return mismatch("cluster", found.cluster.to_string(), config.cluster.to_string());
        }
        if found.node != config.node {
            return mismatch("node", found.node.to_string(), config.node.to_string());
        }
        if found.members != members {
            let list = |ids: &[_]| format!("{ids:?}");
            return mismatch("a cluster of", list(&found.members), list(&members));
        }
        Ok(())
    }
}

fn restore<H: AnyMachine>(
    config: &Config,
    journal: &Journal,
    machine: &Rc<RefCell<H>>,
) -> Result<Position, Fatal> {
    let Some(snapshot) = journal.snapshot() else {
        return Ok(Position::default());
    };
    let meta = Meta::of(&snapshot)?;
    if meta.cluster != config.cluster {
        return Err(Fatal::Mismatch(format!(
            "the snapshot in the data directory is of cluster {}, this node is of {}",
            meta.cluster, config.cluster
        )));
    }
    if !meta.covers.is_in_range() {
        let why = "it ends at a term or an index that nobody can have reached";
        return Err(damaged("the snapshot", why));
    }
    machine.borrow_mut().restore(&read_all(&snapshot)?).map_err(Fatal::Restore)?;
    Ok(meta.covers)
}

/// Writes a checkpoint if the journal lacks one, and reports the restored state to the observer.
pub(crate) fn begin(core: &Core, checkpoint_due: bool) {
    if checkpoint_due {
        let snapshot = core.log().snapshot();
        core.checkpoint(snapshot);
    }
    let HardState { term, vote } = core.hard_state();
    let (snapshot, durable) = {
        let log = core.log();
        (log.snapshot().index, log.durable())
    };
    core.observer.tell(|| Told::Started { term, vote, snapshot, durable });
    if core.observer.is_some() {
        tell_log(core, snapshot.next());
    }
}

/// Reports the log's entries from `index` on to the observer.
fn tell_log(core: &Core, mut index: Index) {
    let log = core.log();
    // An entry that cannot be read ends the report only: the node stops when it needs the entry.
    while let Ok(Some(entries)) = log.read(&core.journal, index, 64 << 10)
        && !entries.is_empty()
    {
        for entry in entries.iter() {
            let (term, digest) = (entry.term, entry.digest());
            core.observer.tell(|| Told::Appended { index: entry.index, term, digest });
            index = entry.index.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ClusterId, NodeId};
    use crate::journal::Lsn;

    fn at(term: u64, index: u64) -> Position {
        Position { term: Term(term), index: Index(index) }
    }

    fn replay(config: &Config) -> Replay<'_> {
        let log = Log::empty(1 << 20);
        Replay { config, log, claimed: None, hard_state: HardState::default() }
    }

    fn checkpoint(config: &Config, hard_state: HardState, snapshot: Position) -> Record {
        let Config { cluster, node, .. } = *config;
        let checkpoint = Checkpoint { cluster, node, members: vec![node], hard_state, snapshot };
        let payload = borsh::to_vec(&checkpoint).expect("memory takes a write").into();
        Record { lsn: Lsn(1), kind: RECORD_CHECKPOINT, payload }
    }

    #[test]
    fn a_snapshot_that_was_there_once_is_expected_whatever_a_later_checkpoint_says() {
        let config = Config::new(NodeId(1), ClusterId(1), [NodeId(1)]).expect("a configuration");
        let mut replay = replay(&config);
        for snapshot in [at(2, 7), at(0, 0), at(3, 5)] {
            let taken = replay.take(checkpoint(&config, HardState::default(), snapshot));
            assert!(taken.is_ok());
        }
        assert_eq!(replay.claimed, Some(at(2, 7)));
    }

    #[test]
    fn a_record_of_what_nobody_can_have_reached_is_refused() {
        let config = Config::new(NodeId(1), ClusterId(1), [NodeId(1)]).expect("a configuration");
        let taken = |term, snapshot| {
            let hard_state = HardState { term: Term(term), vote: None };
            let payload = borsh::to_vec(&hard_state).expect("memory takes a write").into();
            let mut replay = replay(&config);
            let record = Record { lsn: Lsn(1), kind: RECORD_HARD_STATE, payload };
            [record, checkpoint(&config, hard_state, snapshot)]
                .map(|record| replay.take(record).is_ok())
        };
        assert_eq!(taken(3, at(2, 7)), [true, true]);
        assert_eq!(taken(u64::MAX, at(2, 7)), [false, false]);
        assert_eq!(taken(3, at(u64::MAX, 7)), [true, false]);
        assert_eq!(taken(3, at(2, u64::MAX)), [true, false]);
    }
}
