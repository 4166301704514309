//! One journal on a simulated disk, life after life, and what must hold in each.

#![allow(dead_code, unreachable_pub, missing_docs)] // shared: no test uses all of it

use std::rc::Rc;

use futures_lite::future::block_on;
use quorate::Fatal;
use quorate::env::clock::VirtualClock;
use quorate::env::{Clock, Rng};
use quorate::journal::{Journal, Lsn, Options, Record, SnapshotError};
use quorate::sim::disk::SimDisk;
use smol::LocalExecutor;

/// A disk and a clock: what outlives a node.
pub struct Rig {
    pub time: Rc<VirtualClock>,
    pub sim: SimDisk,
    pub options: Options,
}

/// One life of a node's journal, with its driver running.
pub struct Life {
    pub journal: Journal,
    /// What was replayed at its start.
    pub records: Vec<Record>,
    pub time: Rc<VirtualClock>,
    driver: Option<smol::Task<Fatal>>,
    executor: Rc<LocalExecutor<'static>>,
}

/// The contents of the record with this lsn: up to 600 bytes.
pub fn payload(lsn: u64) -> Vec<u8> {
    let len = (lsn * 277 % 601) as usize;
    (0..len).map(|at| (lsn as usize * 31 + at * 7) as u8).collect()
}

pub fn kind(lsn: u64) -> u8 {
    (lsn % 251) as u8
}

impl Rig {
    /// With segments of 4 KiB, the smallest.
    pub fn new(seed: u64) -> Self {
        Self::with(Options::default().with_segment_bytes(4 << 10), seed)
    }

    pub fn with(options: Options, seed: u64) -> Self {
        let time = VirtualClock::new();
        let clock = Clock::simulated(time.clone());
        let sim = SimDisk::new(clock, Rng::seeded(seed));
        Self { time, sim, options }
    }

    /// The same moment once more, to try another fate.
    pub fn fork(&self) -> Self {
        Self { time: self.time.clone(), sim: self.sim.fork(), options: self.options }
    }

    /// Starts the next life.
    pub fn open(&self) -> Result<Life, Fatal> {
        let clock = Clock::simulated(self.time.clone());
        let (disk, rng) = (self.sim.disk(), Rng::seeded(7));
        let mut records = Vec::new();
        let journal = Journal::open(&disk, &clock, &rng, self.options, |record| {
            records.push(record);
            Ok(())
        })?;
        let executor = Rc::new(LocalExecutor::new());
        let mut life = Life { journal, records, time: self.time.clone(), driver: None, executor };
        life.drive();
        Ok(life)
    }

    /// Starts the next life, which must succeed, and checks what it finds: every record from the
    /// first that was not given up to at least `acked` and at most `submitted`, unchanged.
    pub fn reopen(&self, acked: u64, submitted: u64) -> Life {
        let life = match self.open() {
            Ok(life) => life,
            Err(fatal) => panic!("with {acked} acknowledged: {fatal}"),
        };
        life.check(acked, submitted);
        life
    }

    pub fn journal_files(&self) -> Vec<(String, u64)> {
        let mut files = self.sim.files();
        files.retain(|(name, _)| name.starts_with("journal-"));
        files
    }
}

impl Life {
    /// Runs everything that can run without time passing.
    pub fn settle(&self) {
        while self.executor.try_tick() {}
    }

    /// Runs until `lsn` is durable, letting time pass; false if that never happens.
    pub fn sync(&self, lsn: u64) -> bool {
        self.settle();
        while self.journal.synced().0 < lsn {
            let Some(next) = self.time.next_deadline() else {
                return false;
            };
            self.time.advance_to(next);
            self.settle();
        }
        true
    }

    /// Submits the next `count` records.
    pub fn submit(&self, count: u64) -> u64 {
        let mut last = self.journal.submitted().0;
        for _ in 0..count {
            let payload = payload(last + 1);
            let (front, back) = payload.split_at(payload.len() / 3);
            let Lsn(lsn) = self.journal.submit(kind(last + 1), &[front, back]);
            assert_eq!(lsn, last + 1);
            last = lsn;
        }
        last
    }

    /// How the driver ended, if it did.
    pub fn fatal(&mut self) -> Option<Fatal> {
        self.settle();
        let driver = self.driver.take_if(|driver| driver.is_finished())?;
        Some(block_on(driver))
    }

    /// Starts the driver.
    pub fn drive(&mut self) {
        let driven = self.journal.clone();
        self.driver = Some(self.executor.spawn(async move { driven.run().await }));
    }

    /// Stops the driver where it is.
    pub fn stop_driver(&mut self) {
        drop(self.driver.take());
        self.settle();
    }

    /// Writes a snapshot whose contents are `len` bytes made from `meta`.
    pub fn snapshot(&self, meta: u8, len: usize) -> Option<Result<(), SnapshotError>> {
        let journal = self.journal.clone();
        let task = self.executor.spawn(async move {
            let mut writer = journal.begin_snapshot(&[meta])?;
            for piece in contents(meta, len).chunks(1000) {
                writer.write(piece).await?;
            }
            writer.finish().await.map(|_| ())
        });
        self.settle();
        task.is_finished().then(|| block_on(task))
    }

    /// What the present snapshot was made from, after comparing all of it.
    pub fn snapshot_meta(&self) -> Option<u8> {
        let snapshot = self.journal.snapshot()?;
        let meta = snapshot.meta()[0];
        let mut read = Vec::new();
        loop {
            let piece = snapshot.read_at(read.len() as u64, 999).expect("it reads");
            if piece.is_empty() {
                break;
            }
            read.extend_from_slice(&piece);
        }
        assert_eq!(read.len() as u64, snapshot.len());
        assert!(read == contents(meta, read.len()), "the snapshot is what was written");
        Some(meta)
    }

    /// Checks what was found: every record from the first that was not given up to at least
    /// `acked` and at most `submitted`, unchanged.
    pub fn check(&self, acked: u64, submitted: u64) {
        let first = self.journal.oldest().0;
        let last = first + self.records.len() as u64 - 1;
        assert!(acked <= last, "{acked} acknowledged, {last} recovered");
        assert!(last <= submitted, "{submitted} submitted, {last} recovered");
        assert_eq!(self.journal.synced(), Lsn(last));
        for (lsn, record) in (first..).zip(&self.records) {
            assert_eq!(record.lsn, Lsn(lsn));
            assert_eq!(record.kind, kind(lsn));
            assert!(record.payload == payload(lsn), "record {lsn} is what was submitted");
        }
    }
}

fn contents(meta: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 3) as u8 ^ meta).collect()
}
