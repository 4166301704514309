//! Your own state machine on a real, durable node: a counter that survives being killed.
//!
//! ```console
//! $ cargo run --example counter
//! $ cargo run --example counter   # goes on where it was
//! ```

use std::error::Error;
use std::rc::Rc;

use bytes::Bytes;
use quorate::env::disk::SyncMode;
use quorate::env::{Clock, Disk, Env, Rng, Spawner, io, net};
use quorate::id::ClusterId;
use quorate::raft::{Node, Observer};
use quorate::{Committed, Config, NodeId, StateMachine};

/// The state: a number. A command is a number to add, as 8 bytes.
struct Counter(u64);

impl StateMachine for Counter {
    /// The sum, or what was wrong with the command.
    type Response = Result<u64, String>;

    fn apply(&mut self, entry: Committed<'_>) -> Self::Response {
        let bytes = entry.payload.try_into().map_err(|_| "a command has 8 bytes".to_owned())?;
        self.0 = self.0.wrapping_add(u64::from_le_bytes(bytes));
        Ok(self.0)
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::once(self.0.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(snapshot.try_into().map_err(|_| "a counter has 8 bytes")?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join("quorate-counter");
    let executor = Rc::new(smol::LocalExecutor::new());
    let me = NodeId(1);

    // A cluster of one: no peers, so nobody needs to carry frames.
    let (net, _wire) = net::net(me, [], net::NetLimits::default());
    let env = Env {
        clock: Clock::real(),
        rng: Rng::real(),
        net,
        disk: Disk::open(&folder, SyncMode::Auto)?,
        spawner: Spawner::new(executor.clone()),
    };
    let config = Config::new(me, ClusterId(1), [me])?;
    let (node, life) = Node::start(config, env, Counter(0), Observer::default())?;
    let life = executor.spawn(life);

    io::block_on(executor.run(async {
        for _ in 0..3 {
            let command = Bytes::copy_from_slice(&1u64.to_le_bytes());
            let applied = node.propose(command).await?;
            quorate::env::output::line(format_args!(
                "entry {}: the counter is {}",
                applied.index, applied.response?
            ));
        }
        let read = node.read(|counter| counter.0).await?;
        quorate::env::output::line(format_args!(
            "a linearizable read says {read}; the journal is in {}",
            folder.display()
        ));
        node.shutdown();
        life.await?;
        Ok(())
    }))
}
