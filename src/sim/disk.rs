//! A disk that can lose power: what was written and not synced is there until then, and afterwards
//! in any legal part.
//!
//! Each file has two contents: what a reader sees, and what the medium holds. A write changes the
//! first and waits; a sync of the file carries what waits over to the second. Names are the same:
//! creating, renaming and removing wait for a sync of the directory. A power cut keeps some of what
//! waits, each *sector* of 512 bytes and each change of a name by itself, in their order, and loses
//! the rest. A killed process loses nothing of it.
//!
//! On top of that: syncs take (virtual) time and can stall, one write or sync can fail, bits flip,
//! files are cut short, room runs out, everything is wiped. A failed sync is as bad as real ones:
//! the data stays readable and counts as clean, but never reaches the medium.

mod handle;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::env::{Clock, Disk, Rng, Time};
use crate::sim::draws::{Costs, Meter};

use handle::Handle;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A simulated disk: the medium and its troubles. It outlives the node that uses it.
#[derive(Clone)]
pub struct SimDisk(Rc<Shared>);

struct Shared {
    clock: Clock,
    rng: Rng,
    state: RefCell<State>,
    troubles: RefCell<Troubles>,
    /// Handles of an earlier life are dead.
    life: Cell<u64>,
    operations: Cell<u64>,
    meter: RefCell<(Meter, Costs)>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Rc<RefCell<Inode>>>,
    /// Names as seen.
    names: BTreeMap<String, u64>,
    /// Names as the medium holds them.
    durable: BTreeMap<String, u64>,
    /// Changes of names that are not durable.
    waiting: Vec<NameChange>,
    /// How many changes of names have ceased to wait.
    carried: u64,
    next_inode: u64,
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that are not durable: a number, the place, the bytes.
    waiting: Vec<(u64, u64, Vec<u8>)>,
    next_write: u64,
}

#[derive(Clone)]
enum NameChange {
    Linked(String, u64),
    Renamed(String, String, u64),
    Removed(String, u64),
}

#[derive(Default)]
struct Troubles {
    latency: (Duration, Duration),
    stalled_until: Time,
    quota: Option<u64>,
    size: Option<u64>,
    write_fails: bool,
    sync_fails: bool,
    off_at: Option<u64>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(clock: Clock, rng: Rng) -> Self {
        Self(Rc::new(Shared {
            clock,
            rng,
            state: RefCell::default(),
            troubles: RefCell::default(),
            life: Cell::new(0),
            operations: Cell::new(0),
            meter: RefCell::new((Meter::default(), Costs::FREE)),
        }))
    }

    /// The handle for the present life of the node. It is dead after [`power_cut`](Self::power_cut),
    /// [`kill`](Self::kill) or [`wipe`](Self::wipe): what fails at once then fails, what is waited
    /// for never ends.
    #[must_use]
    pub fn disk(&self) -> Disk {
        Disk::with(Rc::new(Handle { shared: self.0.clone(), life: self.0.life.get() }))
    }

    /// Cuts the power: any part of what was not synced is lost, by chance.
    pub fn power_cut(&self) {
        // All, nothing, or each with the same odds: the extremes find more than their share.
        let odds = [0, 500, 900, 100, 1000][self.0.rng.below(5)];
        self.power_cut_keeping(|_| self.0.rng.chance(odds));
    }

    /// Cuts the power and keeps of what was not synced, in order, what `keep` says for each
    /// number from zero to [`unsynced`](Self::unsynced).
    pub fn power_cut_keeping(&self, mut keep: impl FnMut(usize) -> bool) {
        self.begin_life();
        let mut number = 0;
        let mut kept = || {
            number += 1;
            keep(number - 1)
        };
        let state = &mut *self.0.state.borrow_mut();
        for inode in state.inodes.values() {
            let inode = &mut *inode.borrow_mut();
            for (_, offset, data) in std::mem::take(&mut inode.waiting) {
                for (offset, sector) in split(offset, &data) {
                    if kept() {
                        put(&mut inode.durable, offset, sector);
                    }
                }
            }
            inode.seen.clone_from(&inode.durable);
        }
        state.carried = state.changes();
        for change in std::mem::take(&mut state.waiting) {
            if kept() {
                change.apply(&mut state.durable);
            }
        }
        state.names.clone_from(&state.durable);
        state.collect();
    }

    /// How many sectors and changes of names a power cut could lose now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let state = self.0.state.borrow();
        let sectors = |inode: &Rc<RefCell<Inode>>| -> usize {
            let inode = inode.borrow();
            inode.waiting.iter().map(|(_, at, data)| split(*at, data).count()).sum()
        };
        state.inodes.values().map(sectors).sum::<usize>() + state.waiting.len()
    }

    /// Ends the life of the process, not of the machine: what was written is there.
    pub fn kill(&self) {
        self.begin_life();
    }

    /// Loses everything, as a replaced disk does.
    pub fn wipe(&self) {
        self.begin_life();
        self.0.state.replace(State::default());
    }

    fn begin_life(&self) {
        self.0.life.set(self.0.life.get() + 1);
        self.0.operations.set(0);
        self.0.troubles.borrow_mut().off_at = None;
    }

    /// Lets the power fail by itself: `operations` changes and syncs still happen in this life,
    /// then nothing does, until [`power_cut`](Self::power_cut) says what was kept.
    pub fn power_off_after(&self, operations: u64) {
        self.0.troubles.borrow_mut().off_at = Some(operations);
    }

    /// Changes and syncs asked for in this life.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.operations.get()
    }

    /// Lets `meter` count what reading costs from now on.
    pub fn meter(&self, meter: Meter, costs: Costs) {
        self.0.meter.replace((meter, costs));
    }

    /// How long each sync takes from now on.
    pub fn set_sync_latency(&self, least: Duration, most: Duration) {
        self.0.troubles.borrow_mut().latency = (least, most);
    }

    /// No sync ends before `until`.
    pub fn stall_until(&self, until: Time) {
        self.0.troubles.borrow_mut().stalled_until = until;
    }

    /// Whether it has room and answers, and nothing will fail that is not yet tried.
    #[must_use]
    pub fn is_well(&self, now: Time) -> bool {
        let Troubles { stalled_until, quota, write_fails, sync_fails, off_at, .. } =
            *self.0.troubles.borrow();
        let fails = write_fails || sync_fails || off_at.is_some();
        now >= stalled_until && quota.is_none() && !fails
    }

    /// Limits the bytes of all files; `None` lifts the limit.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.0.troubles.borrow_mut().quota = bytes;
    }

    /// Limits the bytes of all files for good.
    pub fn set_size(&self, bytes: u64) {
        self.0.troubles.borrow_mut().size = Some(bytes);
    }

    /// Lets the next write fail, half done.
    pub fn fail_next_write(&self) {
        self.0.troubles.borrow_mut().write_fails = true;
    }

    /// Lets the next sync fail; what it should have made durable never is.
    pub fn fail_next_sync(&self) {
        self.0.troubles.borrow_mut().sync_fails = true;
    }

    /// The files with their lengths, as seen.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.0.state.borrow();
        let file = |(name, inode): (&String, &u64)| {
            (name.clone(), state.inodes[inode].borrow().seen.len() as u64)
        };
        state.names.iter().map(file).collect()
    }

    /// The contents of a file, as seen; `None` if there is no such file.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.inode(name)?.borrow().seen.clone())
    }

    /// Flips one bit on the medium; false if there is no such byte.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> bool {
        let Some(inode) = self.inode(name) else {
            return false;
        };
        let inode = &mut *inode.borrow_mut();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut flipped = false;
        for contents in [&mut inode.seen, &mut inode.durable] {
            if let Some(byte) = contents.get_mut(at) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        }
        flipped
    }

    /// Cuts a file short; false if there is no such file.
    pub fn cut(&self, name: &str, len: u64) -> bool {
        let Some(inode) = self.inode(name) else {
            return false;
        };
        let inode = &mut *inode.borrow_mut();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        inode.seen.truncate(len);
        inode.durable.truncate(len);
        true
    }

    /// Removes a file behind the node's back; false if there is no such file.
    pub fn lose(&self, name: &str) -> bool {
        let state = &mut *self.0.state.borrow_mut();
        state.durable.remove(name);
        state.names.remove(name).is_some()
    }

    fn inode(&self, name: &str) -> Option<Rc<RefCell<Inode>>> {
        let state = self.0.state.borrow();
        state.inodes.get(state.names.get(name)?).cloned()
    }

    /// Takes over the state of another disk; the handles of this one are dead.
    pub fn become_as(&self, other: &Self) {
        self.begin_life();
        self.0.state.replace(other.fork().0.state.take());
    }

    /// An independent disk in the same state, without handles or troubles: for trying many fates
    /// of one moment.
    #[must_use]
    pub fn fork(&self) -> Self {
        let fork = Self::new(self.0.clock.clone(), self.0.rng.fork());
        let state = self.0.state.borrow();
        let copy = |(number, inode): (&u64, &Rc<RefCell<Inode>>)| {
            (*number, Rc::new(RefCell::new(inode.borrow().clone())))
        };
        fork.0.state.replace(State {
            inodes: state.inodes.iter().map(copy).collect(),
            names: state.names.clone(),
            durable: state.durable.clone(),
            waiting: state.waiting.clone(),
            carried: state.carried,
            next_inode: state.next_inode,
        });
        fork
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Linked(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Renamed(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Removed(name, inode) => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

impl State {
    /// Forgets contents that no name leads to; who has them open keeps them.
    fn collect(&mut self) {
        let (names, durable, waiting) = (&self.names, &self.durable, &self.waiting);
        let waits = |number: &u64| {
            waiting.iter().any(|change| match change {
                NameChange::Linked(_, inode) | NameChange::Renamed(_, _, inode) => inode == number,
                NameChange::Removed(..) => false,
            })
        };
        let named = |number: &u64| names.values().chain(durable.values()).any(|n| n == number);
        self.inodes.retain(|number, _| named(number) || waits(number));
    }

    /// How many changes of names there have been.
    fn changes(&self) -> u64 {
        self.carried + self.waiting.len() as u64
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.waiting.push(change);
    }
}

/// A write cut into sectors.
fn split(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = SECTOR - usize::try_from(at).unwrap_or(0) % SECTOR;
        let (sector, later) = rest.split_at(room.min(rest.len()));
        let piece = (at, sector);
        at += sector.len() as u64;
        rest = later;
        Some(piece)
    })
}

fn put(contents: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    if contents.len() < from + data.len() {
        contents.resize(from + data.len(), 0);
    }
    contents[from..from + data.len()].copy_from_slice(data);
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk({} files)", self.0.state.borrow().names.len())
    }
}
