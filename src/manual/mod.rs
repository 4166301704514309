//! The manual: pages that are not about one item of the code.
//!
//! | page | what it answers |
//! |---|---|
//! | [`architecture`] | which scopes, queues and threads there are, what each owns, what ends it |
//! | [`glossary`] | which word means what, here, in the papers and elsewhere |
//! | [`messages`] | every message: who sends it, when, what it proves, what answers it |
//! | [`pictures`] | who says what to whom, and which scopes are open meanwhile: drawn from runs |
//! | [`scopes`] | the questions about threads that Lean Helix left open, answered by tests and figures |
//! | [`testing`] | how to run, replay and extend the simulations, and what each invariant means |
//! | [`embedding`] | how to run a node inside a program of your own |
//! | [`your_machine`] | how to send storms through a state machine of your own |
//! | [`mistakes`] | how such systems went wrong elsewhere, and what prevents it here |
//! | [`demands`] | what this project is asked for, and the test that shows it |
//! | [`models`] | what was taken from toydb, TigerBeetle and etcd, and what is done otherwise |
//! | [`changes`] | what a user notices |
//! | [`performance`] | what was measured, by which commands, beside etcd |
//! | [`study`] | processes, threads or coroutines: what each costs, what was claimed, what holds |
//! | [`journal`] | the format on disk, and what was measured of syncs |
//! | [`network`] | the wire between nodes, and the reactor below it |
//! | [`api`] | what clients are served, and where it differs from etcd |

#[doc = include_str!("architecture.md")]
pub mod architecture {}
#[doc = include_str!("glossary.md")]
pub mod glossary {}
#[doc = include_str!("messages.md")]
pub mod messages {}
#[doc = include_str!("models.md")]
pub mod models {}
#[doc = include_str!("changes.md")]
pub mod changes {}
#[doc = include_str!("pictures.md")]
#[doc = ""]
#[doc = "## An election of raft"]
#[doc = ""]
#[doc = include_str!("pictures/raft_election.svg")]
#[doc = ""]
#[doc = "## A shutdown of raft"]
#[doc = ""]
#[doc = include_str!("pictures/raft_shutdown.svg")]
#[doc = ""]
#[doc = "## One height of helix"]
#[doc = ""]
#[doc = include_str!("pictures/helix_height.svg")]
#[doc = ""]
#[doc = "## A view change of helix"]
#[doc = ""]
#[doc = include_str!("pictures/helix_view_change.svg")]
#[doc = ""]
#[doc = "## A node sync of helix"]
#[doc = ""]
#[doc = include_str!("pictures/helix_sync.svg")]
pub mod pictures {}
#[doc = include_str!("scopes.md")]
pub mod scopes {}
#[doc = include_str!("testing.md")]
pub mod testing {}
#[doc = include_str!("embedding.md")]
pub mod embedding {}
#[doc = include_str!("your_machine.md")]
pub mod your_machine {}
#[doc = include_str!("mistakes.md")]
pub mod mistakes {}
#[doc = include_str!("demands.md")]
pub mod demands {}
#[doc = include_str!("performance.md")]
pub mod performance {}
#[doc = include_str!("study.md")]
pub mod study {}
#[doc = include_str!("journal.md")]
pub mod journal {}
#[doc = include_str!("network.md")]
pub mod network {}
#[doc = include_str!("api.md")]
pub mod api {}
