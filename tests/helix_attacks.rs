//! Attacks, one by one: each has forked, stopped or killed an implementation of this protocol, and
//! each must fail here. In most of them one of four nodes lies, and the test speaks for it: it holds
//! its keys, and it sees and stops frames on the way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use quorate::helix::protocol::app::Member;
use quorate::helix::protocol::block::{Block, Hash};
use quorate::helix::protocol::message::{
    Envelope, Kind, Message, NewView, Signature, ViewChange, Vote,
};
use quorate::helix::protocol::proof::PreparedProof;
use quorate::id::{Height, NodeId, View};
use quorate::sim::cluster::Death;
use quorate::sim::helix::adversary::{Hand, Trick};
use quorate::sim::helix::cluster::{Cluster, Settings, Setup};
use quorate::sim::helix::events::{INSTANCE, read};
use quorate::sim::helix::schedule::CommitteeSchedule;
use quorate::sim::helix::test_app::TestBlock;
use quorate::sim::machine::Ledger;
use quorate::sim::net::{Fate, Flight};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const N4: NodeId = NodeId(4);
const H1: Height = Height(1);
const V0: View = View(0);
const V1: View = View(1);
const SPAN: Duration = Duration::from_secs(30);

/// A slot for the test to speak from: it does nothing by itself.
#[derive(Debug)]
struct Vacant;

impl Trick for Vacant {
    fn says(&mut self, _: &mut Hand, _: NodeId, _: Message) {}
    fn hears(&mut self, _: &mut Hand, _: NodeId, _: &Message) -> bool {
        false
    }
}

type Stops = fn(&Flight, &Message) -> bool;

/// A cluster whose frames the test sees, and stops as long as it likes.
struct Rig {
    cluster: Cluster<Ledger>,
    seen: Rc<RefCell<Vec<(NodeId, Message)>>>,
    closed: Rc<Cell<bool>>,
}

impl Rig {
    /// `stops` says which frames are lost until [`open`](Self::open).
    fn new(setup: Setup<Ledger>, liar: Option<NodeId>, stops: Stops) -> Self {
        let mut cluster = Cluster::new(1, setup, Ledger::default);
        let seen: Rc<RefCell<Vec<(NodeId, Message)>>> = Rc::default();
        let closed = Rc::new(Cell::new(true));
        let (to, stop) = (seen.clone(), closed.clone());
        let gate = move |flight: &Flight| {
            let Ok(message) = read(flight) else { return Fate::Pass };
            let lost = stop.get() && stops(flight, &message);
            to.borrow_mut().push((flight.from, message));
            if lost { Fate::Drop } else { Fate::Pass }
        };
        cluster.world().network(|network| network.set_gate(Some(Box::new(gate))));
        liar.into_iter().for_each(|liar| cluster.corrupt_with(liar, Box::new(Vacant)));
        cluster.start_all();
        Self { cluster, seen, closed }
    }

    fn open(&self) {
        self.closed.set(false);
    }

    fn run(&self, millis: u64) {
        self.cluster.world().run_for(Duration::from_millis(millis));
        self.check();
    }

    fn check(&self) {
        if let Some(violation) = self.cluster.world().violation() {
            panic!("{}\n{violation}", self.cluster.world().trace().take_text().join("\n"));
        }
    }

    /// The first word in which `find` finds something.
    fn heard<T>(&self, find: impl Fn(NodeId, &Message) -> Option<T>) -> Option<T> {
        self.seen.borrow().iter().find_map(|(from, message)| find(*from, message))
    }

    /// What the leader of view 0 proposed at the first height.
    fn proposed(&self) -> (Vote, Block) {
        let find = |_, message: &Message| match message {
            Message::PrePrepare { vote, block } if block.height == H1 => {
                Some((*vote, block.clone()))
            }
            _ => None,
        };
        self.heard(find).expect("a proposal")
    }

    fn prepare_of(&self, node: NodeId) -> Vote {
        let find = |from, message: &Message| match message {
            Message::Prepare(vote) if from == node && vote.height == H1 => Some(*vote),
            _ => None,
        };
        self.heard(find).expect("a PREPARE")
    }

    fn change_of(&self, node: NodeId, view: View) -> ViewChange {
        let find = |from, message: &Message| match message {
            Message::ViewChange { change, .. } if from == node && change.view == view => {
                Some(change.clone())
            }
            _ => None,
        };
        self.heard(find).expect("a VIEW_CHANGE")
    }

    fn inject(&self, from: NodeId, to: &[NodeId], message: &Message) {
        let frame = Envelope::encode(INSTANCE, message);
        to.iter().for_each(|&to| self.cluster.inject(from, to, frame.clone()));
    }

    fn vote(&self, node: NodeId, kind: Kind, view: View, hash: Hash) -> Vote {
        self.cluster.signer(node, INSTANCE).vote(kind, H1, view, hash)
    }

    fn commit(&self, node: NodeId, view: View, hash: Hash) -> Message {
        let vote = self.vote(node, Kind::Commit, view, hash);
        Message::Commit { vote, share: None }
    }

    fn tip(&self, node: NodeId) -> Height {
        self.cluster.tip(node)
    }

    /// Whether an honest node has voted for the block.
    fn voted(&self, hash: Hash) -> bool {
        let of_it = |from: NodeId, message: &Message| match message {
            Message::Prepare(vote) | Message::Commit { vote, .. } => {
                let honest = self.cluster.honest().contains(&from);
                (honest && vote.hash == hash).then_some(())
            }
            _ => None,
        };
        self.heard(of_it).is_some()
    }

    /// The chain goes on, everywhere.
    fn must_go_on(&self) {
        self.open();
        let goal = Height(self.cluster.world().checker().borrow().decided().0 + 3);
        let on = self.cluster.run_until_decided(goal, SPAN);
        self.check();
        assert!(on, "{}", self.cluster.world().trace().take_text().join("\n"));
    }
}

fn evil(liar: NodeId) -> Block {
    let payload = TestBlock { maker: liar, number: 666, sound: true }.payload();
    Block { height: H1, previous: Hash::NONE, proposer: liar, time: 0, payload }
}

/// n1 has decided its block with the votes of n3 and n4, who do not know: no COMMIT reaches them.
/// n2 lies; it is the leader of view 1, of view 5, of view 21.
fn decided_by_one() -> Rig {
    let stops: Stops = |flight, message| match message {
        Message::Commit { .. } => flight.to != N1 && flight.from != N2,
        Message::Tip(_) | Message::Blocks(_) => flight.from == N1,
        _ => false,
    };
    let rig = Rig::new(Setup::default(), Some(N2), stops);
    rig.cluster.world().run_for(Duration::from_millis(300));
    rig.check();
    assert_eq!([N1, N3, N4].map(|node| rig.tip(node)), [H1, Height(0), Height(0)]);
    rig.cluster.partition(&[N1], &[N2, N3, N4]);
    rig
}

/// What an attack that forks wants: n3 and n4 decide the liar's block.
fn must_stand(rig: &Rig, evil: &Block) {
    rig.run(3_000);
    let hash = evil.hash(INSTANCE);
    assert!(!rig.voted(hash), "nobody honest may vote for it");
    rig.cluster.heal();
    rig.must_go_on();
    let (first, _) = rig.proposed();
    assert_eq!(rig.cluster.world().checker().borrow().block(H1), Some(first.hash));
}

#[test]
fn a_bare_preprepare_of_view_1_replaces_nothing() {
    let rig = decided_by_one();
    rig.run(400);
    let views = [N3, N4].map(|node| rig.cluster.node(node).expect("up").status().view);
    assert_eq!(views, [V1, V1], "both have left view 0");
    let block = evil(N2);
    let hash = block.hash(INSTANCE);
    let vote = rig.vote(N2, Kind::PrePrepare, V1, hash);
    rig.inject(N2, &[N3, N4], &Message::PrePrepare { vote, block: block.clone() });
    rig.inject(N2, &[N3, N4], &rig.commit(N2, V1, hash));
    must_stand(&rig, &block);
}

/// Votes of others for a view, invented by the liar; its own is right.
fn garbage(rig: &Rig, liar: NodeId, view: View) -> Vec<(NodeId, ViewChange)> {
    let own = rig.cluster.signer(liar, INSTANCE).view_change(H1, view, None);
    let invented = ViewChange { signature: Signature([7; 64]), ..own.clone() };
    vec![(N1, invented.clone()), (N2, own), (N3, invented)]
}

fn new_view(rig: &Rig, liar: NodeId, view: View, changes: Vec<(NodeId, ViewChange)>) -> NewView {
    rig.cluster.signer(liar, INSTANCE).new_view(H1, view, changes, evil(liar))
}

#[test]
fn a_new_view_with_invented_votes_replaces_nothing() {
    let rig = decided_by_one();
    let view = View(5);
    let new = new_view(&rig, N2, view, garbage(&rig, N2, view));
    rig.inject(N2, &[N3, N4], &Message::NewView(Box::new(new)));
    rig.inject(N2, &[N3, N4], &rig.commit(N2, view, evil(N2).hash(INSTANCE)));
    must_stand(&rig, &evil(N2));
}

#[test]
fn a_new_view_of_another_block_than_the_proven_one_replaces_nothing() {
    let rig = decided_by_one();
    rig.run(600);
    let own = rig.cluster.signer(N2, INSTANCE).view_change(H1, V1, None);
    let [three, four] = [N3, N4].map(|node| rig.change_of(node, V1));
    assert!(three.prepared.is_some(), "n3 holds a proof of the first block");
    let changes = vec![(N2, own), (N3, three), (N4, four)];
    let new = new_view(&rig, N2, V1, changes.clone());
    let message = Message::NewView(Box::new(new.clone()));
    rig.inject(N2, &[N3, N4], &message);
    // The words of one block around another, and the proofs taken out of the votes.
    let block = rig.proposed().1;
    rig.inject(N2, &[N3, N4], &Message::NewView(Box::new(NewView { block, ..new })));
    let bare =
        |(node, change): (NodeId, ViewChange)| (node, ViewChange { prepared: None, ..change });
    let new = new_view(&rig, N2, V1, changes.into_iter().map(bare).collect());
    rig.inject(N2, &[N3, N4], &Message::NewView(Box::new(new)));
    rig.inject(N2, &[N3, N4], &rig.commit(N2, V1, evil(N2).hash(INSTANCE)));
    must_stand(&rig, &evil(N2));
}

#[test]
fn a_prepare_is_no_commit() {
    let rig = Rig::new(Setup::default(), Some(N2), |_, message| {
        matches!(message, Message::Commit { .. })
    });
    rig.run(300);
    rig.open();
    let first = rig.proposed().0;
    for node in [N3, N4] {
        let commit = Message::Commit { vote: rig.prepare_of(node), share: None };
        rig.inject(node, &[N1], &commit);
    }
    rig.closed.set(true);
    rig.inject(N2, &[N1], &Message::Commit { vote: first, share: None });
    rig.run(100);
    assert_eq!(rig.tip(N1), Height(0), "it holds one COMMIT, its own");
    rig.must_go_on();
}

#[test]
fn a_commit_of_a_stranger_is_in_no_proof() {
    let members = (1..=4).map(|id| Member { node: NodeId(id), weight: 1 }).collect();
    let schedule = CommitteeSchedule::Raw(members);
    let protocol = Settings { schedule, ..Settings::default() };
    let setup = Setup { nodes: 5, protocol, ..Setup::default() };
    let stranger = NodeId(5);
    let rig =
        Rig::new(setup, Some(stranger), |_, message| matches!(message, Message::Commit { .. }));
    rig.run(300);
    rig.open();
    let hash = rig.proposed().0.hash;
    rig.inject(stranger, &[N1, N2, N3, N4], &rig.commit(stranger, V0, hash));
    rig.inject(N2, &[N1], &rig.commit(N2, V0, hash));
    rig.closed.set(true);
    rig.run(50);
    assert_eq!(rig.tip(N1), Height(0), "two members and a stranger are no quorum");
    // The checker looks at every proof that is delivered.
    rig.must_go_on();
}

#[test]
fn a_proof_without_its_block_does_not_cost_the_view() {
    // n1 lies: it shows its block to n3 and n4 only, and alone sees that both accept it.
    let stops: Stops = |flight, message| match message {
        Message::Prepare(vote) => vote.view == V0 && flight.to != N1,
        Message::Commit { vote, .. } => vote.view == V0,
        _ => false,
    };
    let rig = Rig::new(Setup::default(), Some(N1), stops);
    let block = evil(N1);
    let hash = block.hash(INSTANCE);
    let vote = rig.vote(N1, Kind::PrePrepare, V0, hash);
    rig.run(20);
    rig.inject(N1, &[N3, N4], &Message::PrePrepare { vote, block });
    rig.run(200);
    let [three, four] = [N3, N4].map(|node| (node, rig.prepare_of(node).signature));
    let (view, proposal, prepares) = (V0, vote.signature, vec![three, four]);
    let proof = PreparedProof { view, hash, proposal, prepares };
    let change = rig.cluster.signer(N1, INSTANCE).view_change(H1, V1, Some(proof));
    rig.inject(N1, &[N2, N3, N4], &Message::ViewChange { change, block: None });
    // View 1 begins after half a second and may last for one.
    assert!(rig.cluster.run_until_decided(H1, Duration::from_millis(800)), "in view 1");
    rig.check();
    let new_view = |_, message: &Message| match message {
        Message::NewView(new) if new.height == H1 => Some((new.view, new.block.proposer)),
        _ => None,
    };
    assert_eq!(rig.heard(new_view), Some((V1, N2)));
    rig.must_go_on();
}

/// Frames that make no sense, or too much of it, to everybody at once.
fn must_shrug(words: impl Fn(&Rig) -> Vec<Bytes>) {
    let rig = Rig::new(Setup::default(), Some(N4), |_, _| false);
    rig.run(200);
    for frame in words(&rig) {
        for to in [N1, N2, N3] {
            for _ in 0..50 {
                rig.cluster.inject(N4, to, frame.clone());
            }
        }
    }
    let before = rig.cluster.decided_by_all();
    rig.run(500);
    let height = rig.cluster.decided_by_all();
    assert!(height.0 > before.0 + 5, "it costs nothing: {before:?} to {height:?}");
    let coverage = rig.cluster.world().checker().borrow().coverage();
    assert_eq!((coverage.elected, coverage.learned), (0, 0), "and disturbs nobody");
    for node in [N1, N2, N3] {
        let status = rig.cluster.node(node).expect("up").status();
        assert_eq!((status.view, status.kept), (V0, 0));
        assert!(status.vitals.malformed > 0 || status.trouble.is_none());
    }
    rig.must_go_on();
}

#[test]
fn an_empty_frame_is_nothing() {
    must_shrug(|_| vec![Bytes::new(), Bytes::from_static(&[1]), Bytes::from_static(&[0xff; 9])]);
}

#[test]
fn a_view_beyond_all_bounds_is_nothing() {
    must_shrug(|rig| {
        let signer = rig.cluster.signer(N4, INSTANCE);
        let height = Height(rig.tip(N1).0 + 1);
        let views = [(1 << 63) + 1, u64::MAX, 1 << 32, 1 << 31];
        let words = views.map(View).map(|view| {
            let change = signer.view_change(height, view, None);
            Envelope::encode(INSTANCE, &Message::ViewChange { change, block: None })
        });
        words.to_vec()
    });
}

#[test]
fn a_height_beyond_all_bounds_poisons_nothing() {
    must_shrug(|rig| {
        let signer = rig.cluster.signer(N4, INSTANCE);
        let heights = [1 << 62, u64::MAX, rig.tip(N1).0 + 1_000];
        let words = heights.map(Height).map(|height| {
            let vote = signer.vote(Kind::Prepare, height, V0, Hash([1; 32]));
            Envelope::encode(INSTANCE, &Message::Prepare(vote))
        });
        words.to_vec()
    });
}

#[test]
fn an_invented_new_view_of_view_21_makes_nobody_wait() {
    let rig = Rig::new(Setup::default(), Some(N2), |_, message| {
        matches!(message, Message::Commit { .. })
    });
    rig.run(100);
    let view = View(21);
    let new = new_view(&rig, N2, view, garbage(&rig, N2, view));
    rig.inject(N2, &[N1, N3, N4], &Message::NewView(Box::new(new)));
    rig.run(100);
    for node in [N1, N3, N4] {
        assert_eq!(rig.cluster.node(node).expect("up").status().view, V0);
    }
    rig.open();
    assert!(rig.cluster.run_until_decided(Height(5), Duration::from_secs(5)));
    rig.must_go_on();
}

#[test]
fn a_committee_of_three_decides_nothing_and_kills_nobody() {
    let members = (1..=3).map(|id| Member { node: NodeId(id), weight: 1 }).collect();
    let schedule = CommitteeSchedule::Raw(members);
    let protocol = Settings { schedule, ..Settings::default() };
    let setup = Setup { protocol, ..Setup::default() };
    let mut rig = Rig::new(setup, None, |_, _| false);
    rig.run(5_000);
    for node in [N1, N2, N3, N4] {
        let status = rig.cluster.node(node).expect("up").status();
        assert_eq!(status.tip, Height(0));
        assert!(status.trouble.is_some_and(|trouble| trouble.contains("committee")));
    }
    assert!(rig.cluster.shutdown(N1, SPAN).expect("it ends in time").is_ok());
    rig.cluster.crash(N2, Death::PowerCut);
    rig.cluster.start(N2).expect("a healthy disk");
    rig.check();
}

/// The liar n2 leaves for a view, by its own word only.
fn leave(rig: &Rig, view: View, to: &[NodeId]) {
    let change = rig.cluster.signer(N2, INSTANCE).view_change(H1, view, None);
    rig.inject(N2, to, &Message::ViewChange { change, block: None });
}

/// The liar n2 votes for a block.
fn vote_for(rig: &Rig, view: View, hash: Hash, to: &[NodeId]) {
    rig.inject(N2, to, &Message::Prepare(rig.vote(N2, Kind::Prepare, view, hash)));
    rig.inject(N2, to, &rig.commit(N2, view, hash));
}

#[test]
fn a_member_that_is_in_a_list_twice_counts_once() {
    let rig = decided_by_one();
    let (view, block) = (View(5), evil(N2));
    let own = rig.cluster.signer(N2, INSTANCE).view_change(H1, view, None);
    let new = new_view(&rig, N2, view, vec![(N2, own); 3]);
    rig.inject(N2, &[N3, N4], &Message::NewView(Box::new(new)));
    rig.inject(N2, &[N3, N4], &rig.commit(N2, view, block.hash(INSTANCE)));
    must_stand(&rig, &block);
}

#[test]
fn a_lock_binds_however_old_it_is() {
    let rig = decided_by_one();
    let view = View(6);
    leave(&rig, view, &[N3, N4]);
    // One, two, and three times four seconds.
    rig.run(17_000);
    let (first, _) = rig.proposed();
    let shown = rig.change_of(N4, view).prepared.expect("n4 shows its lock");
    assert_eq!((shown.view, shown.hash), (V0, first.hash));
    let begun = |from, message: &Message| match message {
        Message::NewView(new) if from == N3 => Some((new.view, new.block.hash(INSTANCE))),
        _ => None,
    };
    assert_eq!(rig.heard(begun), Some((view, first.hash)), "n3 has no choice");
    rig.cluster.heal();
    rig.must_go_on();
    assert_eq!(rig.cluster.world().checker().borrow().block(H1), Some(first.hash));
}

/// Of one height: n1 alone holds a proof of the first block, of view 0. The liar n2 begins view 1
/// with a block of its own, by right: the two others have seen nothing prepared.
fn two_proven(stops: Stops) -> Rig {
    let rig = Rig::new(Setup::default(), Some(N2), stops);
    rig.run(700);
    let own = rig.cluster.signer(N2, INSTANCE).view_change(H1, V1, None);
    let [one, three, four] = [N1, N3, N4].map(|node| rig.change_of(node, V1));
    let proven = [&one, &three, &four].map(|change| change.prepared.is_some());
    assert_eq!(proven, [true, false, false]);
    let new = new_view(&rig, N2, V1, vec![(N2, own), (N3, three), (N4, four)]);
    rig.inject(N2, &[N3, N4], &Message::NewView(Box::new(new)));
    rig.run(100);
    rig
}

#[test]
fn a_proof_that_is_dated_anew_binds_nobody() {
    let rig = two_proven(|flight, message| match message {
        Message::Prepare(vote) => (vote.view == V0) != (flight.to == N1),
        Message::Commit { vote, .. } => vote.view == V0 || (vote.view == V1 && flight.to != N3),
        Message::Tip(_) | Message::Blocks(_) => flight.from == N3,
        _ => false,
    });
    rig.open();
    let (first, block) = rig.proposed();
    let second = evil(N2).hash(INSTANCE);
    vote_for(&rig, V1, second, &[N3]);
    rig.run(50);
    assert_eq!(rig.tip(N3), H1, "the second block is decided");
    rig.cluster.partition(&[N3], &[N1, N2, N4]);
    let view = View(5);
    leave(&rig, view, &[N1, N4]);
    // One, two, and two times four seconds.
    rig.run(12_500);
    let [one, four] = [N1, N4].map(|node| rig.change_of(node, view));
    let old = one.prepared.clone().expect("of view 0");
    let proof = PreparedProof { view: View(4), ..old };
    let own = rig.cluster.signer(N2, INSTANCE).view_change(H1, view, Some(proof));
    let changes = vec![(N1, one), (N2, own), (N4, four)];
    let new = rig.cluster.signer(N2, INSTANCE).new_view(H1, view, changes, block);
    rig.inject(N2, &[N1, N4], &Message::NewView(Box::new(new)));
    vote_for(&rig, view, first.hash, &[N1, N4]);
    rig.run(200);
    rig.cluster.heal();
    rig.must_go_on();
    assert_eq!(rig.cluster.world().checker().borrow().block(H1), Some(second));
}

/// n1 votes in view 2 for the block that it holds a proof of from view 0. If it committed to it
/// before it holds one of view 2, n3 would decide it; and in view 3 the proof of view 1 that n4 holds
/// would be the latest.
#[test]
fn nobody_commits_by_a_proof_of_an_earlier_view() {
    let (v2, v3) = (View(2), View(3));
    let rig = two_proven(|flight, message| match message {
        Message::Prepare(vote) => match vote.view {
            V0 => flight.to != N1,
            V1 => flight.to != N4,
            View(2) => flight.to != N3,
            _ => false,
        },
        Message::Commit { vote, .. } => {
            vote.view < V1.next() || (vote.view == View(2) && flight.to != N3)
        }
        Message::ViewChange { change, .. } => change.view == View(2) && flight.from == N4,
        Message::NewView(new) => new.view == View(2) && flight.to == N4,
        Message::Tip(_) | Message::Blocks(_) => true,
        _ => false,
    });
    let (first, second) = (rig.proposed().0.hash, evil(N2).hash(INSTANCE));
    leave(&rig, v2, &[N1, N3, N4]);
    rig.run(1_500);
    let again = |from, message: &Message| match message {
        Message::NewView(new) if from == N3 => Some((new.view, new.block.hash(INSTANCE))),
        _ => None,
    };
    assert_eq!(rig.heard(again), Some((v2, first)), "n4 was not heard");
    vote_for(&rig, v2, first, &[N3]);
    rig.run(100);
    rig.cluster.partition(&[N3], &[N1, N2, N4]);
    leave(&rig, v3, &[N1, N4]);
    rig.run(3_000);
    vote_for(&rig, v3, second, &[N1, N4]);
    rig.run(200);
    assert_eq!([N1, N4].map(|node| rig.tip(node)), [H1; 2], "the second block is decided");
    rig.cluster.heal();
    rig.must_go_on();
    assert_eq!(rig.cluster.world().checker().borrow().block(H1), Some(second));
}
