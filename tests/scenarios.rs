//! The scenarios of `tests/scenarios` and `tests/scenarios_helix`: commands above the line,
//! everything that happened below it.
//!
//! `UPDATE_SCENARIOS=1 cargo test --test scenarios` writes the lower parts anew; read them in
//! review. `PICTURES=FOLDER` draws each into a file of that folder, also one that fails.

use std::fs;
use std::path::Path;

use quorate::sim::helix;
use quorate::sim::picture::{Sketch, Window};
use quorate::sim::script::{LINE, draw};

#[test]
fn scenarios_happen_as_written() {
    happen_as_written("tests/scenarios", 20, draw);
}

#[test]
fn scenarios_of_helix_happen_as_written() {
    happen_as_written("tests/scenarios_helix", 7, helix::script::draw);
}

fn happen_as_written(folder: &str, least: usize, run: fn(&str, &Sketch) -> Result<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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
        let separator = format!("{LINE}\n");
        let (commands, expected) = text.split_once(&separator).unwrap_or((&text, ""));
        let sketch = Sketch::new(Window { moments_max: 2_000, ..Window::default() });
        let happened = run(commands, &sketch);
        if let Some(pictures) = &pictures {
            let shown = Path::new(pictures).join(&name).with_extension("svg");
            fs::write(shown, sketch.picture(&name).svg()).expect("a folder for pictures");
        }
        match happened {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(happened) if update => {
                let whole = format!("{}\n\n{separator}{happened}", commands.trim_end());
                fs::write(&file, whole).expect("a writable scenario");
            }
            Ok(happened) if happened == expected => {}
            Ok(happened) => {
                wrong.push(format!("{name}: {}", first_difference(expected, &happened)))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn first_difference(expected: &str, happened: &str) -> String {
    let (mut expected, mut happened) = (expected.lines(), happened.lines());
    loop {
        let (left, right) = (expected.next(), happened.next());
        if left != right || left.is_none() {
            let end = "(the end)";
            let (left, right) = (left.unwrap_or(end), right.unwrap_or(end));
            return format!("expected\n  {left}\nbut happened\n  {right}");
        }
    }
}
