//! A directory in memory: made of files, compared, and with a journal on it that is written at once.

use std::pin::pin;
use std::rc::Rc;

use futures_lite::future::{block_on, poll_once};
use quorate::Fatal;
use quorate::env::clock::VirtualClock;
use quorate::env::{Clock, Disk, Rng};
use quorate::journal::{Journal, Options, Record};

/// Bytes of a sector of the journal.
pub const SECTOR: usize = 512;

/// Bytes of a segment here: the smallest possible.
pub const SEGMENT: usize = 4 << 10;

/// A directory with these files.
///
/// # Panics
/// Never: memory takes every write.
pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Disk {
    let disk = Disk::memory();
    for (name, contents) in files {
        let file = disk.create(&name).expect("memory takes a file");
        file.write_at(0, &contents).expect("memory takes a write");
    }
    disk
}

/// The files of a directory, by name.
///
/// # Panics
/// Never: memory can be read.
#[must_use]
pub fn files(disk: &Disk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().expect("memory has a list");
    let read = |name: String| {
        let file = disk.open_file(&name).expect("it is listed");
        let contents = file.read_all().expect("memory can be read");
        (name, contents)
    };
    names.into_iter().map(read).collect()
}

/// Opens the journal, with small segments; returns it with what it replays.
///
/// # Errors
/// As [`Journal::open`].
pub fn open(disk: &Disk) -> Result<(Journal, Vec<Record>), Fatal> {
    let mut records = Vec::new();
    let clock = Clock::simulated(VirtualClock::new());
    let options = Options::default().with_segment_bytes(SEGMENT as u64);
    let journal = Journal::open(disk, &clock, &Rng::seeded(7), options, |record| {
        records.push(record);
        Ok(())
    })?;
    Ok((journal, records))
}

/// Lets the journal write all that was submitted.
///
/// # Panics
/// If it fails, or does not come to an end.
pub fn write_all(journal: &Journal) {
    let mut run = pin!(journal.run());
    for _ in 0..100_000 {
        if journal.synced() == journal.submitted() {
            return;
        }
        if let Some(fatal) = block_on(poll_once(run.as_mut())) {
            panic!("the journal cannot be written: {fatal}");
        }
    }
    panic!("the journal is not written in the end");
}

/// Writes a snapshot of these contents.
///
/// # Panics
/// If it fails.
pub fn write_snapshot(journal: &Journal, meta: &[u8], contents: &[u8]) {
    block_on(async {
        let mut writer = journal.begin_snapshot(meta).expect("memory has room");
        writer.write(contents).await.expect("memory has room");
        writer.finish().await.expect("memory has room");
    });
}

/// A directory whose snapshot and journal hold the parts of an input: the snapshot's meta data and its
/// contents (no snapshot, if both are empty), then records, each its kind and its payload.
///
/// # Panics
/// Never: what the journal writes can be written.
#[must_use]
pub fn with_records(input: &[u8]) -> Disk {
    let disk = Disk::memory();
    let (journal, _) = open(&disk).expect("an empty directory");
    let mut parts = crate::parts(input);
    let (meta, contents) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if !meta.is_empty() || !contents.is_empty() {
        write_snapshot(&journal, meta, contents);
    }
    let short = |record: &&[u8]| record.len() < SEGMENT / 2;
    for (kind, payload) in parts.filter(short).filter_map(<[u8]>::split_first) {
        journal.submit(*kind, &[payload]);
    }
    write_all(&journal);
    disk
}

/// The surroundings of a node of `id` on this disk, alone in the world.
#[must_use]
pub fn surroundings(disk: &Disk, id: u64) -> quorate::env::Env {
    let nodes = (1..=4).filter(|&peer| peer != id).map(quorate::NodeId);
    let limits = quorate::env::net::NetLimits::default();
    let (net, _wire) = quorate::env::net::net(quorate::NodeId(id), nodes, limits);
    let executor = Rc::new(smol::LocalExecutor::new());
    quorate::env::Env {
        clock: Clock::simulated(VirtualClock::new()),
        rng: Rng::seeded(7),
        net,
        disk: disk.clone(),
        spawner: quorate::env::Spawner::new(executor),
    }
}
