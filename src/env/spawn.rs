//! Tasks at node scope: connections and the node itself. Scopes inside a node are nested futures
//! and are not spawned.
//!
//! A [`Task`] is cancelled by dropping its handle, but its destructors run at a later tick:
//! whoever must know that they have run awaits [`Task::cancel`]. Nothing is ever detached.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

pub use smol::Task;

/// A future that stays on its thread.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Spawns tasks on the one executor, production's or the simulator's.
#[derive(Clone)]
pub struct Spawner(Rc<dyn Fn(LocalFuture) -> Task<()>>);

impl Spawner {
    /// Spawns on `executor`, which somebody else runs.
    #[must_use]
    pub fn new(executor: Rc<smol::LocalExecutor<'static>>) -> Self {
        Self::with(move |future| executor.spawn(future))
    }

    /// Spawns through `spawn`: the seam for another executor.
    #[must_use]
    pub fn with(spawn: impl Fn(LocalFuture) -> Task<()> + 'static) -> Self {
        Self(Rc::new(spawn))
    }

    /// Starts `future` as a task; dropping the task cancels it.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Task<()> {
        (self.0)(Box::pin(future))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}
