//! A future for each component, all in one task: queues and notifies between them, frames shared.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use quorate::env::Disk;
use quorate::env::disk::SyncMode;
use quorate::env::io::{TcpStream, block_on};
use quorate::scope::notify::Notify;
use quorate::scope::nursery::Nursery;
use smol::LocalExecutor;

use crate::shapes::Gauge;
use crate::shapes::work::{LOG, LOG_BYTES, Ledger, Machine, frame, index_of, last, place};

type Frame = Rc<[u8]>;

/// Frames for one component.
#[derive(Default)]
struct Queue(RefCell<VecDeque<Frame>>, Notify);

impl Queue {
    fn send(&self, frame: Frame) {
        self.0.borrow_mut().push_back(frame);
        self.1.notify();
    }

    /// Waits for frames and takes all that have come in.
    async fn batch(&self) -> Vec<Frame> {
        while self.0.borrow().is_empty() {
            self.1.notified().await;
        }
        self.0.borrow_mut().drain(..).collect()
    }
}

/// What the components share.
struct Node {
    /// For the log and the two replications.
    holders: [Queue; 3],
    machine: Queue,
    held: [Cell<u64>; 3],
    applied: Cell<u64>,
    core: Notify,
}

async fn log(node: &Node, disk: &Disk) -> io::Result<()> {
    let file = disk.create("log")?;
    file.write_at(0, &vec![0; LOG_BYTES as usize])?;
    file.sync_now()?;
    let mut end = 0;
    loop {
        let frames = node.holders[LOG].batch().await.concat();
        let index = last(&frames);
        file.commit(place(&mut end, frames.len()), frames).await?;
        node.held[LOG].set(index);
        node.core.notify();
    }
}

async fn replication(node: &Node, who: usize, port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    stream.send_at_once()?;
    loop {
        stream.write_all(&node.holders[who].batch().await.concat()).await?;
        let mut index = [0; 8];
        stream.read_exact(&mut index).await?;
        node.held[who].set(u64::from_le_bytes(index));
        node.core.notify();
    }
}

async fn machine(node: &Node) -> io::Result<()> {
    let mut machine = Machine::default();
    loop {
        for frame in node.machine.batch().await {
            machine.apply(&frame);
            node.applied.set(index_of(&frame));
        }
        node.core.notify();
    }
}

async fn core(node: &Node, window: u64, mut gauge: Gauge) -> io::Result<()> {
    let (mut ledger, mut pending) = (Ledger::new(window), BTreeMap::new());
    while gauge.goes_on(ledger.applied)? {
        for index in ledger.issue() {
            let frame = Frame::from(frame(index));
            node.holders.iter().for_each(|holder| holder.send(frame.clone()));
            pending.insert(index, frame);
        }
        node.core.notified().await;
        ledger.applied = node.applied.get();
        for (who, held) in node.held.iter().enumerate() {
            for frame in ledger.hold(who, held.get()).filter_map(|i| pending.remove(&i)) {
                node.machine.send(frame);
            }
        }
    }
    Ok(())
}

pub(super) fn run(
    window: u64,
    peers: [u16; 2],
    folder: &Path,
    gauge: Gauge,
    mode: SyncMode,
) -> io::Result<()> {
    let disk = Disk::open(folder.join("own"), mode).map_err(io::Error::other)?;
    let node = Node {
        holders: Default::default(),
        machine: Queue::default(),
        held: Default::default(),
        applied: Cell::new(0),
        core: Notify::new(),
    };
    let executor = LocalExecutor::new();
    let life = executor.spawn(async move {
        // Polled in this order: the peers have their batch before the disk has the loop.
        let mut components = Nursery::new();
        components.add(core(&node, window, gauge));
        components.add(replication(&node, 1, peers[0]));
        components.add(replication(&node, 2, peers[1]));
        components.add(log(&node, &disk));
        components.add(machine(&node));
        components.next().await
    });
    block_on(executor.run(life))
}
