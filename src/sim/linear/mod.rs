//! Whether what clients saw is linearizable: one judge for histories of the key-value store,
//! whether they come from a storm or from real processes.
//!
//! A history ([`Log`]) is a list of calls: who asked for what, when, and what was answered, when, if
//! it was. Nothing in it comes from a node but answers, and nothing here knows of the simulator:
//! a test with real processes fills a log with what it was told over its sockets. Times are
//! nanoseconds of any one clock; two of one log are never equal.
//!
//! It is judged twice, and either way finds faults that the other may miss.
//!
//! **Each key by itself** ([`register`]). A call that touches several keys touches each of them at
//! one moment, so if the whole is linearizable, so is what it did to one key. There must be an order
//! of the calls on it that a single cell could have had, in which no call is before its beginning
//! or behind its answer ([`search`]). A write without an answer may have happened at any later time,
//! or never. Only values count here: no revision is believed.
//!
//! **Everything by revision** ([`judge`]). The store numbers its states, so the order of the writes
//! is no riddle: the complete list of changes, as a watch from the first revision tells it, is *the*
//! history, and every answer is held against it. Each revision must have an author: a write that was
//! answered with its number and does exactly that, or one whose outcome nobody learned, or the end
//! of a lease; and no author has two. Each read shows the state of the revision in its header, each
//! transaction took the branch that the state before it decides, each watch was told every change
//! from its beginning on, in order and once. And time does not go back: what began after an answer
//! shows no earlier revision than that answer did.
//!
//! The reference for what a command does to a state is [`spec`], written from the meaning of the
//! requests and not from the store's code.

pub mod answers;
pub mod authors;
pub mod judge;
pub mod leases;
pub mod record;
pub mod register;
pub mod revisions;
pub mod search;
pub mod spec;
pub mod watches;

pub use judge::{Promise, Verdict, check};
pub use record::{Answer, Log, Operation, Request, Told, Watched};
