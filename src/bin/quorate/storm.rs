//! `quorate storm`: simulated clusters under all kinds of trouble, then healed. A seed decides
//! everything, so a failure is a number that anybody can replay.

use std::cell::RefCell;
use std::fmt::{Debug, Display};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use quorate::env::Time;
use quorate::sim::helix::Choices;
use quorate::sim::helix::adversary::Lie;
use quorate::sim::picture::{Sketch, Window};
use quorate::sim::protocol::Protocol;
use quorate::sim::storm::Fault;
use quorate::sim::trace::Detail;
use quorate::sim::{helix, raft, storm};

use crate::client::print;
use crate::exit::{Exit, Failure};

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
    /// These kinds of trouble and no others, by their names, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    faults: Vec<String>,
    /// These kinds of trouble too, although today's code does not survive them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    with: Vec<String>,
    /// Helix only: these liars and no others
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    liars: Option<Vec<String>>,
    /// Print each event as it happens; twice, also each frame
    #[arg(long, action = clap::ArgAction::Count)]
    trace: u8,
    /// Draw what happened into this file, as SVG: the end of the storm that fails, or of the last one
    #[arg(long, value_name = "FILE.svg")]
    picture: Option<PathBuf>,
    /// The picture begins at this virtual time, as in 12.3s or 450ms
    #[arg(long, value_name = "TIME", value_parser = time, requires = "picture")]
    from: Option<Time>,
    /// The picture ends at this virtual time
    #[arg(long, value_name = "TIME", value_parser = time, requires = "picture")]
    until: Option<Time>,
    /// So many moments fit into the picture
    #[arg(long, default_value_t = MOMENTS_MAX, requires = "picture")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=20_000))]
    moments: u32,
}

/// Moments of a picture: some twenty screens.
const MOMENTS_MAX: u32 = 240;

/// Reads a virtual time.
fn time(word: &str) -> Result<Time, String> {
    let wrong = || format!("`{word}` is no time like 12.3s or 450ms");
    let (number, unit) = match word.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (word.strip_suffix('s').ok_or_else(wrong)?, 1.0),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * unit;
    let span = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    Ok(Time::ZERO + span)
}

/// Those of `all` that have these names.
fn named<T: Debug + Copy>(all: &[T], names: &[String]) -> Result<Vec<T>, Failure> {
    let name = |one: &T| {
        let name = format!("{one:?}");
        name.trim_start_matches("Own(").trim_end_matches(')').to_lowercase()
    };
    let find = |wanted: &String| {
        let found = all.iter().find(|one| name(one) == wanted.to_lowercase()).copied();
        found.ok_or_else(|| {
            let known: Vec<_> = all.iter().map(name).collect();
            Failure::usage(format!("there is no `{wanted}`: there are {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

impl Storm {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.can_draw()?;
        let span = Duration::from_secs(self.seconds);
        let detail = if self.trace > 1 { Detail::Frames } else { Detail::Events };
        let print = self.trace > 0;
        match self.engine {
            Engine::Raft => {
                let nodes = self.nodes.unwrap_or(3);
                let mut options: raft::Options =
                    raft::Options { nodes, span, detail, print, ..Default::default() };
                self.choose::<raft::Raft>(&mut options.faults)?;
                self.each(|seed, sketch| {
                    storm::run(seed, &raft::Options { sketch, ..options.clone() })
                })
            }
            Engine::Helix => {
                let nodes = self.nodes.unwrap_or(4).max(4);
                let clients = self.clients;
                let mut protocol = Choices { blocks: clients == 0, ..Choices::default() };
                if let Some(liars) = &self.liars {
                    protocol.lies = named(&Lie::ALL, liars)?;
                }
                let mut options: helix::Options = helix::Options {
                    nodes,
                    clients,
                    span,
                    detail,
                    print,
                    protocol,
                    ..Default::default()
                };
                self.choose::<helix::Helix>(&mut options.faults)?;
                self.each(|seed, sketch| {
                    storm::run(seed, &helix::Options { sketch, ..options.clone() })
                })
            }
        }
    }

    fn choose<P: Protocol>(&self, faults: &mut Vec<Fault<P::Fault>>) -> Result<(), Failure> {
        if !self.faults.is_empty() {
            *faults = named(&P::faults(), &self.faults)?;
        }
        faults.extend(named(&P::faults(), &self.with)?);
        Ok(())
    }

    fn each<R: Display, F: Display>(
        &self,
        storm: impl Fn(u64, Option<Sketch>) -> Result<R, F>,
    ) -> Result<(), Failure> {
        let last = self.seed.saturating_add(self.seeds - 1);
        for seed in self.seed..=last {
            let easel = self.easel(seed);
            match storm(seed, easel.sketch()) {
                Ok(report) => print(format!("{report}\n").as_bytes())?,
                Err(failure) => {
                    let drawn = easel.draw();
                    let told = drawn.unwrap_or_else(|failure| failure.to_string());
                    return Err(Failure::refused(format!("{failure}\n{told}").trim_end()));
                }
            }
            if seed == last {
                easel.draw()?;
            } else {
                easel.sketch.take();
            }
        }
        Ok(())
    }

    /// Looks, before a storm of minutes, whether its picture could be written.
    fn can_draw(&self) -> Result<(), Failure> {
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from > until
        {
            return Err(Failure::usage("--from is later than --until"));
        }
        let Some(path) = &self.picture else {
            return Ok(());
        };
        let opened = fs::OpenOptions::new().append(true).create(true).open(path);
        opened.map(|_| ()).map_err(|error| cannot_write(path, &error))
    }

    fn easel(&self, seed: u64) -> Easel {
        let moments_max = usize::try_from(self.moments).unwrap_or(usize::MAX);
        let window = Window { from: self.from, until: self.until, moments_max };
        let title = format!("storm {seed} of {}", format!("{:?}", self.engine).to_lowercase());
        let drawn = self.picture.clone().map(|path| (path, Sketch::new(window)));
        Easel { title, sketch: RefCell::new(drawn) }
    }
}

fn cannot_write(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("the picture {} cannot be written: {error}", path.display()))
}

/// Where a picture is made. A node that panics leaves one, too.
struct Easel {
    title: String,
    sketch: RefCell<Option<(PathBuf, Sketch)>>,
}

impl Easel {
    fn sketch(&self) -> Option<Sketch> {
        self.sketch.borrow().as_ref().map(|(_, sketch)| sketch.clone())
    }

    /// Writes the picture, if one is wished, and says where it is.
    fn draw(&self) -> Result<String, Failure> {
        let Some((path, sketch)) = self.sketch.take() else {
            return Ok(String::new());
        };
        let svg = sketch.picture(&self.title).svg();
        fs::write(&path, svg).map_err(|error| cannot_write(&path, &error))?;
        Ok(format!("picture: {}", path.display()))
    }
}

impl Drop for Easel {
    fn drop(&mut self) {
        if self.sketch.borrow().is_some()
            && let Err(failure) = self.draw()
        {
            tracing::error!("{failure}");
        }
    }
}
