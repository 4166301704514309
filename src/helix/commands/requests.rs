//! The clients of this node that wait for their commands.
//!
//! A request waits in the host's table of clients; the command that stands for it is another one each
//! time that it has to be asked again (see [`batch`](super::batch)). It is answered when the command
//! that stands for it *now* is applied here.

use crate::error::Refused;
use crate::helix::commands::batch::CommandId;
use crate::host::Applied;
use crate::host::clients::{self, Clients};
use crate::scope::oneshot::Reply;

/// Who waits for a command.
pub(crate) enum Waiter<R> {
    /// A client that proposed it.
    Proposer(Reply<Result<Applied<R>, Refused>>),
    /// Reads, by their numbers, that need a mark in the order: a command without a payload.
    Mark(Vec<u64>),
}

impl<R> clients::Waiter for Waiter<R> {
    /// Reads have deadlines of their own: nothing is to be told to them.
    fn refuse(self, why: Refused) {
        if let Self::Proposer(reply) = self {
            reply.send(Err(why));
        }
    }
}

/// Requests by number; the command made of each stands for it.
pub(crate) type Requests<R> = Clients<Waiter<R>, CommandId>;
