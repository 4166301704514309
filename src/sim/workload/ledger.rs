//! The workload of our own storms: clients that write unique values to a [`Ledger`] and read it, on
//! any node, and enter what they see into one common [`History`].

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::env::clock::Sleep;
use crate::error::Refused;
use crate::id::Index;
use crate::scope::first::{First, first};
use crate::sim::client::Client;
use crate::sim::cluster::Handle;
use crate::sim::history::History;
use crate::sim::machine::{Ledger, Write};
use crate::sim::workload::Workload;

/// The longest time that a client waits for an answer before it goes on with its life; often it is
/// less. The engine refuses sooner than the longest; that is for nodes that are frozen.
pub const PATIENCE_MAX: Duration = Duration::from_secs(12);
/// The patience of a client in a hurry.
const PATIENCE_MIN: Duration = Duration::from_millis(150);

/// The largest padding of a write, in bytes; most are small.
const PADDING_MAX: u64 = 2_000;

/// The first of the clients that try each node after the trouble.
const TRIALS: u32 = 1_000_000;

/// Clients of a ledger that wait up to `pause_max` between two operations.
#[must_use]
pub fn ledger(pause_max: Duration) -> Workload<Ledger> {
    let history = Rc::new(RefCell::new(History::default()));
    let (entered, compared, tried) = (history.clone(), history.clone(), history.clone());
    let mut workload = Workload::new(Ledger::default)
        .clients(move |client| work(client, entered.clone(), pause_max))
        .finally(move |ledger| compared.borrow().compare(ledger.writes()));
    workload.serve = Rc::new(move |node, client, seq| {
        let write = Write { client: TRIALS + client, seq };
        tried.borrow_mut().expect(write);
        Box::pin(serve(node, write))
    });
    workload.history = Some(history);
    workload
}

/// A write, and whether the same node shows it then.
async fn serve(node: Handle<Ledger>, write: Write) -> Result<bool, Refused> {
    node.propose(write.command(0)).await?;
    node.read(|ledger| ledger.writes().iter().any(|&(_, w)| w == write)).await
}

async fn work(client: Client<Ledger>, history: Rc<RefCell<History>>, pause_max: Duration) {
    let (id, mut seq) = (client.id(), 0);
    while client.goes_on() {
        client.pause(pause_max).await;
        let Some(node) = client.any_node() else {
            continue;
        };
        let rng = client.rng();
        let longest = if rng.chance(700) { PATIENCE_MIN * 8 } else { PATIENCE_MAX };
        let patience = client.clock().sleep(rng.between(PATIENCE_MIN, longest));
        let seen = if rng.chance(650) {
            seq += 1;
            let padding = if rng.chance(50) { rng.within(0..=PADDING_MAX) } else { 8 };
            let write = Write { client: id, seq };
            let command = write.command(usize::try_from(padding).unwrap_or(0));
            self::write(&client, &history, &node, write, command, patience).await
        } else {
            read(&client, &history, &node, patience).await
        };
        if let Err(what) = seen {
            client.complain(what);
        }
    }
}

async fn write(
    client: &Client<Ledger>,
    history: &RefCell<History>,
    node: &Handle<Ledger>,
    write: Write,
    command: Bytes,
    patience: Sleep,
) -> Result<(), String> {
    let floor = history.borrow_mut().begin_write(write);
    let answer = first(client.ask(node, "write", node.propose(command)), patience).await;
    let mut history = history.borrow_mut();
    match answer {
        First::A(Ok(applied)) => history.acknowledged(write, floor, applied.index),
        First::A(Err(refused)) => {
            history.refused(write, &refused);
            Ok(())
        }
        First::B(()) => Ok(()),
    }
}

async fn read(
    client: &Client<Ledger>,
    history: &RefCell<History>,
    node: &Handle<Ledger>,
    patience: Sleep,
) -> Result<(), String> {
    let floor = history.borrow().begin_read();
    let last = |ledger: &Ledger| -> Index { ledger.last_index() };
    let answer = first(client.ask(node, "read", node.read(|probe| last(probe))), patience).await;
    let mut history = history.borrow_mut();
    match answer {
        First::A(Ok(last)) => history.read(floor, last),
        First::A(Err(_)) | First::B(()) => {
            history.read_refused();
            Ok(())
        }
    }
}
