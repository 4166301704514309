//! The replicated side of leases.

use super::*;

fn stamp(m: &Machine, id: i64) -> LeaseStamp {
    let mut lessor = Lessor::new(&m.store, 1, 0);
    let commands = lessor.due(&m.store, u64::MAX);
    let Command::LeaseExpire { leases, .. } = &commands[0] else { panic!() };
    *leases.iter().find(|s| s.id == id).unwrap()
}

fn expire(lease: LeaseStamp) -> Command {
    Command::LeaseExpire { epoch: 1, leases: vec![lease] }
}

fn note(checkpoint: LeaseCheckpoint) -> Command {
    Command::LeaseCheckpoint { epoch: 1, checkpoints: vec![checkpoint] }
}

#[test]
fn a_revoked_lease_takes_its_keys_along_in_one_revision() {
    let mut m = Machine::new();
    m.grant(7, 60);
    m.put_leased("a", 7).unwrap();
    m.put_leased("b", 7).unwrap();
    m.put("c", "stays");
    let status = m.store.lease(7, true).unwrap();
    assert_eq!(status.keys.len(), 2);
    let revoked = m.apply(Command::LeaseRevoke { id: 7 });
    assert_eq!(revoked, Ok(Response::LeaseRevoke { revision: 5 }));
    assert_eq!(m.now("a", "\0"), "c=stays");
    assert_eq!(m.at(4, "a", "\0").unwrap(), "a=v b=v c=stays");
    let again = m.apply(Command::LeaseRevoke { id: 7 });
    assert_eq!(again, Err(KvError::LeaseNotFound));
    m.grant(8, 60);
    m.apply(Command::LeaseRevoke { id: 8 }).unwrap();
    assert_eq!(m.store.revision(), 5, "a lease without keys changes nothing");
}

#[test]
fn a_key_belongs_to_the_lease_of_its_last_put() {
    let mut m = Machine::new();
    m.grant(1, 60);
    m.grant(2, 60);
    m.put_leased("a", 1).unwrap();
    m.put_leased("a", 2).unwrap();
    m.apply(Command::LeaseRevoke { id: 1 }).unwrap();
    assert_eq!(m.get("a").unwrap().lease, 2);
    m.put("a", "free");
    m.apply(Command::LeaseRevoke { id: 2 }).unwrap();
    assert_eq!(m.now("a", ""), "a=free");
    m.grant(3, 60);
    m.put_leased("b", 3).unwrap();
    m.delete("b", "");
    assert!(m.store.lease(3, true).unwrap().keys.is_empty());
}

#[test]
fn grants_are_refused_as_etcd_does() {
    let mut m = Machine::new();
    let mut grant = |id, ttl_s| m.apply(Command::LeaseGrant { id, ttl_s });
    assert_eq!(grant(1, LEASE_TTL_MAX_S + 1), Err(KvError::LeaseTtlTooLarge));
    assert!(grant(1, LEASE_TTL_MAX_S).is_ok());
    assert_eq!(grant(1, 60), Err(KvError::LeaseExists));
    let Ok(Response::LeaseGrant { ttl_s, .. }) = grant(2, -3) else { panic!() };
    assert_eq!(ttl_s, 2, "the shortest time to live");
    let limits = Limits { leases_max: 2, ..Limits::default() };
    m.apply(Command::Configure(limits)).unwrap();
    let refused = m.apply(Command::LeaseGrant { id: 3, ttl_s: 9 });
    assert_eq!(refused, Err(KvError::TooManyLeases));
    assert_eq!(m.store.leases(), [1, 2]);
}

#[test]
fn a_lease_without_a_wish_gets_a_positive_id_that_is_free() {
    let mut m = Machine::new();
    let first = m.grant(0, 60);
    assert!(first > 0);
    m.apply(Command::LeaseRevoke { id: first }).unwrap();
    // The same entry index would make the same id: occupy it.
    m.index = 0;
    m.grant(first, 60);
    m.index = 0;
    let other = m.grant(0, 60);
    assert_eq!(other, first + 1);
}

#[test]
fn an_expiry_that_is_late_does_not_kill_a_renewed_lease() {
    let mut m = Machine::new();
    m.grant(7, 60);
    m.put_leased("a", 7).unwrap();
    let late = stamp(&m, 7);
    m.apply(Command::LeaseRenew { id: 7 }).unwrap();
    m.apply(expire(late)).unwrap();
    assert_eq!(m.now("a", ""), "a=v");
    m.apply(Command::LeaseRevoke { id: 7 }).unwrap();
    m.grant(7, 60);
    m.apply(expire(late)).unwrap();
    assert_eq!(m.store.leases(), [7], "nor another lease of the same id");
    let current = stamp(&m, 7);
    m.apply(expire(current)).unwrap();
    assert!(m.store.leases().is_empty());
}

#[test]
fn no_lease_is_shorter_than_a_second_whatever_the_limits_say() {
    let mut m = Machine::with_limits(Limits { lease_ttl_min_s: i64::MIN, ..Limits::default() });
    m.grant(7, i64::MIN);
    let lease = stamp(&m, 7);
    let checkpoint = LeaseCheckpoint { lease, remaining_s: i64::MIN };
    m.apply(note(checkpoint)).unwrap();
    let status = m.store.lease(7, false).unwrap();
    assert_eq!((status.granted_ttl_s, status.remaining_s), (1, 1));
}

#[test]
fn a_checkpoint_only_shortens_and_a_renewal_restores_the_full_time() {
    let mut m = Machine::new();
    m.grant(7, 60);
    let remaining = |m: &Machine| m.store.lease(7, false).unwrap().remaining_s;
    let checkpoint = |m: &mut Machine, lease, remaining_s| {
        let checkpoint = LeaseCheckpoint { lease, remaining_s };
        m.apply(note(checkpoint)).unwrap();
    };
    let first = stamp(&m, 7);
    checkpoint(&mut m, first, 30);
    assert_eq!(remaining(&m), 30);
    checkpoint(&mut m, first, 10);
    assert_eq!(remaining(&m), 30, "of a state that is gone");
    let second = stamp(&m, 7);
    checkpoint(&mut m, second, 50);
    assert_eq!(remaining(&m), 30, "time does not flow back");
    let renewed = m.apply(Command::LeaseRenew { id: 7 });
    let expect = Response::LeaseRenew { revision: 1, id: 7, ttl_s: 60 };
    assert_eq!(renewed, Ok(expect));
    assert_eq!(remaining(&m), 60);
    let gone = m.apply(Command::LeaseRenew { id: 8 });
    assert_eq!(gone, Err(KvError::LeaseNotFound));
}
