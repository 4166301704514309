//! What a storm is about: a state machine, clients that use it, and what must hold. Bring your own.
//!
//! ```
//! use quorate::machine::{Committed, StateMachine};
//! use quorate::sim::machine::Digest;
//! use quorate::sim::raft::{Options, Raft};
//! use quorate::sim::storm;
//! use quorate::sim::workload::Workload;
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Response = u64;
//!     fn apply(&mut self, _: Committed<'_>) -> u64 {
//!         self.0 += 1;
//!         self.0
//!     }
//!     fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
//!         Box::new(std::iter::once(self.0.to_le_bytes().to_vec()))
//!     }
//!     fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
//!         self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| "eight bytes")?);
//!         Ok(())
//!     }
//! }
//!
//! impl Digest for Counter {}
//!
//! let counting = Workload::new(Counter::default).clients(|client| async move {
//!     while client.goes_on() {
//!         let node = client.node().await;
//!         let _ = node.propose(b"one more".as_slice().into()).await;
//!         client.pause(Duration::from_millis(40)).await;
//!     }
//! });
//! let options = Options { span: Duration::from_secs(10), ..Options::default() };
//! let report = storm::run_with::<Raft<_>>(7, &options, counting);
//! assert!(report.is_ok(), "{}", report.unwrap_err());
//! ```

pub mod kv;
mod ledger;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::env::Clock;
use crate::error::Refused;
use crate::sim::client::Client;
use crate::sim::cluster::Handle;
use crate::sim::history::History;
use crate::sim::machine::{Digest, Judge};

pub use ledger::{PATIENCE_MAX, ledger};

/// A future on the heap.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Uses a node after the trouble; says whether the node has shown the effect.
type Serve<M> = Rc<dyn Fn(Handle<M>, u32, u32) -> Boxed<Result<bool, Refused>>>;

/// What a node's process does besides the node's own work, until it ends.
pub(crate) type Beside<M> = Rc<dyn Fn(Handle<M>, Clock) -> Boxed<()>>;

/// A machine, those who use it, and what must hold.
pub struct Workload<M: Digest> {
    pub(crate) make: Rc<dyn Fn() -> M>,
    pub(crate) client: Rc<dyn Fn(Client<M>) -> Boxed<()>>,
    pub(crate) beside: Option<Beside<M>>,
    pub(crate) always: Option<Judge<M>>,
    pub(crate) finally: Option<Judge<M>>,
    pub(crate) serve: Serve<M>,
    pub(crate) history: Option<Rc<RefCell<History>>>,
}

impl<M: Digest> Workload<M> {
    /// A machine that nobody uses yet; `make` makes an empty one.
    #[must_use]
    pub fn new(make: impl Fn() -> M + 'static) -> Self {
        Self {
            make: Rc::new(make),
            client: Rc::new(|_| Box::pin(async {})),
            beside: None,
            always: None,
            finally: None,
            serve: Rc::new(|node, _, _| Box::pin(async move { node.read(|_| true).await })),
            history: None,
        }
    }

    /// What each client does, from beginning to end; it must end soon when
    /// [`Client::goes_on`] says no. Of whatever it awaits, nothing but nodes and the client's own
    /// clock may be outside the storm.
    #[must_use]
    pub fn clients<F>(mut self, life: impl Fn(Client<M>) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        self.client = Rc::new(move |client| Box::pin(life(client)));
        self
    }

    /// What the process of each node does besides, in each of its lives, by the node's own clock:
    /// it is frozen with the node, and dropped with it.
    #[must_use]
    pub fn beside<F>(mut self, work: impl Fn(Handle<M>, Clock) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        self.beside = Some(Rc::new(move |node, clock| Box::pin(work(node, clock))));
        self
    }

    /// What must hold of the state on every node after every entry.
    #[must_use]
    pub fn always(mut self, judge: impl Fn(&M) -> Result<(), String> + 'static) -> Self {
        self.always = Some(Rc::new(judge));
        self
    }

    /// What must hold of the state to which all nodes come in the end, when the clients have ended:
    /// compare it there with what they saw.
    #[must_use]
    pub fn finally(mut self, judge: impl Fn(&M) -> Result<(), String> + 'static) -> Self {
        self.finally = Some(Rc::new(judge));
        self
    }
}

impl<M: Digest> fmt::Debug for Workload<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (always, finally) = (self.always.is_some(), self.finally.is_some());
        write!(f, "Workload(always judged: {always}, in the end: {finally})")
    }
}
