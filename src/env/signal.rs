//! The two signals that ask a process to end: SIGINT (Ctrl-C) and SIGTERM.
//!
//! The handler writes one byte to a socket pair, and the loop waits for its other end as for any
//! socket: no thread, and nothing of ours runs inside the handler.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use crate::env::io::Watch;

/// A handler that is in place, until dropped.
struct Handler(SigId);

impl Drop for Handler {
    fn drop(&mut self) {
        unregister(self.0);
    }
}

/// Waits until somebody asks this process to end.
///
/// From its first poll on, the two signals no longer end the process by themselves, not even after
/// this is ready or dropped: whoever calls it has taken over. Call it again for the second Ctrl-C.
///
/// Cancel safe.
///
/// # Errors
/// If the process has no descriptors left for the socket pair.
pub async fn terminated() -> io::Result<()> {
    let (receiver, sender) = UnixStream::pair()?;
    receiver.set_nonblocking(true)?;
    let _interrupt = Handler(pipe::register(SIGINT, sender.try_clone()?)?);
    let _terminate = Handler(pipe::register(SIGTERM, sender)?);
    let receiver = Watch::new(receiver)?;
    receiver.read_with(|mut receiver| receiver.read(&mut [0; 8])).await?;
    Ok(())
}
