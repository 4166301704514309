//! How clients speak to the key-value store: etcd v3's own JSON mapping over HTTP/1.1, probes and
//! metrics, on one listening socket and the one executor.
//!
//! (essay to come)

mod answer;
mod body;
mod calls;
mod conn;
mod decode;
mod encode;
mod fail;
mod gateway;
mod keepalive;
mod leases;
mod limits;
mod metrics;
mod probes;
mod route;
mod stream;
mod watch;

pub use gateway::{Gateway, MemberInfo};
pub use limits::ApiLimits;

/// The version of etcd whose behaviour this is held against; clients choose their dialect by it.
const ETCD_VERSION: &str = "3.4.23";
