//! `quorate`: a consensus node that runs wholly on one single-threaded executor.
//!
//! The one idea: **a scope is a future**. What must end together lives in one future; you enter
//! it with a proof that you may, you leave it with a proof of what happened, and dropping it is
//! the cancellation. A node holds a term, a term holds the work of its leader; when an election
//! fires, the parent drops the child, and everything it was waiting for is gone before the next
//! statement runs. Nothing durable lives in what can be dropped.
//!
//! # A taste
//!
//! Three nodes in the simulator agree on one value; what runs is what runs on real machines.
//!
//! ```
//! # #[cfg(feature = "sim")] {
//! use std::time::Duration;
//!
//! use quorate::sim::machine::{Ledger, Write};
//! use quorate::sim::raft::{Cluster, Setup};
//!
//! let mut cluster: Cluster<Ledger> = Cluster::new(1, Setup::default(), Ledger::default);
//! cluster.start_all();
//! let leader = cluster.run_until_led(Duration::from_secs(10)).expect("three nodes elect");
//!
//! // Any node takes a command; a follower hands it to the leader.
//! let follower = cluster.members().into_iter().find(|&node| node != leader).expect("two others");
//! let node = cluster.node(follower).expect("it runs");
//! let command = Write { client: 1, seq: 1 }.command(0);
//! let answer = cluster.run(async move { node.propose(command).await });
//! assert!(answer.expect("in time").is_ok(), "decided, and durable on a majority");
//! # }
//! ```
//!
//! # The map, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`id`], [`quorum`], [`error`] | the small words: identities, thresholds, the two kinds of error |
//! | [`machine`] | the trait you implement: your replicated state machine |
//! | [`scope`] | the one idea, in code; no protocol word in it |
//! | [`mod@env`] | the outside world behind concrete handles, real or simulated inside |
//! | [`journal`] | the durable journal: one owner of the disk |
//! | [`host`] | what a node is, whichever protocol runs in it |
//! | [`raft`] | the engine for crash faults: follower, candidate and leader as futures |
//! | [`helix`] | the engine for Byzantine faults: heights and views as futures |
//! | [`node`] | one handle on a node of either engine |
//! | [`tcp`] | the real network: frames, dialling, accepting |
//! | [`kv`] | a replicated map with revisions, transactions, leases and watches |
//! | `api` | how clients speak to it: JSON over HTTP (feature `sidecar`) |
//! | `sim` | the simulator (feature `sim`) |
//! | [`manual`] | architecture, [glossary](manual::glossary), [messages](manual::messages), testing, performance, as pages |

#[cfg(feature = "sidecar")]
pub mod api;
pub mod config;
pub mod env;
pub mod error;
pub mod helix;
pub mod host;
pub mod id;
pub mod journal;
pub mod kv;
pub mod machine;
pub mod manual;
pub mod node;
pub mod quorum;
pub mod raft;
pub mod scope;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tcp;

pub use config::Config;
pub use error::{Fatal, Refused};
pub use host::{Applied, Life};
pub use id::{Height, Index, NodeId, Term, View};
pub use machine::{Committed, StateMachine};
pub use node::{Node, Role, Status};

/// The Rust blocks of the README are programs, and run as doc-tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
