//! The journal: what was acknowledged is there again, in order and unchanged; whatever was not may
//! be; and what cannot be told apart is refused with file and offset.

mod journal_rig;

use std::process::Command;
use std::time::Duration;

use futures_lite::future::{block_on, or};
use journal_rig::{Rig, kind, payload};
use quorate::Fatal;
use quorate::env::disk::SyncMode;
use quorate::env::{Clock, Disk, Rng, Time};
use quorate::journal::{Journal, Lsn, Options, Torn};
use quorate::scope::notify::Notify;

const SECTOR: u64 = 512;

/// A log of `batches` batches, each synced by itself, and where each ends: file and bytes.
fn log(rig: &Rig, batches: u64) -> Vec<(u64, String, u64)> {
    let life = rig.reopen(0, 0);
    let mut ends = Vec::new();
    for batch in 0..batches {
        let last = life.submit(1 + batch % 3);
        assert!(life.sync(last));
        let (name, _) = rig.journal_files().pop().expect("there is a segment");
        let contents = rig.sim.contents(&name).expect("it has contents");
        let used = contents.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        ends.push((last, name, (used as u64).next_multiple_of(SECTOR)));
    }
    ends
}

#[test]
fn a_log_cut_at_every_byte_opens_with_what_lies_before_and_goes_on() {
    let rig = Rig::new(1);
    let ends = log(&rig, 9);
    let files = rig.journal_files();
    assert!(files.len() >= 3, "the log has several segments");
    for (at, (name, len)) in files.iter().enumerate() {
        for cut in 0..*len {
            let fork = rig.fork();
            assert!(fork.sim.cut(name, cut));
            for (later, _) in &files[at + 1..] {
                assert!(fork.sim.lose(later));
            }
            let before =
                |(_, file, end): &&(u64, String, u64)| file < name || (file == name && *end <= cut);
            if at == 0 && cut < SECTOR {
                // Without its first head the journal would be taken for a new one.
                assert!(matches!(fork.open(), Err(Fatal::Damaged { .. })));
                continue;
            }
            let kept = ends.iter().rev().find(before).map_or(0, |&(last, ..)| last);
            let life = fork.reopen(kept, kept);
            assert!(life.journal.recovery().torn.is_some(), "a cut is said");
            let more = life.submit(2);
            assert!(life.sync(more));
            fork.sim.power_cut_keeping(|_| false);
            let life = fork.reopen(more, more);
            assert!(life.journal.recovery().torn.is_none(), "and said once");
            let more = life.submit(1);
            assert!(life.sync(more));
            fork.sim.power_cut_keeping(|_| false);
            fork.reopen(more, more);
        }
    }
}

#[test]
fn a_cut_before_the_end_is_damage_when_a_segment_follows() {
    let rig = Rig::new(1);
    log(&rig, 9);
    let files = rig.journal_files();
    for cut in 0..SECTOR * 2 {
        let fork = rig.fork();
        assert!(fork.sim.cut(&files[1].0, cut));
        let Err(Fatal::Damaged { file, offset, .. }) = fork.open() else {
            panic!("cut at {cut}: refused as damaged");
        };
        assert_eq!(file, files[1].0);
        assert!(offset <= cut);
    }
    assert!(rig.sim.lose(&files[1].0));
    let Err(Fatal::Damaged { file, .. }) = rig.open() else {
        panic!("a missing segment is damage");
    };
    assert_eq!(file, files[1].0);
}

#[test]
fn every_flipped_bit_is_refused_in_its_place_or_loses_nothing() {
    let rig = Rig::new(1);
    let ends = log(&rig, 6);
    let (acked, tail, _) = ends.last().expect("there are batches");
    let files = rig.journal_files();
    assert!(files.len() >= 2);
    for (name, len) in &files {
        let used = ends.iter().rev().find(|(_, file, _)| file == name).map_or(0, |end| end.2);
        for offset in 0..*len {
            for bit in 0..8 {
                assert!(rig.sim.flip_bit(name, offset, bit));
                match rig.open() {
                    Ok(life) => {
                        assert!(offset >= used && name != tail, "{name} {offset}: not noticed");
                        assert_eq!(life.records.len() as u64, *acked);
                    }
                    Err(Fatal::Damaged { file, offset: at, .. }) => {
                        assert_eq!(&file, name);
                        assert_eq!(at / SECTOR, offset / SECTOR, "it says where");
                    }
                    Err(other) => panic!("{name} {offset}: {other}"),
                }
                assert!(rig.sim.flip_bit(name, offset, bit));
            }
        }
    }
    rig.reopen(*acked, *acked);
}

/// The log's last segment and, in bytes, its used part.
fn tail(rig: &Rig, ends: &[(u64, String, u64)]) -> (String, u64) {
    let (_, name, end) = ends.last().expect("there are batches");
    assert!(rig.journal_files().iter().any(|(file, _)| file == name));
    (name.clone(), *end)
}

#[test]
fn a_batch_that_never_landed_is_damage_when_a_later_one_did() {
    let rig = Rig::with(Options::default().with_segment_bytes(16 << 10), 1);
    let ends = log(&rig, 8);
    let (name, end) = tail(&rig, &ends);
    let mut begin = SECTOR;
    for (_, file, next) in &ends {
        if *file == name && *next < end {
            let fork = rig.fork();
            let file = fork.sim.disk().open_file(&name).expect("it is there");
            let zeros = vec![0; (next - begin) as usize];
            file.write_at(begin, &zeros).expect("it writes");
            let Err(Fatal::Damaged { file, offset, .. }) = fork.open() else {
                panic!("a batch is missing at {begin}");
            };
            assert_eq!((file, offset), (name.clone(), begin));
            begin = *next;
        }
    }
    assert!(begin > SECTOR, "the last segment has several batches");
}

#[test]
fn a_sector_that_landed_elsewhere_is_damage() {
    let rig = Rig::new(1);
    let ends = log(&rig, 8);
    let (name, end) = tail(&rig, &ends);
    let contents = rig.sim.contents(&name).expect("it is there");
    for (from, to) in (0..end).step_by(512).flat_map(|a| (0..end).step_by(512).map(move |b| (a, b)))
    {
        if from != to {
            let fork = rig.fork();
            let file = fork.sim.disk().open_file(&name).expect("it is there");
            let sector = &contents[from as usize..(from + SECTOR) as usize];
            file.write_at(to, sector).expect("it writes");
            let Err(Fatal::Damaged { file, offset, .. }) = fork.open() else {
                panic!("the sector of {from} is at {to}");
            };
            assert_eq!((file, offset), (name.clone(), to));
        }
    }
}

#[test]
fn another_version_of_the_format_is_told_by_name() {
    let rig = Rig::new(1);
    log(&rig, 1);
    let (name, _) = rig.journal_files().remove(0);
    let mut head = rig.sim.contents(&name).expect("it is there");
    head[8] = 2;
    let seed = crc32c::crc32c(&head[16..24]);
    let check = crc32c::crc32c_append(seed, &head[..508]);
    head[508..512].copy_from_slice(&check.to_le_bytes());
    let disk = rig.sim.disk();
    disk.open_file(&name).expect("it opens").write_at(0, &head[..512]).expect("it writes");
    let Err(Fatal::Mismatch(text)) = rig.open() else {
        panic!("another version is refused");
    };
    assert!(text.contains("version 2") && text.contains(&name), "{text}");
}

#[test]
fn a_batch_takes_the_sectors_that_it_needs_and_a_group_is_one_sync() {
    let rig = Rig::with(Options::default(), 1);
    let life = rig.reopen(0, 0);
    let write = |count: usize, len: usize| {
        let before = (life.journal.bytes_written(), life.journal.syncs());
        // The first spare is made beside the batch: its zeros are not the batch's.
        let spare = |disk: u64| disk % (64 << 10);
        for _ in 0..count {
            life.journal.submit(1, &[&vec![7; len]]);
        }
        assert!(life.sync(life.journal.submitted().0));
        assert_eq!(life.journal.syncs() - before.1, 1);
        spare(life.journal.bytes_written() - before.0)
    };
    assert_eq!(write(1, 340), SECTOR);
    assert_eq!(write(1, 483), SECTOR);
    assert_eq!(write(1, 484), 2 * SECTOR);
    assert_eq!(write(50, 320), 33 * SECTOR);
}

#[test]
fn a_failed_write_or_sync_ends_the_driver_and_is_not_retried() {
    for sync_fails in [false, true] {
        for batches in 1..12 {
            let rig = Rig::new(1);
            let mut life = rig.reopen(0, 0);
            let mut acked = 0;
            for batch in 0..batches {
                acked = life.submit(1 + batch % 3);
                assert!(life.sync(acked));
            }
            if sync_fails {
                rig.sim.fail_next_sync();
            } else {
                rig.sim.fail_next_write();
            }
            let submitted = life.submit(2);
            assert!(!life.sync(submitted), "nothing more is acknowledged");
            let Some(Fatal::Disk { what, .. }) = life.fatal() else {
                panic!("the driver has ended");
            };
            assert!(what.contains("journal-") || what.contains("spare"), "{what}");
            let (operations, synced) = (rig.sim.operations(), life.journal.synced().0);
            assert!(synced >= acked);
            let submitted = life.submit(3);
            life.settle();
            assert_eq!(rig.sim.operations(), operations, "nothing is retried");
            assert_eq!(life.journal.synced().0, synced);
            // What the next life finds is served, so it must be on the medium by then.
            rig.sim.kill();
            let found = rig.reopen(synced, submitted).journal.synced().0;
            rig.sim.power_cut_keeping(|_| false);
            rig.reopen(found, found);
        }
    }
}

#[test]
fn a_driver_dropped_in_the_middle_of_a_write_is_not_resumed() {
    let rig = Rig::new(1);
    let mut life = rig.reopen(0, 0);
    let last = life.submit(2);
    assert!(life.sync(last));
    life.stop_driver();
    life.drive();
    let last = life.submit(2);
    assert!(life.sync(last), "it was idle");
    rig.sim.stall_until(life.time.now() + Duration::from_secs(1));
    life.submit(1);
    life.settle();
    life.stop_driver();
    life.drive();
    let fatal = life.fatal().expect("it was in the middle of a write").to_string();
    assert!(fatal.contains("open the journal again"), "{fatal}");
    assert_eq!(life.journal.synced().0, last);
}

#[test]
fn a_full_disk_keeps_what_does_not_fit_and_heals() {
    let rig = Rig::new(1);
    rig.sim.set_quota(Some(3 * (4 << 10) + 100));
    let wake = Notify::new();
    let life = rig.reopen(0, 0);
    life.journal.notify_on_sync(wake.clone());
    let mut acked = 0;
    while !life.journal.is_full() {
        let last = life.submit(1);
        life.settle();
        acked = life.journal.synced().0;
        assert!(acked == last || life.journal.is_full());
    }
    assert!(block_on(futures_lite::future::poll_once(wake.notified())).is_some());
    assert_eq!(life.journal.synced(), life.journal.submitted(), "full is seen ahead of the end");
    let last = life.submit(20);
    for _ in 0..20 {
        let next = life.time.next_deadline().expect("it looks for room from time to time");
        life.time.advance_to(next);
        life.settle();
    }
    let stuck = life.journal.synced().0;
    assert!(stuck < last && stuck >= acked && life.journal.is_full());
    let late = life.time.now().since(life.journal.waiting_since().expect("something waits"));
    assert!(late > Duration::from_secs(10));
    for lsn in 1..=acked {
        let record = life.journal.read(Lsn(lsn)).expect("it reads").expect("it is there");
        assert!(record.payload == payload(lsn));
    }
    rig.fork().reopen(stuck, last);
    rig.sim.set_quota(None);
    assert!(life.sync(last), "it heals by itself");
    assert!(!life.journal.is_full());
    rig.sim.power_cut_keeping(|_| false);
    rig.reopen(last, last);
    rig.sim.set_quota(Some(0));
    rig.sim.kill();
    rig.reopen(last, last); // a node starts on a full disk, too
}

#[test]
fn a_full_disk_heals_when_segments_are_released() {
    let rig = Rig::new(1);
    rig.sim.set_quota(Some(3 * (4 << 10) + 100));
    let life = rig.reopen(0, 0);
    while !life.journal.is_full() {
        life.submit(1);
        life.settle();
    }
    let last = life.submit(12);
    life.settle();
    assert!(life.journal.synced().0 < last);
    life.journal.release(Lsn(life.journal.synced().0));
    life.settle();
    assert_eq!(life.journal.synced().0, last);
    life.journal.release(Lsn(last));
    life.settle();
    assert!(!life.journal.is_full());
    rig.reopen(last, last);
}

#[test]
fn released_segments_are_used_again_and_steady_work_writes_no_zeros() {
    let rig = Rig::new(1);
    let life = rig.reopen(0, 0);
    let mut last = 0;
    let mut steady = 0;
    for round in 0..400 {
        last = life.submit(2);
        assert!(life.sync(last));
        life.journal.release(Lsn(last.saturating_sub(30)));
        life.settle();
        if round == 200 {
            steady = life.journal.bytes_on_disk();
            assert_eq!(steady, rig.sim.files().iter().map(|(_, len)| len).sum::<u64>());
        }
    }
    assert!(life.journal.bytes_on_disk() <= steady + (4 << 10));
    assert!(life.journal.oldest().0 > last - 60);
    assert!(life.journal.read(Lsn(1)).expect("it reads").is_none());
    rig.sim.power_cut_keeping(|_| false);
    let life = rig.reopen(last, last);
    assert!(life.journal.recovery().torn.is_none(), "what an earlier life left is not torn");
    for _ in 0..40 {
        let last = life.submit(2);
        assert!(life.sync(last));
    }
}

#[test]
fn old_records_are_read_again_in_any_order() {
    let rig = Rig::with(Options::default().with_segment_bytes(128 << 10), 1);
    let life = rig.reopen(0, 0);
    let rng = Rng::seeded(3);
    let mut last = 0;
    while rig.journal_files().len() < 4 {
        last = life.submit(rng.within(1..=40));
        assert!(life.sync(last));
    }
    let read = |journal: &Journal, lsn: u64| {
        let record = journal.read(Lsn(lsn)).expect("it reads").expect("it is there");
        assert_eq!((record.lsn, record.kind), (Lsn(lsn), kind(lsn)));
        assert!(record.payload == payload(lsn));
    };
    let check = |journal: &Journal| {
        (1..=last).for_each(|lsn| read(journal, lsn));
        (1..=last).rev().step_by(7).for_each(|lsn| read(journal, lsn));
        (0..500).for_each(|_| read(journal, rng.within(1..=last)));
        assert!(journal.read(Lsn(last + 1)).expect("it reads").is_none());
        assert!(journal.read(Lsn(0)).expect("it reads").is_none());
    };
    check(&life.journal);
    life.submit(1);
    assert!(life.journal.read(Lsn(last + 1)).expect("it reads").is_none(), "not yet durable");
    rig.sim.power_cut_keeping(|_| false);
    let life = rig.reopen(last, last);
    check(&life.journal);
    let (name, _) = rig.journal_files().remove(1);
    assert!(rig.sim.flip_bit(&name, 5000, 3));
    let damaged = (1..=last).find_map(|lsn| life.journal.read(Lsn(lsn)).err());
    let Some(Fatal::Damaged { file, .. }) = damaged else {
        panic!("rot is noticed when it is read");
    };
    assert_eq!(file, name);
}

#[test]
fn an_idle_journal_touches_nothing_and_a_stalled_one_says_since_when() {
    let rig = Rig::new(1);
    let life = rig.reopen(0, 0);
    let last = life.submit(3);
    assert!(life.sync(last));
    let operations = rig.sim.operations();
    life.time.advance_to(life.time.now() + Duration::from_secs(3600));
    life.settle();
    assert_eq!(rig.sim.operations(), operations);
    assert_eq!(life.time.pending(), 0, "no timer runs");
    assert_eq!(life.journal.waiting_since(), None);
    let now = life.time.now();
    let ends = now + Duration::from_secs(10);
    rig.sim.stall_until(ends);
    let first = life.submit(1);
    life.settle();
    let second = life.submit(1);
    life.time.advance_to(now + Duration::from_secs(4));
    life.settle();
    assert_eq!(life.journal.waiting_since(), Some(now));
    assert_eq!(life.journal.synced().0, last);
    life.time.advance_to(ends);
    life.settle();
    assert_eq!(life.journal.synced().0, second);
    assert_eq!(first + 1, second);
    assert_eq!(life.time.now(), ends.max(Time::ZERO));
}

#[test]
fn a_torn_end_is_cut_and_said_once() {
    let rig = Rig::new(1);
    let acked = log(&rig, 2).last().map_or(0, |end| end.0);
    let life = rig.reopen(acked, acked);
    rig.sim.power_off_after(rig.sim.operations() + 1);
    life.journal.submit(9, &[&[1; 1200]]);
    life.settle();

    assert_eq!(rig.sim.unsynced(), 3);
    rig.sim.power_cut_keeping(|sector| sector != 1);
    let life = rig.reopen(acked, acked);
    let (name, _) = rig.journal_files().remove(0);
    let Some(Torn { file, offset }) = &life.journal.recovery().torn else {
        panic!("it is said");
    };
    assert_eq!((file, offset % SECTOR), (&name, 0));
    let last = life.submit(1);
    assert!(life.sync(last));
    rig.sim.power_cut_keeping(|_| false);
    let life = rig.reopen(last, last);
    assert_eq!(life.journal.recovery().torn, None);
}

#[test]
fn real_files_serve_in_every_sync_mode() {
    for mode in [SyncMode::Inline, SyncMode::Thread, SyncMode::Auto] {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("data");
        for life in 0..3 {
            let disk = Disk::open(&path, mode).expect("the directory opens");
            assert!(disk.sync_mode() == mode || disk.sync_mode() == SyncMode::Thread);
            let options = Options::default().with_segment_bytes(64 << 10);
            let mut found = 0;
            let (clock, rng) = (Clock::real(), Rng::real());
            let journal = Journal::open(&disk, &clock, &rng, options, |record| {
                found += 1;
                assert_eq!(record.lsn, Lsn(found));
                assert!(record.payload == payload(found));
                Ok(())
            });
            let journal = journal.expect("the journal opens");
            assert_eq!(found, life * 100);
            let last = life * 100 + 100;
            let wake = Notify::new();
            journal.notify_on_sync(wake.clone());
            let work = async {
                for lsn in found + 1..=last {
                    journal.submit(kind(lsn), &[&payload(lsn)]);
                }
                while journal.synced() < Lsn(last) {
                    wake.notified().await;
                }
                let mut writer = journal.begin_snapshot(b"meta").expect("there is room");
                writer.write(&vec![life as u8; 200_000]).await.expect("it writes");
                let snapshot = writer.finish().await.expect("it is durable");
                assert_eq!(snapshot.read_at(199_999, 9).expect("it reads"), vec![life as u8]);
            };
            let failed = async { panic!("{}", journal.run().await) };
            block_on(or(work, failed));
            assert!(journal.sync_median() > Duration::ZERO);
        }
    }
}

#[test]
fn a_second_process_is_refused_by_name() {
    if let Ok(path) = std::env::var("QUORATE_TEST_DIRECTORY") {
        // The second process: says what it was told.
        match Disk::open(path, SyncMode::Inline) {
            Err(Fatal::Locked(text)) => println!("locked: {text}"),
            other => println!("{other:?}"),
        }
        return;
    }
    let dir = tempfile::tempdir().expect("a scratch directory");
    let disk = Disk::open(dir.path(), SyncMode::Inline).expect("it opens");
    let holder = std::process::id().to_string();
    let second = || {
        let program = std::env::current_exe().expect("a test is a program");
        let name = "a_second_process_is_refused_by_name";
        let output = Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env("QUORATE_TEST_DIRECTORY", dir.path())
            .output();
        String::from_utf8(output.expect("it runs").stdout).expect("it is text")
    };
    let told = second();
    assert!(told.contains("locked: ") && told.contains(&holder), "{told}");
    assert!(told.contains(dir.path().to_str().expect("it is text")), "{told}");
    assert!(matches!(Disk::open(dir.path(), SyncMode::Inline), Err(Fatal::Locked(_))));
    drop(disk);
    let told = second();
    assert!(told.contains("Ok(Disk("), "{told}");
}
