//! Clients of a simulated cluster: what each of them has, and all of them together.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::env::spawn::Task;
use crate::env::{Clock, Rng};
use crate::error::Refused;
use crate::sim::checks::Checks;
use crate::sim::cluster::{Cluster, Directory, Handle};
use crate::sim::machine::Digest;
use crate::sim::protocol::Protocol;
use crate::sim::waits::Waits;
use crate::sim::workload::Workload;

/// How long a client waits before it looks again for a node that is up.
const AGAIN: Duration = Duration::from_millis(20);

/// What one client has: a way to the nodes, a clock and chance of its own.
pub struct Client<M: Digest> {
    id: u32,
    rng: Rng,
    clock: Clock,
    directory: Directory<M>,
    closed: Rc<Cell<bool>>,
    complain: Rc<dyn Fn(String)>,
    waits: Waits,
}

impl<M: Digest> Client<M> {
    /// Which client it is: 1, 2, ...
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it shall begin another operation.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.closed.get()
    }

    /// Chance: the same in each storm of the seed.
    #[must_use]
    pub fn rng(&self) -> &Rng {
        &self.rng
    }

    /// The virtual time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// One of the nodes that are up, if any is: any of them takes any request.
    #[must_use]
    pub fn any_node(&self) -> Option<Handle<M>> {
        self.directory.any(&self.rng)
    }

    /// One of the nodes that are up, as soon as any is.
    pub async fn node(&self) -> Handle<M> {
        loop {
            match self.any_node() {
                Some(node) => return node,
                None => self.clock.sleep(AGAIN).await,
            }
        }
    }

    /// Waits for the answer of `node` to a request; the storm sees to it that it comes in time, see
    /// [`waits`](crate::sim::waits).
    ///
    /// # Errors
    /// Those of the request.
    pub async fn ask<T>(
        &self,
        node: &Handle<M>,
        what: &'static str,
        request: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        self.waits.ask(node.id(), what, &self.clock, request).await
    }

    /// Waits for up to `longest`.
    pub async fn pause(&self, longest: Duration) {
        self.clock.sleep(self.rng.between(Duration::ZERO, longest)).await;
    }

    /// Says that it has seen what no client may see; the storm ends there.
    pub fn complain(&self, what: impl Into<String>) {
        (self.complain)(what.into());
    }
}

impl<M: Digest> fmt::Debug for Client<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, {:?})", self.id, self.directory)
    }
}

/// The clients of one cluster. Dropping them cancels what they wait for.
pub struct Clients {
    closed: Rc<Cell<bool>>,
    tasks: Vec<Task>,
}

impl Clients {
    /// Lets `count` clients begin what `workload` says.
    #[must_use]
    pub fn begin<P: Protocol>(
        cluster: &Cluster<P>,
        workload: &Workload<P::Machine>,
        count: u32,
        waits: &Waits,
    ) -> Self {
        let (world, closed) = (cluster.world(), Rc::new(Cell::new(false)));
        let checker = world.checker().clone();
        let complain: Rc<dyn Fn(String)> =
            Rc::new(move |what| checker.borrow_mut().report("I8", what));
        let begin = |id| {
            let client = Client {
                id,
                rng: world.rng().fork(),
                clock: world.clock(),
                directory: cluster.directory(),
                closed: closed.clone(),
                complain: complain.clone(),
                waits: waits.clone(),
            };
            world.executor().spawn(world.clients(), (workload.client)(client))
        };
        let tasks = (1..=count).map(begin).collect();
        Self { closed, tasks }
    }

    /// Lets each end with the operation it is at.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Whether all have ended.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.tasks.iter().all(Task::is_finished)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clients({}, closed: {})", self.tasks.len(), self.closed.get())
    }
}
