//! Snapshots and log compaction (section 7): a node builds snapshots of its own state, receives
//! them from its leader, and removes the entries that a durable snapshot covers.
//!
//! One job runs beside the roles and does one thing at a time, so a node never builds and receives
//! a snapshot at once. The job only writes and syncs a file. The log and the state change in
//! [`Core`], between two events of the role, so they never change while an append is handled.

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

/// The head of a snapshot's file, before the state.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Meta {
    pub(crate) cluster: ClusterId,
    pub(crate) members: Vec<NodeId>,
    /// The last entry that the state includes.
    pub(crate) covers: Position,
}

impl Meta {
    fn new(core: &Core, covers: Position) -> Self {
        let members = core.config.members.iter().copied().collect();
        Self { cluster: core.config.cluster, members, covers }
    }

    /// Reads the head of a stored snapshot.
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

/// The snapshot that a follower receives; the job holds its file.
struct Incoming {
    covers: Position,
    len: u64,
    /// The number of bytes that have been written.
    have: u64,
    /// The piece that is written next.
    piece: Option<Bytes>,
}

/// The state of the snapshot job, and the requests to it.
#[derive(Default)]
pub(crate) struct Snapshots {
    wake: Notify,
    incoming: RefCell<Option<Incoming>>,
    /// Whether a piece has been written that the leader has not been told of.
    progressed: Cell<bool>,
    installed: RefCell<Option<Snapshot>>,
    /// Whether a snapshot of the node's own state is to be built.
    wanted: Cell<bool>,
    building: Cell<bool>,
    /// A checkpoint's record, and the position up to which the journal may release records when
    /// the checkpoint is durable.
    release: Cell<Option<(Lsn, Lsn)>>,
}

impl Snapshots {
    /// A received snapshot that is durable and not yet installed.
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

    /// Notes that a piece of the snapshot was written. Returns whether it was the last one.
    fn wrote(&self, covers: Position, len: usize) -> bool {
        let mut incoming = self.incoming.borrow_mut();
        let Some(incoming) = incoming.as_mut().filter(|i| i.covers == covers) else {
            return false;
        };
        incoming.have += len as u64;
        self.progressed.set(true);
        incoming.have >= incoming.len
    }

    /// Releases the journal records before a checkpoint, if the checkpoint is durable.
    pub(crate) fn release_synced(&self, journal: &Journal) {
        if let Some((checkpoint, below)) = self.release.get()
            && checkpoint <= journal.synced()
        {
            journal.release(below);
            self.release.set(None);
        }
    }

    /// Requests a snapshot if the log has grown enough since the last one.
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

/// The job: writes the received pieces and builds the requested snapshots, one at a time. It
/// returns only if it fails.
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

/// Writes a received piece. With the last piece, the snapshot becomes durable.
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
    /// Removes the entries that the durable snapshot up to `covers` replaces.
    fn compact(&self, covers: Position) {
        let needed = self.compact_log(covers);
        let lsn = self.checkpoint(covers);
        let below = needed.map_or(lsn, |needed| needed.min(lsn));
        self.snapshots.release.set(Some((lsn, below)));
    }

    /// Submits a checkpoint to the journal: the node's identity and its hard state.
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

    /// Takes in a piece of the leader's snapshot. Returns the number of bytes that the node has, if
    /// the leader is to be told at once; otherwise it is told when the piece has been written.
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

    /// The snapshot that the node receives and the number of bytes that it has, if the number has
    /// grown since the last call.
    pub(crate) fn snapshot_progress(&self) -> Option<(Position, u64)> {
        let incoming = self.snapshots.incoming.borrow();
        let incoming = incoming.as_ref()?;
        self.snapshots.progressed.take().then_some((incoming.covers, incoming.have))
    }

    /// Replaces this node's state by a durable snapshot from the leader.
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

/// Reads the whole state from a snapshot.
pub(crate) fn read_all(snapshot: &Snapshot) -> Result<Vec<u8>, Fatal> {
    let mut bytes = Vec::with_capacity(usize::try_from(snapshot.len()).unwrap_or(0));
    while (bytes.len() as u64) < snapshot.len() {
        bytes.extend_from_slice(&snapshot.read_at(bytes.len() as u64, 1 << 20)?);
    }
    Ok(bytes)
}
