//! The duty of a leader towards leases: to count down, and to propose what it found.
//!
//! Every node runs a [`Keeper`]. While its node leads, it holds a [`Lessor`], sleeps until the
//! next lease is due and proposes its end; a proposal made on an outdated view has no effect, so
//! two nodes that both believe to lead do no harm. While its node follows, it looks once in a
//! while whether it leads now. Without leases it sleeps until there is one.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use super::lessor::{KeepAlive, Lessor};
use super::store::Store;
use super::types::Command;
use crate::env::{Clock, Time};
use crate::machine::StateMachine;
use crate::node::Node;
use crate::scope::first::first;
use crate::scope::notify::Notify;

/// While there are leases, how often a node looks whether it has begun, or ceased, to lead. A new
/// leader begins to count so much later: leases live so much longer.
const LOOK: Duration = Duration::from_secs(1);

/// Counts down leases while its node leads.
pub struct Keeper<M: StateMachine = Store> {
    node: Node<M>,
    store: Store,
    clock: Clock,
    /// Notified when the time of a lease was set.
    changed: Notify,
    counting: RefCell<Option<Counting>>,
}

/// The lessor of one epoch.
struct Counting {
    epoch: u64,
    lessor: Lessor,
}

impl<M: StateMachine> Keeper<M> {
    /// A keeper of the leases in `store`, which is the machine of `node` or within it. It does
    /// nothing until it is run.
    #[must_use]
    pub fn new(node: Node<M>, store: Store, clock: Clock) -> Self {
        Self { changed: store.on_lease_change(), node, store, clock, counting: RefCell::new(None) }
    }

    fn now_ns(&self) -> u64 {
        self.clock.now().0
    }

    /// Does the duty, for ever.
    pub async fn run(&self) {
        loop {
            match self.node.leading() {
                Some(epoch) => self.lead(epoch).await,
                None if self.store.lease_count() > 0 => self.node.want_leader(),
                None => {}
            }
            self.pause(Time::NEVER).await;
        }
    }

    /// Waits until a lease changes or `at`; if there are leases, no longer than until it is time
    /// to look who leads.
    async fn pause(&self, at: Time) {
        let at = match self.store.lease_count() {
            0 => at,
            _ => at.min(self.clock.now() + LOOK),
        };
        first(self.changed.notified(), self.clock.sleep_until(at)).await;
    }

    /// Counts while this node leads in `epoch`.
    async fn lead(&self, epoch: u64) {
        // An answered read means that the first entry of this epoch is applied: no earlier leader's
        // expiry can follow.
        if self.node.read(|_| ()).await.is_err() || self.node.leading() != Some(epoch) {
            return;
        }
        // Who leads the same epoch again goes on counting: what it has proposed may still come.
        let known = self.counting.borrow().as_ref().is_some_and(|known| known.epoch == epoch);
        if !known {
            let lessor = Lessor::new(&self.store, epoch, self.now_ns());
            self.counting.replace(Some(Counting { epoch, lessor }));
        }
        while self.node.leading() == Some(epoch) {
            let (commands, wake) = self.due();
            let idle = commands.is_empty();
            for command in commands {
                // What is not applied in time becomes due again.
                let proposed = self.node.propose(command.encode().into());
                first(proposed, self.clock.sleep(LOOK)).await;
            }
            if idle {
                self.pause(wake).await;
            }
        }
    }

    /// What is to be proposed now, and when to ask again.
    fn due(&self) -> (Vec<Command>, Time) {
        let mut counting = self.counting.borrow_mut();
        let Some(Counting { lessor, .. }) = &mut *counting else {
            return (Vec::new(), Time::NEVER);
        };
        let commands = lessor.due(&self.store, self.now_ns());
        (commands, lessor.next_wake_ns().map_or(Time::NEVER, Time))
    }

    /// Does `work` with the lessor, if there is one of the present leadership.
    fn with_lessor<T>(&self, work: impl FnOnce(&mut Lessor) -> T) -> Option<T> {
        let leading = self.node.leading()?;
        let mut counting = self.counting.borrow_mut();
        let current = counting.as_mut().filter(|counting| counting.epoch == leading)?;
        Some(work(&mut current.lessor))
    }

    /// Keeps a lease alive without an entry, if that is enough: the answer holds because this node
    /// was confirmed to lead after the request had come in. `None` if an entry is needed,
    /// or the lease is gone.
    pub async fn keep_alive(&self, id: i64) -> Option<i64> {
        let epoch = self.node.leading()?;
        let now_ns = self.now_ns();
        let kept = self.with_lessor(|lessor| lessor.keep_alive(&self.store, id, now_ns))?;
        let KeepAlive::Renewed { ttl_s } = kept else {
            return None;
        };
        let confirmed = self.node.read(|_| ()).await.is_ok();
        (confirmed && self.node.leading() == Some(epoch)).then_some(ttl_s)
    }

    /// Whole seconds that a lease has left, if this node counts it down.
    #[must_use]
    pub fn remaining_s(&self, id: i64) -> Option<i64> {
        let now_ns = self.now_ns();
        self.with_lessor(|lessor| lessor.remaining_s(&self.store, id, now_ns))?
    }
}

impl<M: StateMachine> fmt::Debug for Keeper<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.counting.borrow().as_ref().map(|counting| counting.epoch);
        write!(f, "Keeper({:?}, counting in epoch {epoch:?})", self.store.leases())
    }
}
