//! The journal on real files: what was acknowledged is there again, whatever was not may be.

use futures_lite::future::{block_on, or};
use quorate::env::disk::SyncMode;
use quorate::env::{Clock, Disk, Rng};
use quorate::log::{Journal, Options, Record, Ticket};
use quorate::scope::bell::Bell;

/// Opens the journal with small segments; what it replayed is beside it.
fn open(disk: &Disk) -> (Journal, Vec<Record>) {
    let mut records = Vec::new();
    let options = Options::default().with_segment_bytes(64 << 10);
    let journal = Journal::open(disk, &Clock::real(), &Rng::seeded(1), options, |record| {
        records.push(record);
        Ok(())
    });
    (journal.expect("the journal opens"), records)
}

/// Drives the journal until `ticket` is durable.
fn sync(journal: &Journal, ticket: Ticket) {
    let bell = Bell::new();
    journal.ring_on_sync(bell.clone());
    let wait = async {
        while journal.synced() < ticket {
            bell.heard().await;
        }
    };
    block_on(or(wait, async {
        panic!("{}", journal.run().await);
    }));
}

#[test]
fn what_was_synced_is_there_again_in_every_sync_mode() {
    for mode in [SyncMode::Inline, SyncMode::Thread, SyncMode::Auto] {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("data");
        let mut total = 0;
        for life in 0..3u8 {
            let disk = Disk::open(&path, mode).expect("the directory opens");
            let (journal, records) = open(&disk);
            assert_eq!(records.len(), total);
            for (at, record) in records.iter().enumerate() {
                assert_eq!(record.ticket, Ticket(at as u64 + 1));
                assert_eq!(record.payload.len(), 1000 + at % 100);
            }
            let mut last = Ticket(0);
            for _ in 0..100 {
                let payload = vec![life; 1000 + total % 100];
                last = journal.submit(life, &[&payload[..7], &payload[7..]]);
                total += 1;
            }
            sync(&journal, last);
            assert_eq!(journal.synced(), last);
            for at in 1..=total as u64 {
                let record = journal
                    .read(Ticket(at))
                    .expect("it reads")
                    .expect("it is there");
                assert_eq!(record.ticket, Ticket(at));
            }
        }
    }
}
