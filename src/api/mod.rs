//! How clients speak to the key-value store: etcd v3's own JSON mapping over HTTP/1.1, probes and
//! metrics, on one listening socket and the one executor. What is served, and how it differs from
//! etcd, is told in `src/manual/api.md`.
//!
//! # The life of a request
//!
//! The [`Gateway`] is a scope: it accepts connections and holds each as a task, and when it ends,
//! they have ended (`gateway`). A connection is hyper's, above a socket with two deadlines
//! (`conn`): a request that has begun must arrive, an answer must be taken. The path names an
//! endpoint (`route`), the endpoint a handler (`answer`). A handler reads the body into the store's
//! own types (`body`, `decode`), proposes a command or looks at the state (`calls`), and writes the
//! answer straight into bytes (`encode`); what fails becomes etcd's code and text (`fail`).
//!
//! Two calls are streams (`stream`): a watch and a keep-alive are each one future that makes its
//! answer line by line, while hyper polls the body, and that is dropped with it (`watch`,
//! `keepalive`). Nothing is spawned for them and nothing queued: a client that does not read holds
//! up its own future.
//!
//! While its node leads, the gateway also counts down the leases ([`Keeper`](crate::kv::Keeper)).
//!
//! # What is absent
//!
//! No clock decides anything here but deadlines of connections: how long a request may wait for a
//! quorum is the engine's business. No timer runs while nothing is late: a request that comes in
//! one piece and an answer that is taken at once set none.
//!
//! # What waits where
//!
//! | queue | owner | holds | when full |
//! |---|---|---|---|
//! | connections | the gateway | [`ApiLimits::connections_max`] | told so and closed |
//! | bytes of large bodies and answers | the gateway | [`ApiLimits::memory_bytes_max`] | `429` |
//! | a request's head | its connection | 32 KiB | `431` |
//! | requests sent ahead | the client's socket | what it takes | the client waits |
//! | the next piece of a stream | its future | one piece | the future waits |

mod answer;
mod body;
mod calls;
mod conn;
mod decode;
mod encode;
mod fail;
mod gateway;
mod keepalive;
mod limits;
mod metrics;
mod probes;
mod route;
mod stream;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod unwired;
mod watch;

pub use gateway::{Gateway, MemberInfo};
pub use limits::ApiLimits;

/// The version of etcd whose behaviour this is held against; clients choose their dialect by it.
const ETCD_VERSION: &str = "3.4.23";
