//! The manual's pictures are what happens in the scenarios beside them, drawn again and compared.
//! `UPDATE_PICTURES=1 cargo test --test pictures` draws them anew; look at them in review.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::sim::checks::Checks as _;
use quorate::sim::helix::Helix;
use quorate::sim::picture::{Picture, Sketch, Window};
use quorate::sim::raft::Raft;
use quorate::sim::{helix, raft, script, storm};

/// A picture that is shown is not larger than this.
const BYTES_MAX: usize = 60_000;

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/pictures");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder of pictures")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_stem().expect("a file").to_string_lossy().into_owned()
}

/// The first line of a scenario, which is a comment, is the title of its picture.
fn draw(file: &Path) -> Picture {
    let text = fs::read_to_string(file).expect("a readable scenario");
    let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
    let title = title.expect("a comment that says what it shows");
    let sketch = Sketch::new(Window { moments_max: 400, ..Window::default() });
    let of_helix = name(file).starts_with("helix");
    let run = if of_helix { script::draw::<Helix> } else { script::draw::<Raft> };
    run(&text, &sketch).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    sketch.picture(title.trim_end_matches('.'))
}

#[test]
fn the_manuals_pictures_are_what_happens() {
    let update = std::env::var_os("UPDATE_PICTURES").is_some();
    let files = scenarios();
    assert!(files.len() >= 5, "there are {} pictures", files.len());
    let mut wrong = vec![];
    for file in files {
        let (svg, shown) = (draw(&file).svg(), file.with_extension("svg"));
        assert!(svg.len() < BYTES_MAX, "{} has {} bytes", name(&file), svg.len());
        assert!(!svg.contains("\n\n"), "an empty line ends a picture inside a page");
        if update {
            fs::write(&shown, svg).expect("a writable picture");
        } else if fs::read_to_string(&shown).ok().as_deref() != Some(&svg) {
            wrong.push(name(&file));
        }
    }
    assert!(wrong.is_empty(), "not what happens (UPDATE_PICTURES=1 draws them): {wrong:?}");
}

#[test]
fn nothing_is_cut_from_the_manuals_pictures() {
    for file in scenarios() {
        assert_eq!(draw(&file).cuts[0], None, "{}", name(&file));
    }
}

#[test]
fn a_storm_that_fails_leaves_a_picture_of_what_led_to_it() {
    let sketch = Sketch::new(Window::default());
    let options: raft::Options =
        raft::Options { sketch: Some(sketch.clone()), ..Default::default() };
    let outcome = storm::cause(1, &options, |cluster| {
        cluster.run_until_led(Duration::from_secs(5));
        cluster.world().checker().borrow_mut().report("I0", "planted <here>".into());
    });
    assert!(outcome.is_err());
    let svg = sketch.picture("a storm").svg();
    assert!(svg.contains("broken invariant I0: planted &lt;here&gt;"), "{svg}");
    assert!(svg.contains("leader t1"), "{svg}");
}

#[test]
fn a_storm_of_helix_that_fails_leaves_a_picture_of_what_led_to_it() {
    let sketch = Sketch::new(Window::default());
    let options: helix::Options =
        helix::Options { sketch: Some(sketch.clone()), ..Default::default() };
    let outcome = storm::cause(1, &options, |cluster| {
        cluster.world().run_for(Duration::from_millis(30));
        cluster.world().checker().borrow_mut().report("I0", "planted".into());
    });
    assert!(outcome.is_err());
    let svg = sketch.picture("a storm").svg();
    assert!(svg.contains("broken invariant I0: planted") && svg.contains("term h1"), "{svg}");
}
