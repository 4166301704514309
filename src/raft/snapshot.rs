//! Snapshots at node scope: building one of the own state, taking one in from the leader, and
//! forgetting what a snapshot covers (section 7).
//!
//! One job runs at a time, beside the roles: a build and an install never meet. The job only
//! writes and syncs a file; what changes the log or the state happens in [`Core`], between two
//! events of the role, so an install never races an append.

use std::cell::{Cell, RefCell};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use futures_lite::future::yield_now;

use crate::error::Fatal;
use crate::id::{ClusterId, NodeId};
use crate::journal::{Journal, Lsn, Snapshot, SnapshotError, SnapshotWriter};
use crate::raft::core::Core;
use crate::raft::event::Event as Told;
use crate::raft::message::{INSTALLED, Position};
use crate::raft::record::{Checkpoint, RECORD_CHECKPOINT};
use crate::scope::notify::Notify;

/// What is written before a snapshot's state.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Meta {
    pub(crate) cluster: ClusterId,
    pub(crate) members: Vec<NodeId>,
    /// The last entry whose effect is in the state.
    pub(crate) covers: Position,
}

impl Meta {
    fn new(core: &Core, covers: Position) -> Self {
        let members = core.config.members.iter().copied().collect();
        Self { cluster: core.config.cluster, members, covers }
    }

    /// The meta of a stored snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Result<Self, Fatal> {
        borsh::from_slice(snapshot.meta()).map_err(|error| Fatal::Damaged {
            file: "the snapshot's head".into(),
            offset: 0,
            why: error.to_string(),
        })
    }
}

/// One piece of a snapshot, as a leader sends it.
pub(crate) struct Piece {
    pub(crate) covers: Position,
    pub(crate) len: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

/// A snapshot that is coming in, as the follower sees it; the job holds the file.
struct Incoming {
    covers: Position,
    len: u64,
    /// How much has been written.
    have: u64,
    /// The piece to be written next.
    piece: Option<Bytes>,
}

/// The state of the job and its orders.
#[derive(Default)]
pub(crate) struct Snapshots {
    wake: Notify,
    incoming: RefCell<Option<Incoming>>,
    /// A piece has been written and the leader was not told yet.
    progressed: Cell<bool>,
    installed: RefCell<Option<Snapshot>>,
    /// The state is to be written.
    wanted: Cell<bool>,
    building: Cell<bool>,
    /// A checkpoint, and what may be released when it is durable.
    release: Cell<Option<(Lsn, Lsn)>>,
}

impl Snapshots {
    /// A snapshot that the role has not been told of yet.
    pub(crate) fn take_installed(&self) -> Option<Snapshot> {
        self.installed.take()
    }

    fn has_piece(&self) -> bool {
        self.incoming.borrow().as_ref().is_some_and(|incoming| incoming.piece.is_some())
    }

    fn take_piece(&self) -> Option<(Position, u64, Bytes)> {
        let mut incoming = self.incoming.borrow_mut();
        let incoming = incoming.as_mut()?;
        Some((incoming.covers, incoming.have, incoming.piece.take()?))
    }

    /// Notes that a piece of that snapshot was written; whether it was the last.
    fn wrote(&self, covers: Position, len: usize) -> bool {
        let mut incoming = self.incoming.borrow_mut();
        let Some(incoming) = incoming.as_mut().filter(|i| i.covers == covers) else {
            return false;
        };
        incoming.have += len as u64;
        self.progressed.set(true);
        incoming.have >= incoming.len
    }

    /// Releases the records that a durable checkpoint made superfluous.
    pub(crate) fn release_synced(&self, journal: &Journal) {
        if let Some((checkpoint, below)) = self.release.get()
            && checkpoint <= journal.synced()
        {
            journal.release(below);
            self.release.set(None);
        }
    }

    /// Orders a snapshot if the log has grown long enough since the last one.
    pub(crate) fn consider(&self, core: &Core) {
        if self.building.get() || self.wanted.get() {
            return;
        }
        let limits = &core.config.limits;
        let last_len = core.journal.snapshot().map_or(0, |snapshot| snapshot.len());
        let due = limits.snapshot_log_bytes.max(last_len.saturating_mul(limits.snapshot_factor));
        let log = core.log();
        if log.bytes_since_snapshot() >= due && core.decided.applied() > log.snapshot().index {
            self.wanted.set(true);
            self.wake.notify();
        }
    }
}

/// The job: writes what comes in and builds what is wanted, one at a time; returns only on a
/// failure.
pub(crate) async fn run(core: &Core) -> Fatal {
    let jobs = &core.snapshots;
    let mut writer = None;
    loop {
        jobs.wake.notified().await;
        let done = if jobs.has_piece() {
            take_in(core, &mut writer).await
        } else if jobs.wanted.take() && jobs.installed.borrow().is_none() {
            build(core).await
        } else {
            Ok(())
        };
        jobs.building.set(false);
        match done {
            Ok(()) => {}
            Err(SnapshotError::Full) => {
                tracing::warn!("no room for a snapshot: tried again later");
                writer = None;
                jobs.incoming.take();
            }
            Err(SnapshotError::Fatal(fatal)) => return fatal,
        }
    }
}

async fn build(core: &Core) -> Result<(), SnapshotError> {
    core.snapshots.building.set(true);
    let index = core.decided.applied();
    let term = core.log().term_at(index).expect("what is applied is in the log");
    let covers = Position { term, index };
    let chunks = core.machine.borrow().snapshot();
    let meta = borsh::to_vec(&Meta::new(core, covers)).expect("memory does not refuse a write");
    let mut writer = core.journal.begin_snapshot(&meta)?;
    for chunk in chunks {
        writer.write(&chunk).await?;
        yield_now().await;
    }
    writer.finish().await?;
    core.compact(covers);
    core.observer.tell(|| Told::Compacted { index, term });
    Ok(())
}

/// Writes the piece that has arrived; with the last one, the snapshot becomes durable.
async fn take_in(
    core: &Core,
    writer: &mut Option<(Position, SnapshotWriter)>,
) -> Result<(), SnapshotError> {
    let jobs = &core.snapshots;
    let Some((covers, offset, bytes)) = jobs.take_piece() else {
        return Ok(());
    };
    if offset == 0 || writer.as_ref().is_none_or(|(of, _)| *of != covers) {
        *writer = None; // an unfinished file is removed before another is begun
        let meta = borsh::to_vec(&Meta::new(core, covers)).expect("memory does not refuse a write");
        *writer = Some((covers, core.journal.begin_snapshot(&meta)?));
    }
    if let Some((_, file)) = writer.as_mut() {
        file.write(&bytes).await?;
    }
    if jobs.wrote(covers, bytes.len()) {
        if let Some((_, file)) = writer.take() {
            jobs.installed.replace(Some(file.finish().await?));
        }
        jobs.incoming.take();
    }
    core.mailbox.piece_is_written();
    core.wake.notify();
    Ok(())
}

impl Core {
    /// Forgets what the durable snapshot of `covers` covers.
    fn compact(&self, covers: Position) {
        let needed = self.compact_log(covers);
        let lsn = self.checkpoint(covers);
        let below = needed.map_or(lsn, |needed| needed.min(lsn));
        self.snapshots.release.set(Some((lsn, below)));
    }

    /// Writes down what the node is, and its hard state.
    pub(crate) fn checkpoint(&self, snapshot: Position) -> Lsn {
        let checkpoint = Checkpoint {
            cluster: self.config.cluster,
            node: self.me(),
            members: self.config.members.iter().copied().collect(),
            hard_state: self.hard_state(),
            snapshot,
        };
        let record = borsh::to_vec(&checkpoint).expect("memory does not refuse a write");
        self.journal.submit(RECORD_CHECKPOINT, &[&record])
    }

    /// Takes in a piece of the leader's snapshot. Returns how much of it there is, if the leader
    /// should be told at once; else it is told when the piece has been written.
    pub(crate) fn receive_piece(&self, piece: Piece) -> Option<u64> {
        let jobs = &self.snapshots;
        let mut slot = jobs.incoming.borrow_mut();
        if piece.covers.index <= self.decided.commit() {
            *slot = None;
            return Some(INSTALLED);
        }
        if slot.as_ref().is_none_or(|incoming| incoming.covers != piece.covers) {
            *slot = Some(Incoming { covers: piece.covers, len: piece.len, have: 0, piece: None });
        }
        let incoming = slot.as_mut()?;
        let ends_within = piece.bytes.len() as u64 <= incoming.len.saturating_sub(incoming.have);
        if piece.offset != incoming.have || incoming.piece.is_some() || !ends_within {
            return Some(incoming.have);
        }
        incoming.piece = Some(piece.bytes);
        jobs.wake.notify();
        None
    }

    /// How much there is of which incoming snapshot, if that has grown since it was last asked.
    pub(crate) fn snapshot_progress(&self) -> Option<(Position, u64)> {
        let incoming = self.snapshots.incoming.borrow();
        let incoming = incoming.as_ref()?;
        self.snapshots.progressed.take().then_some((incoming.covers, incoming.have))
    }

    /// Makes a durable snapshot of the leader this node's state.
    ///
    /// # Errors
    /// [`Fatal`] if it cannot be read back or the state machine refuses it.
    pub(crate) fn install(&self, snapshot: Snapshot) -> Result<(), Fatal> {
        let covers = Meta::of(&snapshot)?.covers;
        let Position { index, term } = covers;
        if index <= self.decided.commit() {
            return Ok(());
        }
        self.snapshots.incoming.take();
        restore(self, &snapshot)?;
        self.follow_snapshot(covers);
        self.compact(covers);
        self.observer.tell(|| Told::Installed { index, term });
        self.commit_to(index);
        self.machine.borrow_mut().skipped_to(index, term);
        self.reads.applied(index);
        Ok(())
    }
}

fn restore(core: &Core, snapshot: &Snapshot) -> Result<(), Fatal> {
    let bytes = read_all(snapshot)?;
    core.machine.borrow_mut().restore(&bytes).map_err(Fatal::Restore)
}

/// The whole of a snapshot's state.
pub(crate) fn read_all(snapshot: &Snapshot) -> Result<Vec<u8>, Fatal> {
    let mut bytes = Vec::with_capacity(usize::try_from(snapshot.len()).unwrap_or(0));
    while (bytes.len() as u64) < snapshot.len() {
        bytes.extend_from_slice(&snapshot.read_at(bytes.len() as u64, 1 << 20)?);
    }
    Ok(bytes)
}
