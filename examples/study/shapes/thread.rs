//! A thread for each component, channels between them: frames are shared, not copied.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use crate::shapes::Gauge;
use crate::shapes::work::{LOG, Ledger, Log, Machine, Peer, frame, index_of, last};

type Frame = Arc<[u8]>;

/// What a component tells the core.
enum Word {
    Held { who: usize, index: u64 },
    Applied(u64),
}

/// Starts a thread that does `work` with all that has come in, again and again.
fn component(
    name: &str,
    words: Sender<io::Result<Word>>,
    mut work: impl FnMut(&[Frame]) -> io::Result<Word> + Send + 'static,
) -> io::Result<Sender<Frame>> {
    let (to, from): (_, Receiver<Frame>) = channel();
    let run = move || {
        while let Ok(first) = from.recv() {
            let batch: Vec<_> = std::iter::once(first).chain(from.try_iter()).collect();
            let word = work(&batch);
            if words.send(word).is_err() {
                return;
            }
        }
    };
    Builder::new().name(name.into()).spawn(run)?;
    Ok(to)
}

pub(super) fn run(window: u64, peers: [u16; 2], folder: &Path, mut gauge: Gauge) -> io::Result<()> {
    let (words, heard) = channel();
    let mut log = Log::create(&folder.join("log"))?;
    let to_log = component("log", words.clone(), move |batch| {
        let frames = batch.concat();
        log.append(&frames)?;
        Ok(Word::Held { who: LOG, index: last(&frames) })
    })?;
    let mut holders = vec![to_log];
    for (port, who) in peers.into_iter().zip(1..) {
        let mut peer = Peer::dial(port)?;
        holders.push(component("replication", words.clone(), move |batch| {
            Ok(Word::Held { who, index: peer.copy(&batch.concat())? })
        })?);
    }
    let mut machine = Machine::default();
    let to_machine = component("machine", words, move |batch| {
        batch.iter().for_each(|frame| machine.apply(frame));
        Ok(Word::Applied(batch.last().map_or(0, |frame| index_of(frame))))
    })?;
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let (mut ledger, mut pending) = (Ledger::new(window), BTreeMap::new());
    while gauge.goes_on(ledger.applied)? {
        for index in ledger.issue() {
            let frame = Frame::from(frame(index));
            for to in &holders {
                to.send(frame.clone()).map_err(gone)?;
            }
            pending.insert(index, frame);
        }
        let first = heard.recv().map_err(io::Error::other)?;
        for word in std::iter::once(first).chain(heard.try_iter()) {
            match word? {
                Word::Applied(index) => ledger.applied = index,
                Word::Held { who, index } => {
                    for frame in ledger.hold(who, index).filter_map(|i| pending.remove(&i)) {
                        to_machine.send(frame).map_err(gone)?;
                    }
                }
            }
        }
    }
    Ok(())
}
