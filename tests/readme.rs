//! README's commands, tried one after the other on the same machine: no two of them want one port,
//! and the built program knows every command and flag that they use.

use std::collections::BTreeMap;
use std::process::Command;

const README: &str = include_str!("../README.md");

/// The commands of README's consoles, with continued lines joined.
fn commands() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => inside = line == "```console",
            Some(command) if inside => found.push(command.to_owned()),
            None if inside && line.starts_with("  ") => {
                let last = found.last_mut().expect("a command begins with $");
                *last = format!("{} {}", last.trim_end_matches('\\'), line.trim());
            }
            _ => {}
        }
    }
    assert!(found.len() > 8, "{found:?}");
    found
}

/// The same with `for` loops written out and without variables.
fn written_out() -> Vec<String> {
    let mut all = Vec::new();
    for command in commands() {
        let Some((head, body)) = command.split_once("; do ") else {
            all.push(command);
            continue;
        };
        let numbers = head.strip_prefix("for i in ").expect("a loop over numbers");
        let body = body.split("done").next().unwrap_or(body);
        all.extend(numbers.split(' ').map(|number| body.replace("$i", number)));
    }
    all
}

/// The clusters in one process that the prose names, and the first port of each.
fn dev_clusters() -> Vec<(String, u16)> {
    let quoted = README.split('`').filter(|text| text.starts_with("quorate dev"));
    let found: Vec<_> = quoted
        .map(|command| {
            let (_, port) = command.split_once("--port ").unwrap_or(("", "2379"));
            (command.to_owned(), port.trim().parse().expect("a port"))
        })
        .collect();
    assert_eq!(found.len(), 2, "raft's and helix's: {found:?}");
    found
}

#[test]
fn no_two_commands_listen_on_one_port() {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut trouble = Vec::new();
    for command in written_out().iter().filter(|command| command.contains("quorate serve")) {
        let words: Vec<_> = command.split_whitespace().collect();
        let listeners = words.windows(2).filter(|pair| pair[0].starts_with("--listen-"));
        for address in listeners.map(|pair| pair[1]) {
            if let Some(other) = taken.insert(address.to_owned(), command.clone()) {
                trouble.push(format!("{address}:\n  {other}\n  {command}"));
            }
        }
    }
    for (command, first) in dev_clusters() {
        for port in first..first + 4 {
            let address = format!("127.0.0.1:{port}");
            if let Some(other) = taken.insert(address.clone(), command.clone()) {
                trouble.push(format!("{address}:\n  {other}\n  {command}"));
            }
        }
    }
    assert!(taken.len() >= 14, "three nodes and four, two ports each: {taken:?}");
    // `cargo run` alone serves at the defaults.
    for port in [2379, 2380] {
        assert!(!taken.contains_key(&format!("127.0.0.1:{port}")), "{port} is a default");
    }
    assert!(trouble.is_empty(), "{}", trouble.join("\n"));
}

#[test]
fn every_flag_exists() {
    let mut seen = 0;
    for command in written_out() {
        let words: Vec<_> = command.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| word.ends_with("quorate")) else {
            continue;
        };
        let name = words[at + 1];
        let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args([name, "--help"])
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "there is no command `{name}`: {command}");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        for flag in words[at..].iter().filter(|word| word.starts_with("--")) {
            let known = help.split_whitespace().any(|word| word.trim_end_matches(',') == *flag);
            assert!(known, "`quorate {name}` has no {flag}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} flags");
}

/// The first block is an excerpt, which no doc-test can run: it is held to the source instead.
#[test]
fn the_figure_is_the_source() {
    let bare = |text: &str| {
        let lines = text.lines().map(|line| line.split(" // ").next().unwrap_or(line).trim());
        lines.collect::<Vec<_>>().join("\n")
    };
    let (_, after) = README.split_once("```rust,ignore\n").expect("README shows figure 4");
    let (figure, rest) = after.split_once("```").expect("the block ends");
    assert!(bare(include_str!("../src/raft/node.rs")).contains(&bare(figure)), "{figure}");
    assert!(!rest.contains("ignore"), "all other blocks are programs");
}
