//! `quorate storm`: simulated clusters under all kinds of trouble, then healed. A seed decides
//! everything, so a failure is a number that anybody can replay.

use std::fmt::Display;
use std::time::Duration;

use quorate::sim::helix::Choices;
use quorate::sim::trace::Detail;
use quorate::sim::{helix, raft, storm};

use crate::client::print;
use crate::exit::Failure;

/// Whose storms.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Engine {
    Raft,
    Helix,
}

/// Run a simulated cluster through a storm of faults and check what it promised.
#[derive(Debug, clap::Args)]
pub(crate) struct Storm {
    /// What decides everything: the same seed, the same storm
    #[arg(default_value_t = 1)]
    seed: u64,
    /// Which engine; with helix some of the nodes lie
    #[arg(long, value_enum, default_value_t = Engine::Raft)]
    engine: Engine,
    /// So many storms, with this seed and those that follow
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many nodes: 3 if it is not said, and for helix 4, which are the fewest there
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,
    /// Helix only: so many clients with commands; with none of them, nodes decide blocks of their own
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    clients: u32,
    /// Virtual seconds of trouble and healing
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print each event as it happens; twice, also each frame
    #[arg(long, action = clap::ArgAction::Count)]
    trace: u8,
}

impl Storm {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let span = Duration::from_secs(self.seconds);
        let detail = if self.trace > 1 { Detail::Frames } else { Detail::Events };
        let print = self.trace > 0;
        match self.engine {
            Engine::Raft => {
                let nodes = self.nodes.unwrap_or(3);
                let options: raft::Options =
                    raft::Options { nodes, span, detail, print, ..Default::default() };
                self.each(|seed| storm::run(seed, &options))
            }
            Engine::Helix => {
                let nodes = self.nodes.unwrap_or(4).max(4);
                let clients = self.clients;
                let protocol = Choices { blocks: clients == 0, ..Choices::default() };
                let options: helix::Options = helix::Options {
                    nodes,
                    clients,
                    span,
                    detail,
                    print,
                    protocol,
                    ..Default::default()
                };
                self.each(|seed| storm::run(seed, &options))
            }
        }
    }

    fn each<R: Display, F: Display>(
        &self,
        storm: impl Fn(u64) -> Result<R, F>,
    ) -> Result<(), Failure> {
        for seed in self.seed..=self.seed.saturating_add(self.seeds - 1) {
            let report = storm(seed);
            let report = report.map_err(|failure| Failure::refused(failure.to_string()))?;
            print(format!("{report}\n").as_bytes())?;
        }
        Ok(())
    }
}
