//! What each liar does, in one line each; the rest is in the files below.

mod blocks;
mod clients;
mod leaders;
mod noise;
mod proofs;
mod votes;

use crate::sim::helix::adversary::hand::Trick;

/// Who lies, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lie {
    /// Says nothing at all.
    Mute,
    /// Says everything, but only to some, and to others in the next height.
    Withholder,
    /// Shows one block to one half and another to the other, and votes for both.
    Equivocator,
    /// Speaks in the name of others.
    Impersonator,
    /// Says again what it heard long ago, also in the name of whoever said it, and for another
    /// instance of the protocol.
    Replayer,
    /// Invents the votes that it needs: for new views, for prepared blocks, for decisions.
    Forger,
    /// Sends random bytes, huge numbers, many hashes, and words of heights to come.
    Flooder,
    /// Proposes blocks that are not what they should be.
    Swindler,
    /// Asks for the next view, always.
    Racer,
    /// Claims to be far ahead, and sends nonsense to who asks; leaves blocks out of its words.
    Poisoner,
    /// Hears no commands of some of the others, so that they are in none of its blocks. Where there
    /// are no commands it is honest.
    Censor,
    /// Counts its own vote more than once: for new views, for prepared blocks, for decisions.
    Repeater,
    /// Shows proofs of an old view as such of a later one.
    Redater,
    /// Hides for some views that a block is prepared, and shows it then.
    Concealer,
    /// Answers the questions of reads falsely: too low, too high, and otherwise each time. Where
    /// there are no clients it is honest.
    Misleader,
    /// Shows its blocks to just enough others, and commits to nothing.
    Saboteur,
    /// Proposes just before the view ends.
    Dawdler,
    /// Claims to be ahead, and serves one block at a time, as late as it may.
    Dripper,
    /// Offers commands that are not due yet, and such whose time is over.
    Peddler,
    /// Passes on what others have said, in their names, later and in another order, and answers
    /// reads in their names.
    Copyist,
    /// Two honest engines behind one name, each with a part of the others.
    Twins,
}

impl Lie {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Mute,
        Self::Withholder,
        Self::Equivocator,
        Self::Impersonator,
        Self::Replayer,
        Self::Forger,
        Self::Flooder,
        Self::Swindler,
        Self::Racer,
        Self::Poisoner,
        Self::Censor,
        Self::Repeater,
        Self::Redater,
        Self::Concealer,
        Self::Misleader,
        Self::Saboteur,
        Self::Dawdler,
        Self::Dripper,
        Self::Peddler,
        Self::Copyist,
        Self::Twins,
    ];

    /// Those that may lie where there are clients. What nodes say of reads is not signed, so whoever
    /// can speak in the name of a quorum can show a client an old state: the copyist does, and is
    /// among the known failures for it; the two others that speak in the name of others are left out.
    #[must_use]
    pub fn own_voice() -> Vec<Self> {
        let voices = |lie: &Self| !matches!(lie, Self::Impersonator | Self::Replayer);
        Self::ALL.into_iter().filter(voices).collect()
    }

    /// The liar's program.
    #[must_use]
    pub fn trick(self) -> Box<dyn Trick> {
        match self {
            Self::Mute => Box::new(noise::Mute),
            Self::Withholder => Box::new(noise::Withholder),
            Self::Equivocator => Box::new(votes::Equivocator::default()),
            Self::Impersonator => Box::new(noise::Impersonator),
            Self::Replayer => Box::new(noise::Replayer),
            Self::Forger => Box::new(votes::Forger),
            Self::Flooder => Box::new(noise::Flooder),
            Self::Swindler => Box::new(blocks::Swindler),
            Self::Racer => Box::new(votes::Racer),
            Self::Poisoner => Box::new(blocks::Poisoner),
            Self::Censor => Box::new(blocks::Censor),
            Self::Repeater => Box::new(proofs::Repeater),
            Self::Redater => Box::new(proofs::Redater::default()),
            Self::Concealer => Box::new(proofs::Concealer),
            Self::Misleader => Box::new(clients::Misleader),
            Self::Saboteur => Box::new(leaders::Saboteur),
            Self::Dawdler => Box::new(leaders::Dawdler),
            Self::Dripper => Box::new(blocks::Dripper),
            Self::Peddler => Box::new(clients::Peddler::default()),
            Self::Copyist => Box::new(noise::Copyist::default()),
            // It is the engines that are two.
            Self::Twins => Box::new(noise::Honest),
        }
    }
}
