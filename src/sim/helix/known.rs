//! What helix does not survive today, see [`storm::known`](crate::sim::storm::known).

use crate::sim::helix::Helix;
use crate::sim::helix::adversary::Lie;
use crate::sim::machine::Digest;
use crate::sim::storm::Fault;
use crate::sim::storm::known::{Known, Weakness};

/// What storms of helix can leave out besides kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// A kind of liar.
    Liar(Lie),
    /// Nobody is told to be patient for longer because views have grown long.
    GrownViews,
    /// Reading the disk costs time.
    SlowReads,
}

/// Each with a storm that shows it.
pub(super) fn known<M: Digest>() -> Vec<Known<Helix<M>>> {
    let known = |name, weakness, nodes, seed, invariant| Known {
        name,
        weakness,
        commands: true,
        nodes,
        seed,
        invariant,
    };
    let fault = Weakness::Fault;
    let liar = |lie| Weakness::Own(Own::Liar(lie));
    vec![
        known(
            "views that grew while there was no quorum delay the healing",
            Weakness::Own(Own::GrownViews),
            4,
            91,
            "I12",
        ),
        known("blocks are read and served in one poll", Weakness::Own(Own::SlowReads), 4, 4, "I12"),
        known(
            "a journal that is missing is taken for a new one",
            fault(Fault::Missing),
            4,
            4,
            "I6",
        ),
        known("a journal that is cut short is taken for torn", fault(Fault::Shortened), 4, 4, "I6"),
        known("a small disk is full for ever", fault(Fault::Small), 4, 1, "I9"),
        known(
            "a peer that serves one block at a time is asked again and again",
            liar(Lie::Dripper),
            4,
            2,
            "I12",
        ),
        known(
            "a stranger that answers in others' names shows reads an old state",
            liar(Lie::Copyist),
            4,
            1,
            "I8",
        ),
    ]
}
