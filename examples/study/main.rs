//! Processes, threads or coroutines? What each costs on this machine, and what it costs to end one.
//!
//! ```text
//! cargo run --release --example study                       tables for people
//! cargo run --release --example study -- --json             the same figures for machines
//! cargo run --release --example study -- --svg FILE         and a picture
//! cargo run --release --example study -- --dir DIRECTORY    where the logs of the write path are
//! ```
//!
//! The page `study` of the manual says what the figures mean. Reading order: `messages`, `memory`,
//! `life`, `carry` and `timers` measure one thing each; `shapes` has one replicated write path in
//! three shapes; `models` has four ways to end a view. Work that needs a process of its own is this
//! program again, with `--job`.

mod carry;
mod figures;
mod life;
mod measure;
mod memory;
mod messages;
mod models;
mod picture;
mod shapes;
mod timers;
mod workers;

use std::alloc::System;
use std::error::Error;
use std::path::PathBuf;

use quorate::env::Clock;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use figures::Figures;

/// Counts what is allocated, at the price of a few atomic additions for each.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    json: bool,
    svg: Option<PathBuf>,
    dir: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "--job") {
        args.remove(0);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        return job(&args);
    }
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(option) = args.next() {
        match option.as_str() {
            "--json" => options.json = true,
            "--svg" => options.svg = args.next().map(PathBuf::from),
            "--dir" => options.dir = args.next().map(PathBuf::from),
            _ => return Err(format!("{option}: only --json, --svg FILE, --dir DIRECTORY").into()),
        }
    }
    study(&options)
}

/// Measures everything and tells it.
fn study(options: &Options) -> Result<(), Box<dyn Error>> {
    let clock = Clock::real();
    let (machine, before) = (measure::machine(), measure::load());
    let base = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("quorate-study-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut figures = Figures::default();
    let outcome = measure_all(&mut figures, &folder);
    // Only what this program has made.
    std::fs::remove_dir_all(&folder)?;
    outcome?;
    let load = format!("{before} before, {} after", measure::load());
    if options.json {
        let _lost =
            quorate::env::output::write(figures.json(&machine, &load).to_string().as_bytes());
    } else {
        quorate::env::output::line(format_args!(
            "{machine}; load {load}; {:.0?}",
            clock.now() - quorate::env::Time::ZERO
        ));
        quorate::env::output::line(format_args!(
            "median (tenth to ninetieth percentile), or a count"
        ));
        let _lost = quorate::env::output::write(figures.tables().to_string().as_bytes());
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, picture::draw(&figures, &machine, &load))?;
    }
    Ok(())
}

fn measure_all(figures: &mut Figures, folder: &std::path::Path) -> std::io::Result<()> {
    messages::run(figures)?;
    memory::run(figures)?;
    life::run(figures)?;
    carry::run(figures)?;
    timers::run(figures)?;
    shapes::run(figures, folder)?;
    models::run(figures);
    Ok(())
}

/// What this program does when it is a worker.
fn job(args: &[&str]) -> Result<(), Box<dyn Error>> {
    match args {
        ["nothing"] => {}
        ["echo"] => messages::echo_job()?,
        ["idle", kind, count] => memory::idle_job(kind, count.parse()?)?,
        ["signal", parent] => carry::signal_job(parent.parse()?)?,
        ["marshal"] => carry::marshal_job()?,
        ["timers", kind, count] => timers::timers_job(kind, count.parse()?)?,
        ["shape", shape, window, folder] => {
            shapes::shape_job(shape, window.parse()?, folder.as_ref())?;
        }
        ["peer", path] => shapes::work::peer_job(path.as_ref())?,
        ["log", path] => shapes::log_job(path.as_ref())?,
        ["replication", who, port] => shapes::replication_job(who.parse()?, port.parse()?)?,
        ["machine"] => shapes::machine_job()?,
        _ => return Err(format!("no such job: {args:?}").into()),
    }
    Ok(())
}
