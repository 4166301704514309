//! How a node ends in good order.

use std::cell::Cell;
use std::time::Duration;

use crate::env::Clock;
use crate::error::Fatal;
use crate::journal::Journal;
use crate::scope::first::first;
use crate::scope::notify::Notify;

/// How long a shutdown waits for its last sync. A disk that takes longer is a disk that fails.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why a scope is left without a successor.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// This node must stop.
    Fatal(Fatal),
    /// It was asked to end.
    Shutdown,
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// Whether the node was asked to end.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    asked: Cell<bool>,
}

impl Shutdown {
    /// Asks; the scopes look when they are woken.
    pub(crate) fn ask(&self, wake: &Notify) {
        self.asked.set(true);
        wake.notify();
    }

    /// `Err` if it was asked for.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.asked.get() { Err(Stop::Shutdown) } else { Ok(()) }
    }
}

/// Waits until the journal has synced what was submitted, if it can; `wake` is notified when it
/// has. Not for ever.
pub(crate) async fn drain(journal: &Journal, wake: &Notify, clock: &Clock) {
    let synced = async {
        while journal.synced() < journal.submitted() && !journal.is_full() {
            wake.notified().await;
        }
    };
    first(synced, clock.sleep(DRAIN_MAX)).await;
}
