//! What carries no data, and what data costs to carry: signals, and bytes against pointers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::env::Clock;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGUSR1;
use signal_hook::low_level::pipe;

use crate::figures::Figures;
use crate::measure::{Spread, nanos, time_each};
use crate::workers::Worker;

const SIGNALS: &str = "Signals";
const MARSHAL: &str = "Handing over 64 commands of 256 bytes";

pub(crate) fn run(figures: &mut Figures) -> io::Result<()> {
    signals(figures)?;
    marshal(figures)
}

/// A signal arrives as a byte on a socket: the handler may do no more than that.
fn on_signal() -> io::Result<UnixStream> {
    let (receiver, sender) = UnixStream::pair()?;
    pipe::register(SIGUSR1, sender)?;
    Ok(receiver)
}

/// The process that answers each signal with a signal, once it has said that it listens.
pub(crate) fn signal_job(parent: i32) -> io::Result<()> {
    let mut arrivals = on_signal()?;
    let parent = Pid::from_raw(parent).ok_or(io::ErrorKind::InvalidInput)?;
    crate::workers::output()?.write_all(b"!")?;
    loop {
        arrivals.read_exact(&mut [0])?;
        kill_process(parent, Signal::USR1)?;
    }
}

fn signals(figures: &mut Figures) -> io::Result<()> {
    let mut arrivals = on_signal()?;
    let (worker, _input, mut output) = Worker::start(&["signal", &std::process::id().to_string()])?;
    output.read_exact(&mut [0])?;
    let peer = Pid::from_raw(worker.pid() as i32).ok_or(io::ErrorKind::InvalidInput)?;
    let mut round = || {
        let done = kill_process(peer, Signal::USR1).map_err(io::Error::from);
        let done = done.and_then(|()| arrivals.read_exact(&mut [0]));
        assert!(done.is_ok(), "the other process is gone: {done:?}");
    };
    round();
    let spread = time_each(20, 500, round);
    figures.add(SIGNALS, "SIGUSR1 to a process and one back", "measured", "ns", spread);
    // Sent one after the other without waiting: those that find one pending are lost.
    const SENT: usize = 1_000;
    for _ in 0..SENT {
        kill_process(peer, Signal::USR1)?;
    }
    arrivals.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut heard = 0;
    loop {
        match arrivals.read(&mut [0]) {
            Ok(1..) => heard += 1,
            // A signal ends the wait on this socket; what the handler wrote is there.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    let subject = "answers to 1,000 signals sent without waiting";
    figures.count(SIGNALS, subject, "measured", "", f64::from(heard));
    figures.count(SIGNALS, "bytes that a signal carries", "measured", "", 0.0);
    Ok(())
}

/// A command as it travels between processes.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
struct Command {
    index: u64,
    term: u64,
    bytes: Vec<u8>,
}

fn batch() -> Vec<Command> {
    (0..64).map(|index| Command { index, term: 3, bytes: vec![index as u8; 256] }).collect()
}

/// The process that reads batches, makes commands of them, and answers with a byte.
pub(crate) fn marshal_job() -> io::Result<()> {
    let (mut from, mut to) = (crate::workers::input()?, crate::workers::output()?);
    let mut length = [0; 8];
    while from.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        from.read_exact(&mut bytes)?;
        black_box(borsh::from_slice::<Vec<Command>>(&bytes)?);
        to.write_all(b"!")?;
    }
    Ok(())
}

fn marshal(figures: &mut Figures) -> io::Result<()> {
    let commands = batch();
    let bytes = borsh::to_vec(&commands)?;
    let mut note = |subject: &str, spread| figures.add(MARSHAL, subject, "takes", "ns", spread);
    note("borsh: to bytes", time_each(20, 500, || drop(black_box(borsh::to_vec(&commands)))));
    let decode = || drop(black_box(borsh::from_slice::<Vec<Command>>(&bytes)));
    note("borsh: from bytes", time_each(20, 500, decode));
    let (_worker, mut to, mut from) = Worker::start(&["marshal"])?;
    let clock = Clock::real();
    let mut spans = Vec::new();
    for _ in 0..1_000 {
        let start = clock.now();
        let bytes = borsh::to_vec(&commands)?;
        to.write_all(&(bytes.len() as u64).to_le_bytes())?;
        to.write_all(&bytes)?;
        from.read_exact(&mut [0])?;
        spans.push(nanos(clock.now().since(start)));
    }
    note("borsh through a pipe to a process, and its word", Spread::of(spans));
    let shared: Vec<Rc<Command>> = commands.into_iter().map(Rc::new).collect();
    let queue = RefCell::new(VecDeque::new());
    let pass = || {
        queue.borrow_mut().extend(shared.iter().cloned());
        while let Some(command) = black_box(queue.borrow_mut().pop_front()) {
            drop(black_box(command));
        }
    };
    note("pointers (Rc) through a queue", time_each(20, 500, pass));
    Ok(())
}
