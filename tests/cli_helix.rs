//! The built program with the engine helix: keys, what is refused, and a cluster in one process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().stdin(Stdio::null()).output().expect("the program starts")
}

/// Runs it, expects `code`, and returns what it wrote to standard output and error.
fn ends(code: i32, args: &[&str]) -> (String, String) {
    let output = run(args);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a printable path")
}

/// Secret keys of four members in `folder`, and the public ones as a setting.
fn keys(folder: &Path) -> Vec<String> {
    let public = |id| {
        let path = folder.join(format!("key-{id}"));
        format!("{id}={}", ends(0, &["keygen", text(&path)]).0.trim())
    };
    (1..=4).map(public).collect()
}

#[test]
fn a_key_is_made_once_and_shown_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("key");
    let (public, _) = ends(0, &["keygen", text(&path)]);
    assert_eq!(public.trim().len(), 64);
    let secret = std::fs::read_to_string(&path).expect("it is there");
    assert!(!public.contains(secret.trim()));
    let (_, err) = ends(1, &["keygen", text(&path)]);
    assert!(err.contains("never overwritten"), "{err}");
    assert_eq!(ends(0, &["keygen", "--public", text(&path)]).0, public);
    std::fs::write(&path, "no key").expect("written");
    let (_, err) = ends(2, &["keygen", "--public", text(&path)]);
    assert!(err.contains("is not 64 hexadecimal digits") && !err.contains("no key"), "{err}");
}

#[test]
fn a_key_that_is_not_this_members_is_refused_and_no_secret_is_ever_printed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let public = keys(folder.path()).join(",");
    let data = folder.path().join("data");
    let node = |id: &str, key: &Path, member_keys: &str, more: &[&str]| -> Vec<String> {
        let cluster = "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3,4=127.0.0.1:4";
        let mut args = vec!["serve", "--engine", "helix", "--cluster", cluster, "--node-id", id];
        args.extend(["--listen-client", "127.0.0.1:0", "--listen-peer", "127.0.0.1:0"]);
        args.extend(["--data-dir", text(&data), "--member-keys", member_keys]);
        args.extend(["--secret-key", text(key)]);
        args.extend(more);
        args.into_iter().map(str::to_owned).collect()
    };
    let refused =
        |args: Vec<String>| ends(2, &args.iter().map(String::as_str).collect::<Vec<_>>()).1;
    let key = |id: u64| folder.path().join(format!("key-{id}"));
    let err = refused(node("2", &key(1), &public, &[]));
    assert!(err.contains("is that of node 1, and this is node 2"), "{err}");
    let other = folder.path().join("other");
    ends(0, &["keygen", text(&other)]);
    let err = refused(node("2", &other, &public, &[]));
    assert!(err.contains("belongs to no key of member_keys"), "{err}");
    let err = refused(node("2", &folder.path().join("none"), &public, &[]));
    assert!(err.contains("cannot be read") && err.contains("quorate keygen"), "{err}");
    let first = public.split(',').next().expect("four").trim_start_matches("1=");
    let same: Vec<_> = (1..=4).map(|id| format!("{id}={first}")).collect();
    let err = refused(node("1", &key(1), &same.join(","), &[]));
    assert!(err.contains("have the same public key"), "{err}");
    // A key of small order: whoever has it could sign anything as anybody.
    let weak = public.replacen(first, &format!("01{}", "0".repeat(62)), 1);
    let err = refused(node("2", &key(2), &weak, &[]));
    assert!(err.contains("the public key of node 1 is weak"), "{err}");

    let args = node("1", &key(1), &public, &["--print-config"]);
    let (out, _) = ends(0, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let secret = std::fs::read_to_string(key(1)).expect("it is there");
    assert!(out.contains("secret_key = ") && !out.contains(secret.trim()), "{out}");
    assert!(out.contains(first), "public keys are public");
}

#[test]
fn helix_in_one_process_is_a_cluster_of_four() {
    let (_, err) = ends(2, &["dev", "--engine", "helix", "--nodes", "3"]);
    assert!(err.contains("at least 4 nodes"), "{err}");
    let mut child = Command::new(PROGRAM)
        .args(["dev", "--engine", "helix", "--port", "0"])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let urls: Vec<_> = lines
        .map_while(Result::ok)
        .filter_map(|line| Some(format!("http://{}", line.split_once("  http://")?.1.trim())))
        .take(4)
        .collect();
    let at = |id: usize| ["--endpoints", &urls[id - 1]].map(str::to_owned);
    let client = |args: &[&str], id: usize| {
        let at = at(id);
        ends(0, &args.iter().copied().chain(at.iter().map(String::as_str)).collect::<Vec<_>>()).0
    };
    assert_eq!(client(&["put", "greeting", "hello"], 2), "OK\n");
    (1..=4).for_each(|id| {
        assert_eq!(client(&["get", "greeting", "--value-only"], id), "hello\n");
    });
    let status = client(&["status"], 3);
    assert!(status.contains("engine helix: decides height 2 in view 0"), "{status}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
}
