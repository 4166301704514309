//! A process for each component, pipes between them: everything that is handed over becomes bytes.
//!
//! All children write what happened into one pipe, so that the core waits in one place; 16 bytes
//! are written as a whole.

use std::collections::BTreeMap;
use std::io::{self, PipeWriter, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};

use crate::shapes::Gauge;
use crate::shapes::work::{Frames, LOG, Ledger, Log, Machine, Peer, each, frame, last};
use crate::workers::{Worker, command, input, output};

/// What the state machine calls itself in the common pipe.
const MACHINE: u64 = 3;

/// The log's process.
pub(crate) fn log_job(path: &Path) -> io::Result<()> {
    let mut log = Log::create(path)?;
    component(LOG as u64, |frames| log.append(frames).map(|()| last(frames)))
}

/// The process of one replication.
pub(crate) fn replication_job(who: u64, port: u16) -> io::Result<()> {
    let mut peer = Peer::dial(port)?;
    component(who, |frames| peer.copy(frames))
}

/// The state machine's process.
pub(crate) fn machine_job() -> io::Result<()> {
    let mut machine = Machine::default();
    component(MACHINE, |frames| {
        each(frames).for_each(|frame| machine.apply(frame));
        Ok(last(frames))
    })
}

/// Does `work` with all that has come in, again and again, and tells the core up to where.
fn component(who: u64, mut work: impl FnMut(&[u8]) -> io::Result<u64>) -> io::Result<()> {
    let (mut from, mut to) = (input()?, output()?);
    let mut frames = Frames::default();
    while let Some(batch) = frames.read(&mut from)? {
        to.write_all(&word(who, work(&batch)?))?;
    }
    Ok(())
}

fn word(who: u64, index: u64) -> [u8; 16] {
    let mut word = [0; 16];
    word[..8].copy_from_slice(&who.to_le_bytes());
    word[8..].copy_from_slice(&index.to_le_bytes());
    word
}

fn parse(word: &[u8]) -> (u64, u64) {
    let half = |at: usize| word.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    (half(0).unwrap_or(u64::MAX), half(8).unwrap_or(0))
}

fn start(job: &[&str], words: &PipeWriter) -> io::Result<(Worker, ChildStdin)> {
    let mut child =
        command(job)?.stdin(Stdio::piped()).stdout(Stdio::from(words.try_clone()?)).spawn()?;
    let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((Worker::of(child), input))
}

pub(super) fn run(window: u64, peers: [u16; 2], folder: &Path, mut gauge: Gauge) -> io::Result<()> {
    let (mut words, sender) = io::pipe()?;
    let (log, to_log) = start(&["log", &folder.join("log").to_string_lossy()], &sender)?;
    let (a, to_a) = start(&["replication", "1", &peers[0].to_string()], &sender)?;
    let (b, to_b) = start(&["replication", "2", &peers[1].to_string()], &sender)?;
    let (machine, mut to_machine) = start(&["machine"], &sender)?;
    let components = [log, a, b, machine];
    gauge.include(&components);
    let mut holders = [to_log, to_a, to_b];
    let (mut ledger, mut pending) = (Ledger::new(window), BTreeMap::new());
    let mut room = [0; 16 * 64];
    while gauge.goes_on(ledger.applied)? {
        let mut batch = Vec::new();
        for index in ledger.issue() {
            let frame = frame(index);
            batch.extend_from_slice(&frame);
            pending.insert(index, frame);
        }
        if !batch.is_empty() {
            holders.iter_mut().try_for_each(|to| to.write_all(&batch))?;
        }
        let mut read = words.read(&mut room)?;
        while read % 16 != 0 {
            read += words.read(&mut room[read..])?;
        }
        let mut decided = Vec::new();
        for word in room[..read].chunks_exact(16) {
            match parse(word) {
                (MACHINE, index) => ledger.applied = index,
                (who, index) => {
                    for index in ledger.hold(who as usize, index) {
                        decided.extend(pending.remove(&index).unwrap_or_default());
                    }
                }
            }
        }
        if !decided.is_empty() {
            to_machine.write_all(&decided)?;
        }
    }
    Ok(())
}
