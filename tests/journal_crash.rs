//! The journal when the power fails: at every operation, with every legal part of what was not
//! synced lost; and again and again in one run.

mod journal_rig;

use journal_rig::{Life, Rig};
use quorate::Fatal;
use quorate::env::Rng;
use quorate::journal::{Lsn, Options, SnapshotError};

/// What must hold after a crash.
#[derive(Debug, Clone, Copy, Default)]
struct Promised {
    /// Acknowledged as durable.
    acked: u64,
    submitted: u64,
    /// Records from here on must be there.
    released: u64,
    /// The snapshot that was finished last.
    snapshot: Option<u8>,
    /// The snapshot that was begun last.
    begun: Option<u8>,
}

/// Works until done or until the power fails; false in that case.
fn work(life: &Life, promised: &mut Promised, batches: std::ops::Range<u8>) -> bool {
    for batch in batches {
        promised.submitted = life.submit(1 + u64::from(batch) % 3);
        let synced = life.sync(promised.submitted);
        promised.acked = life.journal.synced().0;
        if !synced {
            return false;
        }
        if batch % 3 == 1 {
            promised.begun = Some(batch);
            match life.snapshot(batch, 700) {
                Some(Ok(())) => promised.snapshot = Some(batch),
                Some(Err(SnapshotError::Full)) => {}
                Some(Err(SnapshotError::Fatal(_))) | None => return false,
            }
            promised.released = promised.acked.saturating_sub(3);
            life.journal.release(Lsn(promised.released));
            life.settle();
        }
    }
    true
}

/// Starts the next life, which must succeed, and checks that every promise is kept.
fn restart(rig: &Rig, promised: &mut Promised) -> Life {
    match rig.open() {
        Ok(life) => {
            check(&life, promised);
            life
        }
        Err(fatal) => panic!("{promised:?}: {fatal}"),
    }
}

/// Checks that every promise is kept; what was found is promised from now on.
fn check(life: &Life, promised: &mut Promised) {
    life.check(promised.acked, promised.submitted);
    assert!(life.journal.oldest().0 <= promised.released.max(1), "{promised:?}");
    let snapshot = life.snapshot_meta();
    assert!(snapshot == promised.snapshot || snapshot == promised.begun, "{promised:?}");
    promised.acked = life.journal.synced().0;
    promised.submitted = promised.acked;
    promised.snapshot = snapshot;
    promised.begun = snapshot;
}

/// Which of `count` unsynced effects survive: every choice up to six, else the extremes, each one
/// alone, all but each one, and some by chance.
fn fates(count: usize, rng: &Rng) -> Vec<Vec<bool>> {
    if count <= 6 {
        let bits = |choice: usize| (0..count).map(|at| choice >> at & 1 == 1).collect();
        return (0..1 << count).map(bits).collect();
    }
    let mut fates = vec![vec![false; count], vec![true; count]];
    for one in (0..count).step_by(count.div_ceil(12)) {
        fates.push((0..count).map(|at| at == one).collect());
        fates.push((0..count).map(|at| at != one).collect());
    }
    for _ in 0..24 {
        fates.push((0..count).map(|_| rng.chance(500)).collect());
    }
    fates
}

#[test]
fn power_lost_at_every_operation_with_every_legal_loss_breaks_no_promise() {
    let rng = Rng::seeded(11);
    let mut tried = 0;
    for cut_at in 0.. {
        let rig = Rig::new(1);
        rig.sim.power_off_after(cut_at);
        let mut promised = Promised::default();
        let done = match rig.open() {
            Ok(life) => work(&life, &mut promised, 0..24),
            Err(Fatal::Disk { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        if done {
            assert!(cut_at > 100, "the work is {cut_at} operations");
            break;
        }
        for fate in fates(rig.sim.unsynced(), &rng) {
            tried += 1;
            let (fork, mut promised) = (rig.fork(), promised);
            fork.sim.power_cut_keeping(|at| fate[at]);
            let life = restart(&fork, &mut promised);
            assert!(work(&life, &mut promised, 100..105));
            fork.sim.power_cut_keeping(|_| false);
            restart(&fork, &mut promised);
        }
    }
    println!("{tried} fates");
}

#[test]
fn one_crash_after_another_breaks_no_promise() {
    for seed in 0..150 {
        let rng = Rng::seeded(seed);
        let segment_bytes = [4 << 10, 8 << 10, 20 << 10][rng.below(3)];
        let options = Options {
            preallocated_max: rng.below(3),
            ..Options::default().with_segment_bytes(segment_bytes)
        };
        let rig = Rig::with(options, seed);
        let mut promised = Promised::default();
        for _ in 0..20 {
            rig.sim.power_off_after(rng.within(0..=80));
            match rig.open() {
                Ok(life) => {
                    check(&life, &mut promised);
                    let from = rng.below(200) as u8;
                    work(&life, &mut promised, from..from + 20);
                }
                Err(Fatal::Disk { .. }) => {}
                Err(other) => panic!("seed {seed}: {other}"),
            }
            if rng.chance(200) {
                rig.sim.kill();
            } else {
                rig.sim.power_cut();
            }
        }
        restart(&rig, &mut promised);
    }
}
