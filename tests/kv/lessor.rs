//! The leader's side of leases: a simulated clock, several leaders one after the other.

use super::*;

const S: u64 = 1_000_000_000;

/// Lets a leader count from `from` until `until`; applies what it proposes, at once. Returns how
/// many entries it wrote and when the last one was.
fn lead(m: &mut Machine, lessor: &mut Lessor, until: u64) -> (usize, u64) {
    let (mut entries, mut last) = (0, 0);
    while let Some(now) = lessor.next_wake_ns().filter(|&wake| wake <= until) {
        for command in lessor.due(&m.store, now) {
            m.apply(command).unwrap();
            entries += 1;
            last = now;
        }
        lessor.observe(&m.store, now);
    }
    (entries, last)
}

#[test]
fn a_lease_ends_when_its_time_is_over_and_not_before() {
    let mut m = Machine::new();
    m.grant(7, 60);
    m.put_leased("a", 7).unwrap();
    let mut leader = Lessor::new(&m.store, 1, 5 * S);
    lead(&mut m, &mut leader, 65 * S - 1);
    assert_eq!(m.now("a", ""), "a=v");
    lead(&mut m, &mut leader, 65 * S);
    assert_eq!(m.now("a", ""), "");
    assert!(leader.due(&m.store, 66 * S).is_empty());
    assert_eq!(leader.next_wake_ns(), None, "nothing to wake for");
}

#[test]
fn checkpoints_in_whole_seconds_do_not_lengthen_a_lease() {
    let mut m = Machine::new();
    m.grant(7, 60);
    let mut leader = Lessor::new(&m.store, 1, S / 2);
    let (entries, last) = lead(&mut m, &mut leader, 100 * S);
    assert!(entries > 2, "checkpoints were made");
    assert_eq!(last, 60 * S + S / 2);
}

#[test]
fn time_to_live_goes_on_across_leaders() {
    let mut m = Machine::new();
    m.grant(7, 3_600);
    let mut now = 0;
    let mut leaders = 0;
    // A new leader every ten minutes, each with a clock of its own.
    while !m.store.leases().is_empty() {
        let mut leader = Lessor::new(&m.store, 1, leaders * 7_777 * S);
        let offset = leaders * 7_777 * S;
        let (_, last) = lead(&mut m, &mut leader, offset + 600 * S);
        now += if m.store.leases().is_empty() { last - offset } else { 600 * S };
        leaders += 1;
    }
    assert!(now >= 3_600 * S, "never early: {}", now / S);
    assert!(now <= 3_600 * S * 2, "it does end: {} s", now / S);
    let restarted_each_time = leaders > 20;
    assert!(!restarted_each_time);
}

#[test]
fn a_lease_kept_alive_each_third_of_its_time_writes_nothing() {
    let mut m = Machine::new();
    m.grant(7, 30);
    let mut leader = Lessor::new(&m.store, 1, 0);
    let mut entries = 0;
    for round in 1..1_000 {
        let now = round * 10 * S;
        entries += lead(&mut m, &mut leader, now).0;
        let kept = leader.keep_alive(&m.store, 7, now);
        assert_eq!(kept, KeepAlive::Renewed { ttl_s: 30 });
        assert_eq!(leader.remaining_s(&m.store, 7, now + 4 * S), Some(26));
    }
    assert_eq!(entries, 0);
    assert_eq!(m.store.leases(), [7]);
}

#[test]
fn a_keep_alive_after_a_checkpoint_becomes_an_entry() {
    let mut m = Machine::new();
    m.grant(7, 60);
    let mut leader = Lessor::new(&m.store, 1, 0);
    lead(&mut m, &mut leader, 40 * S);
    assert_eq!(m.store.lease(7, false).unwrap().remaining_s, 30);
    let kept = leader.keep_alive(&m.store, 7, 41 * S);
    assert_eq!(kept, KeepAlive::Propose);
    m.apply(Command::LeaseRenew { id: 7 }).unwrap();
    leader.observe(&m.store, 42 * S);
    assert_eq!(leader.remaining_s(&m.store, 7, 42 * S), Some(60));
    let kept = leader.keep_alive(&m.store, 7, 43 * S);
    assert_eq!(kept, KeepAlive::Renewed { ttl_s: 60 });
}

#[test]
fn a_keep_alive_while_an_expiry_is_under_way_goes_through_the_log() {
    let mut m = Machine::new();
    m.grant(7, 3);
    let mut leader = Lessor::new(&m.store, 1, 0);
    let expiry = leader.due(&m.store, 3 * S).remove(0);
    let kept = leader.keep_alive(&m.store, 7, 3 * S);
    assert_eq!(kept, KeepAlive::Propose, "else the client would be promised a dead lease");
    m.apply(Command::LeaseRenew { id: 7 }).unwrap();
    m.apply(expiry).unwrap();
    assert_eq!(m.store.leases(), [7], "the renewal came first");
}

#[test]
fn what_a_deposed_leader_found_has_no_effect() {
    let mut m = Machine::new();
    m.grant(7, 60);
    let mut deposed = Lessor::new(&m.store, 1, 0);
    let checkpoint = deposed.due(&m.store, 31 * S).remove(0);
    assert!(matches!(checkpoint, Command::LeaseCheckpoint { .. }));
    let expiry = deposed.due(&m.store, 60 * S).remove(0);
    assert!(matches!(expiry, Command::LeaseExpire { .. }));
    // The next leader keeps the lease alive without an entry: nothing else tells them apart.
    m.epoch = 2;
    let mut leader = Lessor::new(&m.store, 2, 50 * S);
    let kept = leader.keep_alive(&m.store, 7, 59 * S);
    assert_eq!(kept, KeepAlive::Renewed { ttl_s: 60 });
    m.apply(checkpoint.clone()).unwrap();
    m.apply(expiry.clone()).unwrap();
    assert_eq!(leader.remaining_s(&m.store, 7, 60 * S), Some(59));
    assert_eq!(m.store.lease(7, false).unwrap().remaining_s, 60);
    m.epoch = 1;
    m.apply(expiry).unwrap();
    assert!(m.store.leases().is_empty(), "in its own epoch it counts");
}

#[test]
fn a_refused_proposal_is_made_again() {
    let mut m = Machine::new();
    m.grant(7, 3);
    let mut leader = Lessor::new(&m.store, 1, 0);
    assert_eq!(leader.due(&m.store, 3 * S).len(), 1);
    assert!(leader.due(&m.store, 3 * S + 1).is_empty());
    let again = leader.next_wake_ns().unwrap();
    assert_eq!(again, 4 * S);
    m.apply(leader.due(&m.store, again).remove(0)).unwrap();
    assert!(m.store.leases().is_empty());
}

#[test]
fn a_lease_that_is_gone_is_said_to_be_gone() {
    let mut m = Machine::new();
    let mut leader = Lessor::new(&m.store, 1, 0);
    assert_eq!(leader.keep_alive(&m.store, 7, 0), KeepAlive::Gone);
    m.grant(7, 60);
    leader.observe(&m.store, 0);
    m.apply(Command::LeaseRevoke { id: 7 }).unwrap();
    assert_eq!(leader.keep_alive(&m.store, 7, 1), KeepAlive::Gone);
    assert_eq!(leader.remaining_s(&m.store, 7, 1), None);
    assert!(leader.due(&m.store, 100 * S).is_empty());
}

#[test]
fn many_checkpoints_share_an_entry() {
    let mut m = Machine::new();
    let mut leader = Lessor::new(&m.store, 1, 0);
    for id in 1..=100 {
        m.grant(id, 60);
        leader.observe(&m.store, id as u64 * S / 200);
    }
    let (entries, _) = lead(&mut m, &mut leader, 32 * S);
    assert_eq!(entries, 1);
}

#[test]
fn revoked_leases_leave_no_timers_behind() {
    let mut m = Machine::new();
    let mut leader = Lessor::new(&m.store, 1, 0);
    for id in 1..10_000 {
        m.grant(id, 1_000_000);
        leader.observe(&m.store, 0);
        m.apply(Command::LeaseRevoke { id }).unwrap();
    }
    assert!(format!("{leader:?}").len() < 100_000);
}
