//! Known failures: what today's code does not survive, each with a storm that shows it.
//!
//! A storm leaves a weakness out only while it is listed, see [`Protocol::known`]. A test runs each
//! listed storm and requires that very invariant to break: one that passes, or breaks another one, is
//! an error. So whoever mends a weakness takes it off the list, and all storms have it from then on.

use std::fmt;

use crate::sim::machine::Ledger;
use crate::sim::protocol::Protocol;
use crate::sim::storm::{Failure, Fault, Options, run};

/// A storm that today's code does not survive.
pub struct Known<P: Protocol> {
    /// What is wrong, in words.
    pub name: &'static str,
    /// What the storm must not leave out.
    pub weakness: Weakness<P>,
    /// Whether clients use the nodes; always so where nodes do nothing else.
    pub commands: bool,
    /// How many nodes.
    pub nodes: u64,
    /// The seed.
    pub seed: u64,
    /// The invariant that breaks.
    pub invariant: &'static str,
}

/// What a storm may leave out.
pub enum Weakness<P: Protocol> {
    /// A kind of trouble.
    Fault(Fault<P::Fault>),
    /// What only this protocol can leave out.
    Own(P::Weakness),
}

impl<P: Protocol<Machine = Ledger>> Known<P> {
    /// The options of its storm: the usual ones, and its weakness.
    #[must_use]
    pub fn options(&self) -> Options<P> {
        let mut options = Options { nodes: self.nodes, ..Options::default() };
        if self.commands {
            options = P::with_commands(options);
        }
        match &self.weakness {
            Weakness::Fault(fault) => options.faults.push(*fault),
            Weakness::Own(weakness) => P::include(&mut options, weakness),
        }
        options
    }

    /// Runs its storm.
    ///
    /// # Errors
    /// What is wrong with the list: the storm is survived, or breaks another invariant.
    pub fn check(&self) -> Result<Box<Failure>, String> {
        match run(self.seed, &self.options()) {
            Ok(report) => Err(format!("{self} is survived: take it off the list\n{report}")),
            Err(failure) if failure.violation.invariant == self.invariant => Ok(failure),
            Err(failure) => Err(format!("{self} breaks another invariant\n{failure}")),
        }
    }
}

/// Whether a kind of trouble is listed.
pub(crate) fn is_known<P: Protocol>(fault: Fault<P::Fault>) -> bool {
    let known = P::known();
    known.iter().any(|known| matches!(&known.weakness, Weakness::Fault(f) if *f == fault))
}

impl<P: Protocol> fmt::Display for Known<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nodes, seed, invariant, .. } = self;
        write!(f, "\"{name}\" (seed {seed}, {nodes} nodes, {invariant})")
    }
}

impl<P: Protocol> fmt::Debug for Known<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({self})")
    }
}

impl<P: Protocol> fmt::Debug for Weakness<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault:?}"),
            Self::Own(weakness) => write!(f, "{weakness:?}"),
        }
    }
}
