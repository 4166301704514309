//! A node can be ended and started again in one process, on the same directory, while handles of its
//! earlier life are still there.

use std::path::Path;

use bytes::Bytes;
use futures_lite::future::{or, poll_once};
use quorate::config::Config;
use quorate::env::disk::SyncMode;
use quorate::env::io::block_on;
use quorate::env::net::{NetLimits, net};
use quorate::env::{Clock, Disk, Env, Net, Rng, Spawner};
use quorate::helix;
use quorate::helix::commands::node::Options;
use quorate::helix::protocol::keys::Null;
use quorate::id::{ClusterId, NodeId};
use quorate::raft::{self, Observer};
use quorate::{Committed, Life, Refused, StateMachine};

/// How many commands were applied.
#[derive(Default)]
struct Count(u64);

impl StateMachine for Count {
    type Response = u64;

    fn apply(&mut self, _: Committed<'_>) -> u64 {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::once(self.0.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let bytes = snapshot.try_into().map_err(|_| "not eight bytes")?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

fn env(net: Net, disk: Disk) -> Env {
    let spawner = Spawner::with(|_| unreachable!("a node spawns nothing"));
    Env { clock: Clock::real(), rng: Rng::seeded(1), net, disk, spawner }
}

fn start(path: &Path, mode: SyncMode) -> (raft::Node<Count>, Life) {
    let me = NodeId(1);
    let (net, _wire) = net(me, [], NetLimits::default());
    let env = env(net, Disk::open(path, mode).expect("the directory is free"));
    let config = Config::new(me, ClusterId(1), [me]).expect("valid");
    raft::Node::start(config, env, Count::default(), Observer::default()).expect("it starts")
}

async fn write(node: &raft::Node<Count>, life: &mut Life) -> u64 {
    let written = async { node.propose(Bytes::new()).await.expect("decided").response };
    let lives = async {
        let ended = life.await;
        panic!("it ended: {ended:?}");
    };
    or(written, lives).await
}

async fn is_over(node: &raft::Node<Count>) {
    assert_eq!(node.propose(Bytes::new()).await.err(), Some(Refused::ShuttingDown));
    assert_eq!(node.read(|count| count.0).await, Err(Refused::ShuttingDown));
}

fn lives_again(mode: SyncMode) {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        // Three lives: one that is shut down, one that is dropped where it waits, and the last.
        let (first, mut life) = start(folder.path(), mode);
        assert_eq!(write(&first, &mut life).await, 1);
        first.shutdown();
        life.await.expect("in good order");
        is_over(&first).await;

        let (second, mut life) = start(folder.path(), mode);
        assert_eq!(write(&second, &mut life).await, 2, "the state is there");
        let mut proposal = Box::pin(second.propose(Bytes::from_static(b"on its way")));
        assert!(poll_once(&mut proposal).await.is_none());
        assert!(poll_once(&mut life).await.is_none());
        drop(life);
        assert_eq!(proposal.await.err(), Some(Refused::ShuttingDown));
        is_over(&second).await;

        let (third, mut life) = start(folder.path(), mode);
        assert!(write(&third, &mut life).await >= 3);
        assert_eq!(first.read_stale(|count| count.0), 1, "as it was at its end");
        is_over(&first).await;
    });
}

#[test]
fn a_node_whose_disk_syncs_in_place_lives_again() {
    lives_again(SyncMode::Inline);
}

#[test]
fn a_node_whose_disk_has_a_thread_lives_again() {
    lives_again(SyncMode::Thread);
}

/// One of four nodes, alone: it decides nothing, but it lives.
fn start_helix(path: &Path) -> (helix::Node<Count>, Life) {
    let members = [1, 2, 3, 4].map(NodeId);
    let (net, _wire) = net(members[0], members[1..].iter().copied(), NetLimits::default());
    let config = helix::Config::new(members[0], ClusterId(1), members).expect("valid");
    let options = Options::new(&config.timing);
    let env = env(net, Disk::open(path, SyncMode::Inline).expect("the directory is free"));
    let observer = helix::Observer::default();
    helix::Node::start(config, options, env, Box::new(Null), Count::default(), observer)
        .expect("it starts")
}

#[test]
fn a_node_of_helix_lives_again() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (first, mut life) = start_helix(folder.path());
        assert!(poll_once(&mut life).await.is_none());
        first.shutdown();
        life.await.expect("in good order");
        let (second, mut life) = start_helix(folder.path());
        assert!(poll_once(&mut life).await.is_none());
        drop(life);
        for old in [first, second] {
            assert_eq!(old.propose(Bytes::new()).await.err(), Some(Refused::ShuttingDown));
            assert_eq!(old.read(|count| count.0).await, Err(Refused::ShuttingDown));
        }
        let (_third, _life) = start_helix(folder.path());
    });
}

#[test]
fn a_closed_disk_is_free_and_writes_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), SyncMode::Thread).expect("free");
    let file = disk.create("a").expect("created");
    assert!(Disk::open(folder.path(), SyncMode::Thread).is_err(), "it is held");
    disk.close();
    let other = Disk::open(folder.path(), SyncMode::Thread).expect("free again");
    assert!(file.write_at(0, b"late").is_err() && disk.create("b").is_err());
    assert!(block_on(file.commit(0, b"late".to_vec())).is_err());
    assert_eq!(other.open_file("a").expect("it is there").size().expect("known"), 0);
}
