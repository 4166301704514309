//! `quorate storm`: simulated clusters under all kinds of trouble, then healed. A seed decides
//! everything, so a failure is a number that anybody can replay.

use std::time::Duration;

use quorate::sim::storm::{self, Options};
use quorate::sim::trace::Detail;

use crate::client::print;
use crate::exit::Failure;

/// Run a simulated cluster through a storm of faults and check what it promised.
#[derive(Debug, clap::Args)]
pub(crate) struct Storm {
    /// What decides everything: the same seed, the same storm
    #[arg(default_value_t = 1)]
    seed: u64,
    /// So many storms, with this seed and those that follow
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// Virtual seconds of trouble and healing
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print each event as it happens; twice, also each frame
    #[arg(long, action = clap::ArgAction::Count)]
    trace: u8,
}

impl Storm {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let options = Options {
            nodes: self.nodes,
            span: Duration::from_secs(self.seconds),
            detail: match self.trace {
                0 | 1 => Detail::Events,
                _ => Detail::Frames,
            },
            print: self.trace > 0,
            ..Options::default()
        };
        for seed in self.seed..=self.seed.saturating_add(self.seeds - 1) {
            let report = storm::run(seed, &options);
            let report = report.map_err(|failure| Failure::refused(failure.to_string()))?;
            print(format!("{report}\n").as_bytes())?;
        }
        Ok(())
    }
}
