//! How much the gateway takes on before it refuses. Each limit says why it is what it is, and what
//! happens beyond it.

use std::time::Duration;

/// The limits of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLimits {
    /// Connections at a time. An idle one costs about 20 KiB, so 4,096 are 80 MiB at the worst.
    /// Never more than the process may have open, less what the journal and the peers need. One
    /// more is answered `503` and closed.
    pub connections_max: usize,
    /// Bytes of one request's body. A command of 1.5 MiB is 2 MiB in base64; the rest is room for
    /// names and spaces. A longer one is answered `413` and its connection closed.
    pub body_bytes_max: usize,
    /// Bytes of all bodies and answers that are in memory at a time, beyond small ones. A request
    /// that would exceed it is answered `429`.
    pub memory_bytes_max: usize,
    /// From the first byte of a request to its last: what a client behind a slow link needs for
    /// its 2 MiB. A slower one is closed.
    pub receive_timeout: Duration,
    /// Without a byte of progress while an answer is written; a client that does not read is
    /// closed. Watches are exempt: a slow reader lags, and holds no more than one piece.
    pub send_timeout: Duration,
    /// How long `/readyz` and `/health` wait for a quorum.
    pub ready_timeout: Duration,
    /// Watches of one connection: each is looked at when the store changes. One more is refused
    /// on the stream.
    pub watches_max: usize,
    /// How long answers in progress may take when the gateway shuts down; then they are dropped.
    pub drain_timeout: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            body_bytes_max: 2304 << 10,
            memory_bytes_max: 256 << 20,
            receive_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(30),
            ready_timeout: Duration::from_secs(1),
            watches_max: 1024,
            drain_timeout: Duration::from_secs(2),
        }
    }
}

/// Bytes of the read buffer of one connection, and so of a request's head: ten times what clients
/// send. A longer head is answered `431`.
pub(crate) const HEAD_BYTES_MAX: usize = 32 << 10;

/// Bodies and answers up to this size are not counted against
/// [`ApiLimits::memory_bytes_max`]: the connection's own buffers are as large.
pub(crate) const SMALL_BYTES: usize = 64 << 10;

/// Files and sockets left to the journal, the peers and the loop: clients must not be able to take
/// the one that the next segment of the journal needs.
pub(crate) const FILES_RESERVED: usize = 64;

/// Pause after a failed accept (no file descriptors, no memory): long enough for connections to
/// end, short enough not to be noticed. Accepting goes on for ever.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of events in one piece of a watch; more follow in the next, so a large history is told
/// without holding it in memory twice.
pub(crate) const WATCH_PIECE_BYTES: usize = 64 << 10;

/// Bytes of one request on a stream (a watch, a lease): far above what a key needs. A longer one
/// ends the stream.
pub(crate) const STREAM_REQUEST_BYTES_MAX: usize = 256 << 10;

/// How often a watch that asks for progress is told that nothing happened: etcd's interval.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

/// A connection whose machine has been silent for so long is ended, so that one that is gone does
/// not hold its place for ever. The operating system asks it; nobody here is woken.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(120);
