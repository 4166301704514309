//! The one idea, in code: **a scope is a future**. No protocol word lives here.
//!
//! A scope is entered with a typed argument and left with a typed result; what it waits for is
//! polled by it and by nobody else, so dropping the scope drops all of it before the next
//! statement runs. The parts:
//!
//! - [`notify`]: "look again" for exactly one waiter, the way a scope is woken;
//! - [`oneshot`]: requests in, exactly one answer out, even when the scope that would answer is gone;
//! - [`watch`]: one value, many waiters;
//! - [`first`]: a biased choice with named outcomes;
//! - [`nursery`]: children that cannot outlive their parent;
//! - [`observer`]: who is told what happens, and changes nothing;
//! - `cancel`: a scope dropped at a chosen poll, in the simulator;
//! - [`budget`]: slicing of long work and the watchdog of the longest poll.

pub mod budget;
#[cfg(feature = "sim")]
pub(crate) mod cancel;
pub mod first;
pub mod notify;
pub mod nursery;
pub mod observer;
pub mod oneshot;
pub mod watch;
