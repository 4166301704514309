//! Draws what happens in a scenario: time down, nodes across, messages as arrows, scopes as boxes.
//!
//! ```console
//! $ cargo run --example picture -- tests/scenarios/raft/election_of_three.txt election.svg
//! $ cargo run --example picture -- --helix \
//!       tests/scenarios/helix/view_change_of_a_mute_leader.txt mute.svg
//! ```
//!
//! A scenario that fails is drawn up to where it failed.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use quorate::env::output::complain;
use quorate::sim::helix::Helix;
use quorate::sim::picture::{Sketch, Window};
use quorate::sim::raft::Raft;
use quorate::sim::script;

/// Moments in a picture: a scenario is told from its beginning to its end.
const MOMENTS_MAX: usize = 2_000;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (of_helix, scenario, picture) = match args.as_slice() {
        ["--helix", scenario, picture] => (true, scenario, picture),
        [scenario, picture] => (false, scenario, picture),
        _ => {
            complain("picture [--helix] SCENARIO.txt PICTURE.svg");
            return ExitCode::from(2);
        }
    };
    match draw(of_helix, Path::new(scenario), Path::new(picture)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            complain(what);
            ExitCode::FAILURE
        }
    }
}

fn draw(of_helix: bool, scenario: &Path, picture: &Path) -> Result<(), String> {
    let text = fs::read_to_string(scenario);
    let text = text.map_err(|error| format!("{}: {error}", scenario.display()))?;
    let sketch = Sketch::new(Window { moments_max: MOMENTS_MAX, ..Window::default() });
    let happened = if of_helix {
        script::draw::<Helix>(&text, &sketch)
    } else {
        script::draw::<Raft>(&text, &sketch)
    };
    let svg = sketch.picture(&scenario.display().to_string()).svg();
    fs::write(picture, svg).map_err(|error| format!("{}: {error}", picture.display()))?;
    happened.map(|_| ())
}
