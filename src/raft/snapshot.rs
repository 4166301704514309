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
use crate::journal::{Digest, Journal, Lsn, Snapshot, SnapshotError, SnapshotWriter};
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

/// Which snapshot is sent. Pieces of one transfer fit together, whoever sends them: leaders whose
/// snapshots have the same digest have the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) covers: Position,
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

/// One piece of a snapshot, as a leader sends it.
pub(crate) struct Piece {
    pub(crate) transfer: Transfer,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

/// The snapshot that a follower receives; the job holds its file.
struct Incoming {
    transfer: Transfer,
    /// Which file it goes into: a transfer that begins again is another one.
    file: u64,
    /// The number of bytes that have been taken in: the next piece begins there, so a piece that
    /// comes again is not taken again.
    taken: u64,
    /// The number of bytes that have been written.
    have: u64,
    /// The piece that is written next.
    piece: Option<Bytes>,
}

/// A piece on its way to the disk.
struct Writing {
    file: u64,
    transfer: Transfer,
    bytes: Bytes,
}

/// The file of a transfer.
struct Receiving {
    file: u64,
    writer: SnapshotWriter,
}

/// The state of the snapshot job, and the requests to it.
#[derive(Default)]
pub(crate) struct Snapshots {
    wake: Notify,
    incoming: RefCell<Option<Incoming>>,
    /// How many transfers have begun.
    begun: Cell<u64>,
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

    fn take_piece(&self) -> Option<Writing> {
        let mut incoming = self.incoming.borrow_mut();
        let Incoming { file, transfer, piece, .. } = incoming.as_mut()?;
        Some(Writing { file: *file, transfer: *transfer, bytes: piece.take()? })
    }

    /// Notes that a piece was written to a file. Returns whether it was the last one.
    fn wrote(&self, file: u64, len: usize) -> bool {
        let mut incoming = self.incoming.borrow_mut();
        let Some(incoming) = incoming.as_mut().filter(|incoming| incoming.file == file) else {
            return false;
        };
        incoming.have += len as u64;
        self.progressed.set(true);
        incoming.have >= incoming.transfer.len
    }

    /// Begins a transfer, if it is not the one that goes on.
    fn begin(&self, transfer: Transfer) {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.as_ref().is_none_or(|incoming| incoming.transfer != transfer) {
            let file = self.begun.get() + 1;
            self.begun.set(file);
            *incoming = Some(Incoming { transfer, file, taken: 0, have: 0, piece: None });
        }
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
    let mut receiving = None;
    loop {
        jobs.wake.notified().await;
        let done = if jobs.has_piece() {
            take_in(core, &mut receiving).await
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
                receiving = None;
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
async fn take_in(core: &Core, receiving: &mut Option<Receiving>) -> Result<(), SnapshotError> {
    let jobs = &core.snapshots;
    let Some(Writing { file, transfer, bytes }) = jobs.take_piece() else {
        return Ok(());
    };
    let mut writer = match receiving.take() {
        Some(receiving) if receiving.file == file => receiving.writer,
        other => {
            drop(other); // an unfinished file is removed before another is begun
            let meta = Meta::new(core, transfer.covers);
            let meta = borsh::to_vec(&meta).expect("memory does not refuse a write");
            core.journal.begin_snapshot(&meta)?
        }
    };
    writer.write(&bytes).await?;
    if !jobs.wrote(file, bytes.len()) {
        *receiving = Some(Receiving { file, writer });
    } else if writer.digest() == transfer.digest {
        jobs.installed.replace(Some(writer.finish().await?));
        jobs.incoming.take();
    } else {
        tracing::warn!(?transfer, "a received snapshot is not what was announced: asked for again");
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
        if piece.transfer.covers.index <= self.decided.commit() {
            jobs.incoming.take();
            return Some(INSTALLED);
        }
        jobs.begin(piece.transfer);
        let mut slot = jobs.incoming.borrow_mut();
        let incoming = slot.as_mut()?;
        let (len, left) = (piece.bytes.len() as u64, piece.transfer.len - incoming.taken);
        // A piece is in hand until it is written: then the leader is told.
        if piece.offset != incoming.taken || incoming.taken > incoming.have || len > left {
            return Some(incoming.have);
        }
        incoming.taken += len;
        incoming.piece = Some(piece.bytes);
        jobs.wake.notify();
        None
    }

    /// The snapshot that the node receives and the number of bytes that it has, if the number has
    /// grown since the last call.
    pub(crate) fn snapshot_progress(&self) -> Option<(Position, u64)> {
        let incoming = self.snapshots.incoming.borrow();
        let incoming = incoming.as_ref()?;
        self.snapshots.progressed.take().then_some((incoming.transfer.covers, incoming.have))
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
