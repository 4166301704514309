//! The real reactor: sockets, timers and the loop that drives them. The only file that decides
//! which reactor that is.

use std::future::Future;
use std::net::{TcpListener as StdListener, TcpStream as StdStream};

/// A connection: `AsyncRead` and `AsyncWrite` of `futures-lite`.
pub type TcpStream = async_io::Async<StdStream>;
/// A listening socket.
pub type TcpListener = async_io::Async<StdListener>;

/// Runs `future` to its end on this thread, and everything that it spawned on `executor`.
pub fn block_on<T>(executor: &smol::LocalExecutor<'_>, future: impl Future<Output = T>) -> T {
    async_io::block_on(executor.run(future))
}
