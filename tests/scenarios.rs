//! The scenarios of `tests/scenarios`, one folder for each protocol: each command with what happened
//! below it. The notation is that of [`quorate::sim::script`].
//!
//! `UPDATE_SCENARIOS=1 cargo test --test scenarios` writes what happened anew; read it in review.
//! `PICTURES=FOLDER` draws each into a file of that folder, also one that fails.

use std::fs;
use std::path::Path;

use quorate::sim::helix::Helix;
use quorate::sim::picture::{Sketch, Window};
use quorate::sim::raft::Raft;
use quorate::sim::script::{Play, draw};

#[test]
fn scenarios_of_raft_happen_as_written() {
    happen_as_written::<Raft>("raft", 30);
}

#[test]
fn scenarios_of_helix_happen_as_written() {
    happen_as_written::<Helix>("helix", 12);
}

fn happen_as_written<P: Play>(protocol: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(protocol);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    assert!(files.len() >= least, "there are {} scenarios", files.len());
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let pictures = std::env::var_os("PICTURES");
    let mut wrong = vec![];
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable scenario");
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let sketch = Sketch::new(Window { moments_max: 2_000, ..Window::default() });
        let played = draw::<P>(&text, &sketch);
        if let Some(pictures) = &pictures {
            let shown = Path::new(pictures).join(&name).with_extension("svg");
            fs::write(shown, sketch.picture(&name).svg()).expect("a folder for pictures");
        }
        match played {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(played) if played == text => {}
            Ok(played) if update => fs::write(&file, played).expect("a writable scenario"),
            Ok(played) => wrong.push(format!("{name}: {}", first_difference(&text, &played))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn first_difference(written: &str, played: &str) -> String {
    let (mut written, mut played) = (written.lines(), played.lines());
    let mut number = 1;
    loop {
        let (left, right) = (written.next(), played.next());
        if left != right || left.is_none() {
            let end = "(the end)";
            let (left, right) = (left.unwrap_or(end), right.unwrap_or(end));
            return format!("line {number}: expected\n  {left}\nbut happened\n  {right}");
        }
        number += 1;
    }
}
