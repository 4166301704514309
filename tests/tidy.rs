//! The source's own invariants: which way imports point, which names are not used where, how long
//! a file may be, that every file says what it is, and that every rule names a test that exists.
//!
//! Each failure names the file and line and says what to do instead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of the project.
struct Source {
    /// Path below the project's folder, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Lines with their numbers, without comments, up to the file's own tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
            .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or("")))
    }

    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split(['/', '.']).next().unwrap_or("")
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        collect(&root.join(folder), root, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources below {folders:?}");
    found
}

fn collect(folder: &PathBuf, root: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the project").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable source");
            let below = path.strip_prefix(root).expect("below the project's folder");
            found.push(Source { path: below.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

fn report(trouble: &[String]) {
    assert!(trouble.is_empty(), "\n{}\n", trouble.join("\n"));
}

/// What each module of the library may import from `crate::`, besides itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("error", &["id"]),
    ("quorum", &[]),
    ("machine", &[]),
    ("config", &["id"]),
    ("scope", &[]),
    ("env", &["scope", "id", "error"]),
    ("journal", &["env", "scope", "error", "config"]),
    ("host", &["journal", "env", "scope", "id", "error"]),
    ("raft", &["host", "journal", "env", "scope", "quorum", "id", "error", "machine", "config"]),
    ("helix", &["host", "journal", "env", "scope", "quorum", "id", "error", "machine", "config"]),
    ("node", &["raft", "helix", "host", "machine", "error", "id"]),
    ("tcp", &["env", "scope", "id"]),
    ("kv", &["machine", "node", "scope", "env"]),
    ("api", &["kv", "node", "env", "scope", "error", "id"]),
    (
        "sim",
        &[
            "kv", "node", "raft", "helix", "machine", "env", "scope", "quorum", "error", "id",
            "config", "tcp",
        ],
    ),
    ("manual", &[]),
];

#[test]
fn imports_point_one_way() {
    let mut trouble = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources(&["src"]) {
        if source.path == "src/lib.rs" || source.path.starts_with("src/bin/") {
            continue;
        }
        let module = source.module();
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            trouble.push(format!("{}: a module that IMPORTS does not know", source.path));
            continue;
        };
        for (line, code) in source.code() {
            for rest in code.split("crate::").skip(1) {
                let word = |c: char| !c.is_alphanumeric() && c != '_';
                let target = rest.split(word).next().unwrap_or("");
                let known = IMPORTS.iter().any(|(name, _)| *name == target);
                used.insert((module.to_owned(), target.to_owned()));
                if known && target != module && !allowed.contains(&target) {
                    trouble.push(format!(
                        "{}:{line}: `{module}` imports `{target}`; it may import {allowed:?}",
                        source.path
                    ));
                }
            }
        }
    }
    for (module, allowed) in IMPORTS {
        for target in *allowed {
            if !used.contains(&(module.to_string(), target.to_string())) {
                trouble
                    .push(format!("IMPORTS: `{module}` does not import `{target}`: take it off"));
            }
        }
    }
    report(&trouble);
}

/// A name, where it may be used, and what to use elsewhere.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("std::fs", &["src/env/", "src/bin/"], "go through env::Disk"),
    ("std::net", &["src/env/", "src/api/", "src/bin/"], "go through env::Net"),
    ("std::thread", &["src/env/"], "one executor: no threads outside env"),
    ("Instant", &["src/env/"], "use env::Clock and env::Time"),
    ("SystemTime", &[], "time comes in with an entry, or from env::Clock"),
    ("smol::", &["src/env/", "src/bin/"], "use env::Spawner"),
    ("async_io", &["src/env/"], "go through env::io and env::Clock"),
    ("Arc<", &["src/env/"], "one thread: use Rc"),
    ("Mutex", &[], "one thread: use RefCell"),
    ("HashMap", &[], "iteration must have an order: use BTreeMap"),
    ("HashSet", &[], "iteration must have an order: use BTreeSet"),
    ("fastrand", &["src/env/rng.rs"], "use env::Rng"),
    (".detach()", &[], "nothing outlives its scope: hold the task"),
    ("future::race", &[], "it flips a coin: use scope::first"),
    ("unbounded(", &[], "every queue has a limit: use bounded"),
    ("todo!(", &[], "finish it, or leave it out and say so"),
    ("unimplemented!(", &[], "finish it, or leave it out and say so"),
];

/// The macros that panic where their stream cannot be written, and who may use them all the same:
/// what runs only below the test harness, which catches what they write, and a worker of the study,
/// which takes its streams' descriptors and prints nothing.
const PRINTING: &[&str] = &["print!", "println!", "eprint!", "eprintln!", "dbg!"];
const MAY_PRINT: &[&str] =
    &["examples/study/workers.rs", "src/helix/protocol/sizes.rs", "src/raft/sizes.rs"];
/// Names of the streams themselves.
const STREAMS: &[&str] = &["io::stdout", "io::stderr"];

#[test]
fn nothing_that_is_printed_can_panic() {
    let mut trouble = Vec::new();
    let mut used = Vec::new();
    for source in sources(&["src", "examples"]) {
        if source.path == "src/env/output.rs" {
            continue;
        }
        for (line, code) in source.code() {
            let begins = |at: usize| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            };
            let named = PRINTING.iter().chain(STREAMS);
            for name in named.filter(|name| code.match_indices(**name).any(|(at, _)| begins(at))) {
                match MAY_PRINT.contains(&source.path.as_str()) {
                    true => used.push(source.path.clone()),
                    false => trouble.push(format!(
                        "{}:{line}: `{name}`: use env::output, which cannot panic",
                        source.path
                    )),
                }
            }
        }
    }
    for path in MAY_PRINT.iter().filter(|path| !used.iter().any(|used| used == *path)) {
        trouble.push(format!("{path}: may print and does not; take it off the list"));
    }
    report(&trouble);
}

#[test]
fn no_draw_depends_on_the_width_of_a_pointer() {
    let mut trouble = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| s.path == "src/env/rng.rs") {
        for (line, code) in source.code() {
            if code.contains(".usize(") || code.contains(".isize(") {
                trouble.push(format!("{}:{line}: draw a u64, then convert", source.path));
            }
        }
    }
    report(&trouble);
}

#[test]
fn banned_names_stay_where_they_belong() {
    let mut trouble = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources(&["src"]) {
        for (line, code) in source.code() {
            for (name, places, instead) in BANNED {
                let found = code.match_indices(name).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                });
                let place = places.iter().find(|place| source.path.starts_with(**place));
                match place.filter(|_| found) {
                    Some(place) => _ = used.insert((*name, *place)),
                    None if found => {
                        trouble.push(format!("{}:{line}: `{name}`: {instead}", source.path));
                    }
                    None => {}
                }
            }
        }
    }
    for (name, places, _) in BANNED {
        for place in places.iter().filter(|place| !used.contains(&(*name, **place))) {
            trouble.push(format!("BANNED: `{name}` is not used in {place}: take it off"));
        }
    }
    report(&trouble);
}

/// Rooms, words that their code does not have, the files that have one all the same, and why not.
type Room =
    (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static str);

const ROOMS: &[Room] = &[
    (
        &["src/scope/", "src/host/"],
        &[
            "raft",
            "helix",
            "Raft",
            "Helix",
            "Term",
            "View",
            "Height",
            "leader",
            "follower",
            "candidate",
            "ballot",
            "vote",
            "quorum",
            "committee",
        ],
        &[],
        "it is for any protocol",
    ),
    (&["src/kv/"], &["Clock", "Time"], &["src/kv/keeper.rs"], "time comes in with an entry"),
    (
        &["src/api/"],
        &["raft", "helix", "Raft", "Helix"],
        // What only one engine can say of itself is told by them.
        &["src/api/metrics.rs", "src/api/probes.rs"],
        "it serves a node of either engine",
    ),
    (
        &["src/tcp/frame.rs", "src/tcp/link.rs"],
        &["TcpStream", "TcpListener", "SocketAddr", "net", "io_uring", "Async"],
        &[],
        "bytes may come from anywhere",
    ),
];

#[test]
fn rooms_do_not_have_the_words_of_others() {
    let mut trouble = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources(&["src"]) {
        for (rooms, words, permitted, why) in ROOMS {
            if !rooms.iter().any(|room| source.path.starts_with(room)) {
                continue;
            }
            for (line, code) in source.code() {
                let word = |c: char| !c.is_alphanumeric() && c != '_';
                let Some(named) = code.split(word).find(|word| words.contains(word)) else {
                    continue;
                };
                match permitted.iter().find(|path| source.path == **path) {
                    Some(path) => _ = used.insert(*path),
                    None => trouble.push(format!("{}:{line}: `{named}`: {why}", source.path)),
                }
            }
        }
    }
    for path in ROOMS.iter().flat_map(|(_, _, permitted, _)| *permitted) {
        if !used.contains(path) {
            trouble.push(format!("ROOMS: {path} has none of those words: take it off"));
        }
    }
    report(&trouble);
}

/// The cells that lie open all the same: a handle on the state machine, what the simulator injects,
/// what a view shares with its term, and a handle that is nothing but a cell.
const OPEN: &[&str] = &[
    "src/helix/protocol/core.rs: cancel_injector",
    "src/helix/protocol/term.rs: changes",
    "src/helix/protocol/term.rs: proposal",
    "src/helix/protocol/term.rs: settled",
    "src/helix/protocol/term.rs: view",
    "src/helix/protocol/trigger.rs: struct Manual",
    "src/raft/core.rs: cancel_injector",
    "src/raft/core.rs: machine",
];

/// What is in a room is changed by the room's own functions: no cell lies open.
#[test]
fn no_cell_of_a_room_is_open_to_others() {
    let mut trouble = Vec::new();
    let mut used = BTreeSet::new();
    let open = |source: &&Source| {
        ["src/raft/", "src/helix/", "src/host/"].iter().any(|room| source.path.starts_with(room))
    };
    for source in sources(&["src"]).iter().filter(open) {
        for (line, code) in source.code() {
            let field = code.trim_start();
            let visible = field.starts_with("pub") && !field.contains(" fn ");
            let cell = [": Cell<", ": RefCell<", "Rc<Cell<", "Rc<RefCell<"];
            if !visible || !cell.iter().any(|cell| field.contains(cell)) {
                continue;
            }
            let name = field.split_once(' ').map_or("", |(_, rest)| rest);
            let name = name.split([':', '(']).next().unwrap_or("");
            let named = format!("{}: {name}", source.path);
            match OPEN.iter().find(|open| **open == named) {
                Some(open) => _ = used.insert(*open),
                None => trouble.push(format!("{}:{line}: make it private: {field}", source.path)),
            }
        }
    }
    for open in OPEN.iter().filter(|open| !used.contains(**open)) {
        trouble.push(format!("OPEN: there is no {open}: take it off"));
    }
    report(&trouble);
}

/// A choice of more than two has names for its outcomes.
#[test]
fn no_choice_is_nested() {
    let mut trouble = Vec::new();
    for source in sources(&["src", "examples", "tests"]) {
        for (line, code) in source.code().filter(|_| source.path != "tests/tidy.rs") {
            if ["First::A(First::", "First::B(First::"].iter().any(|nested| code.contains(nested)) {
                trouble.push(format!("{}:{line}: use scope::first::Named", source.path));
            }
        }
    }
    report(&trouble);
}

/// The simulator's shared part knows no protocol; each has a folder of its own. Scripts have words
/// of both.
#[test]
fn the_shared_part_of_the_simulator_names_no_engine() {
    let mut trouble = Vec::new();
    let own = ["src/sim/raft/", "src/sim/helix/", "src/sim/script"];
    let shared = |source: &&Source| {
        source.path.starts_with("src/sim/") && !own.iter().any(|own| source.path.starts_with(own))
    };
    for source in sources(&["src"]).iter().filter(shared) {
        for (line, code) in source.code() {
            let names = ["raft", "helix", "Raft", "Helix", "Term", "Height", "View"];
            let word = |c: char| !c.is_alphanumeric() && c != '_';
            let named = code.split(word).find(|word| names.contains(word));
            let module = matches!(code.trim(), "pub mod raft;" | "pub mod helix;");
            if let Some(name) = named.filter(|_| !module) {
                trouble.push(format!("{}:{line}: `{name}` in the shared part", source.path));
            }
        }
    }
    report(&trouble);
}

#[test]
fn rules_are_pure() {
    let mut trouble = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| s.path.ends_with("/rules.rs")) {
        for (line, code) in source.code() {
            for word in ["async", "await", "Clock", "RefCell", "Cell<", "channel", "&mut self"] {
                if code.contains(word) {
                    trouble.push(format!("{}:{line}: `{word}` in a pure rule", source.path));
                }
            }
        }
    }
    report(&trouble);
}

#[test]
fn every_rule_names_a_test_that_exists() {
    let mut trouble = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| s.path.ends_with("/rules.rs")) {
        let mut doc = String::new();
        for (at, line) in source.text.lines().enumerate() {
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            if let Some(text) = line.strip_prefix("///") {
                doc.push_str(text);
                doc.push(' ');
            } else if line.starts_with("pub fn") || line.starts_with("pub(crate) fn") {
                let place = format!("{}:{}", source.path, at + 1);
                let named: Vec<_> =
                    doc.split('`').filter(|word| word.starts_with("rules::tests::")).collect();
                if named.is_empty() {
                    trouble.push(format!("{place}: the rule names no test that guards it"));
                }
                if !doc.contains("(figure") && !doc.contains("section") {
                    trouble.push(format!("{place}: the rule cites no sentence of its source"));
                }
                for test in named {
                    let name = test.trim_start_matches("rules::tests::");
                    if !source.text.contains(&format!("fn {name}()")) {
                        trouble.push(format!("{place}: there is no test `{name}`"));
                    }
                }
            }
            if !line.starts_with("///") && !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    report(&trouble);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    const LINES_MAX: usize = 600;
    let mut trouble = Vec::new();
    for source in sources(&["src", "examples", "tests"]) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            trouble.push(format!("{}: {lines} lines; split it at {LINES_MAX}", source.path));
        }
        if !source.text.starts_with("//!") && !source.text.starts_with("#!") {
            trouble.push(format!("{}: begin with `//!` and say what it is", source.path));
        }
    }
    report(&trouble);
}

#[test]
fn lines_and_functions_fit_a_screen() {
    const COLUMNS_MAX: usize = 100;
    const FUNCTION_MAX: usize = 70;
    let mut trouble = Vec::new();
    for source in sources(&["src"]) {
        let mut function: Option<(usize, usize)> = None;
        for (line, code) in source.code() {
            let columns = code.chars().count();
            if columns > COLUMNS_MAX {
                trouble.push(format!("{}:{line}: {columns} columns", source.path));
            }
            let indent = code.len() - code.trim_start().len();
            let text = code.trim_start();
            let begins = text.starts_with("fn ") || text.contains(" fn ");
            if function.is_none() && begins && !text.ends_with(';') {
                function = Some((line, indent));
            }
            if let Some((start, at)) = function
                && indent == at
                && text.starts_with('}')
            {
                if line - start >= FUNCTION_MAX {
                    let length = line - start + 1;
                    trouble.push(format!(
                        "{}:{start}: a function of {length} lines; a screen has {FUNCTION_MAX}",
                        source.path
                    ));
                }
                function = None;
            }
        }
    }
    report(&trouble);
}

#[test]
fn a_module_file_is_an_essay_and_its_exports() {
    let mut trouble = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| s.path.ends_with("/mod.rs")) {
        for (line, code) in source.code() {
            if code.trim_start().starts_with("fn ") || code.contains(" fn ") {
                trouble.push(format!("{}:{line}: logic in a mod.rs", source.path));
            }
        }
    }
    report(&trouble);
}

/// Whether a scenario of either protocol has this name.
fn is_scenario(name: &str) -> bool {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    ["raft", "helix"].iter().any(|of| scenarios.join(of).join(format!("{name}.txt")).is_file())
}

/// A page of the manual that says what shows something names tests and scenarios; each is
/// there. What looks like a sentence in `code` is taken for such a name.
#[test]
fn every_test_that_the_manual_names_exists() {
    let code: String =
        sources(&["src", "tests", "examples"]).into_iter().map(|source| source.text).collect();
    let mut trouble = Vec::new();
    for page in ["demands", "scopes"] {
        let path = format!("src/manual/{page}.md");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path));
        let text = text.expect("a page of the manual");
        let mut named = 0;
        for (at, line) in text.lines().enumerate() {
            for word in line.split('`').skip(1).step_by(2) {
                let name = word.rsplit("::").next().unwrap_or("");
                let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                if !is_name || name.matches('_').count() < 3 {
                    continue;
                }
                named += 1;
                if !code.contains(&format!("fn {name}(")) && !is_scenario(name) {
                    let what = format!("there is no test and no scenario `{name}`");
                    trouble.push(format!("{path}:{}: {what}", at + 1));
                }
            }
        }
        assert!(named > 20, "{path} names {named} tests");
    }
    report(&trouble);
}

/// The tables of messages have a row for each message of the code, in its order, and no other.
#[test]
fn the_tables_of_messages_name_every_message() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a file of the project");
    let page = read("src/manual/messages.md");
    let chapters: Vec<_> = page.split("\n## ").skip(1).collect();
    let code = ["src/raft/message.rs", "src/helix/protocol/message.rs"];
    for (chapter, path) in chapters.iter().zip(code) {
        let table = chapter.lines().skip_while(|line| !line.starts_with("| message |")).skip(2);
        let rows = table.take_while(|line| line.starts_with('|'));
        let rows: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let source = read(path);
        let body = source.split("pub enum Message {").nth(1).expect("the messages");
        let body = body.split("\n}").next().expect("their end");
        let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
        let variants = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
        let variants = variants.filter_map(|line| line.split([' ', '(', ',']).next());
        assert_eq!(rows, variants.collect::<Vec<_>>(), "left: the page; right: {path}");
    }
    assert_eq!(chapters.len(), code.len(), "one chapter for each engine");
}
