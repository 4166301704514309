//! The built program, as a person or a script meets it: what it prints, how it ends, and what it
//! says when something is wrong.

#![allow(clippy::disallowed_methods)] // the server that answers nothing needs a thread of its own

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");

/// The program with nothing of ours in its environment.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    program(args).output().expect("the program starts")
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

/// A running node, killed when dropped.
struct Node {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Where clients reach it, one URL for each node in the process.
    urls: Vec<String>,
}

impl Node {
    /// Starts the program and waits until it has said where clients reach it.
    fn start(args: &[&str], urls: usize) -> Self {
        Self::spawn(program(args), urls)
    }

    fn spawn(mut command: Command, urls: usize) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = child.stdout.take().expect("it is piped");
        let mut node = Self { child, out: BufReader::new(out), urls: vec![] };
        while node.urls.len() < urls {
            let mut line = String::new();
            let read = node.out.read_line(&mut line).expect("text");
            assert!(read > 0, "the node ended: {}", node.errors());
            if let Some((_, url)) = line.split_once("  http://") {
                node.urls.push(format!("http://{}", url.trim()));
            }
        }
        node
    }

    fn alone(data_dir: &Path) -> Self {
        let data_dir = data_dir.to_str().expect("a printable path");
        Self::start(&["serve", "--listen-client", "127.0.0.1:0", "--data-dir", data_dir], 1)
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(err) = self.child.stderr.as_mut() {
            err.read_to_string(&mut text).expect("text");
        }
        text
    }

    /// Asks it to end, as an init system would, and returns its exit code.
    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it was started").code()
    }

    /// Runs a client command against it and returns what was printed.
    fn client(&self, args: &[&str]) -> String {
        let endpoints = self.urls.join(",");
        let args: Vec<_> = args.iter().copied().chain(["--endpoints", &endpoints]).collect();
        ends(0, &args).0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// An address where nothing listens.
fn unused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn help_names_the_commands_and_the_exit_codes() {
    let (out, _) = ends(0, &["--help"]);
    for word in ["serve", "dev", "keygen", "status", "put", "get", "del", "watch", "storm", "bench"]
    {
        assert!(out.lines().any(|line| line.trim_start().starts_with(word)), "{word}: {out}");
    }
    for code in ["0  done", "1  ", "2  ", "3  ", "4  ", "5  ", "130  "] {
        assert!(out.lines().any(|line| line.trim_start().starts_with(code)), "{code}: {out}");
    }
}

#[test]
fn a_wrong_flag_is_named() {
    let (_, err) = ends(2, &["serve", "--date-dir", "x"]);
    assert!(err.contains("--date-dir"), "{err}");
    let (_, err) = ends(2, &["serve", "--node-id", "zero"]);
    assert!(err.contains("flag --node-id: node_id: `zero` is not a number"), "{err}");
    let (_, err) = ends(2, &["bench", "--clients", "1001"]);
    assert!(err.contains("1001") && err.contains("--clients"), "{err}");
    let (_, err) = ends(2, &["get", "x", "--endpoints", "https://127.0.0.1"]);
    assert!(err.contains("TLS"), "{err}");
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let directory = directory();
    let path = directory.path().join("q.toml");
    let path_text = path.to_str().expect("a printable path");
    let (_, err) = ends(2, &["serve", "--config", path_text]);
    assert!(err.contains("cannot be read"), "{err}");
    for (text, message) in [
        ("node_id = 1\nnodes = 3\n", ":2: `nodes` means nothing"),
        ("node_id = 1\n\nname = [", ":3: "),
        ("node_id = 2\ncluster = [\"1=a:1\"]", ":1: node_id is 2, but the cluster ("),
    ] {
        std::fs::write(&path, text).expect("a writable directory");
        let (_, err) = ends(2, &["serve", "--config", path_text]);
        assert!(err.contains(&format!("{path_text}{message}")), "{err}");
    }
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let directory = directory();
    let path = directory.path().join("q.toml");
    std::fs::write(&path, "name = \"f\"\ntiming = \"wan\"\nlog = \"info\"\n").expect("written");
    let output = program(&["serve", "--print-config", "--name", "x"])
        .env("QUORATE_CONFIG", &path)
        .env("QUORATE_NAME", "e")
        .env("QUORATE_TIMING", "flash")
        .env("QUORATE_SERVICE_HOST", "an orchestrator's, not ours")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    let out = String::from_utf8(output.stdout).expect("text");
    let file = path.display();
    for line in [
        "name = \"x\"  # flag --name".to_owned(),
        "timing = \"flash\"  # environment QUORATE_TIMING".to_owned(),
        format!("log = \"info\"  # {file}:3"),
        "sync = \"auto\"  # default".to_owned(),
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    // What was printed is a file that means the same.
    std::fs::write(&path, &out).expect("written");
    let (again, _) =
        ends(0, &["serve", "--print-config", "--config", path.to_str().expect("text")]);
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once("  # "));
        lines.map(|(value, _)| value.to_owned()).collect()
    };
    assert_eq!(values(&out), values(&again));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let directory = directory();
    let data = directory.path().join("data");
    let data = data.to_str().expect("a printable path");
    let (_, err) = ends(5, &["serve", "--listen-client", &address, "--data-dir", data]);
    assert!(err.contains(&address) && err.contains("--listen-client"), "{err}");
}

#[test]
fn no_endpoint_answers() {
    let (first, second) = (unused(), unused());
    let both = format!("{first},http://{second}");
    for command in [&["get", "x"][..], &["put", "x", "y"], &["del", "x"], &["watch", "x"]] {
        let args = [command, &["--endpoints", &both]].concat();
        let (_, err) = ends(3, &args);
        assert!(err.contains(&first) && err.contains(&second), "{err}");
        assert!(err.contains("refused") && err.contains("Start a node"), "{err}");
    }
    let (out, _) = ends(3, &["status", "--endpoints", &both]);
    assert!(out.contains(&second), "{out}");
    ends(3, &["bench", "--seconds", "0.1", "--warmup", "0", "--endpoints", &first]);
}

#[test]
fn a_put_that_was_sent_is_not_sent_to_another() {
    let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let second = TcpListener::bind("127.0.0.1:0").expect("a free port");
    second.set_nonblocking(true).expect("a socket");
    let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
    let both = format!("{},{}", address(&first), address(&second));
    let server = std::thread::spawn(move || {
        // Reads the request and says nothing.
        let (mut stream, _) = first.accept().expect("a client");
        stream.read(&mut [0; 4096]).expect("a request")
    });
    let (_, err) = ends(3, &["put", "x", "y", "--endpoints", &both]);
    assert!(err.contains("may or may not have been applied"), "{err}");
    assert!(server.join().expect("no panic") > 0);
    assert!(second.accept().is_err(), "nobody else was asked");
}

#[test]
fn what_is_put_is_there_after_a_restart() {
    let directory = directory();
    let node = Node::alone(directory.path());
    assert_eq!(node.client(&["put", "a/1", "one"]), "OK\n");
    assert_eq!(node.client(&["put", "a/2", "two"]), "OK\n");
    assert_eq!(node.client(&["put", "b", "three"]), "OK\n");
    assert_eq!(node.client(&["get", "a/", "--prefix"]), "a/1\none\na/2\ntwo\n");
    assert_eq!(node.client(&["get", "", "--prefix", "--keys-only", "--limit", "2"]), "a/1\na/2\n");
    assert_eq!(node.client(&["del", "a/", "--prefix"]), "2\n");
    assert_eq!(node.client(&["get", "a/1", "--rev", "2", "--value-only"]), "one\n");
    assert_eq!(node.terminate(), Some(0));

    let node = Node::alone(directory.path());
    assert_eq!(node.client(&["get", "b", "--value-only"]), "three\n");
    assert_eq!(node.client(&["get", "b", "--stale", "--value-only"]), "three\n");
    let (_, err) = ends(1, &["get", "a/1", "--endpoints", &node.urls[0]]);
    assert!(err.contains("no key `a/1`"), "{err}");
    let (_, err) = ends(1, &["get", "b", "--rev", "99", "--endpoints", &node.urls[0]]);
    assert!(err.contains("future revision"), "{err}");
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_value_may_be_any_bytes_and_come_from_standard_input() {
    let directory = directory();
    let node = Node::alone(directory.path());
    let bytes: Vec<u8> = (0..=255).collect();
    let mut put = program(&["put", "bytes", "-", "--endpoints", &node.urls[0]])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = put.stdin.take().expect("it is piped");
    stdin.write_all(&bytes).expect("it reads");
    drop(stdin);
    assert!(put.wait().expect("it was started").success());
    let output = run(&["get", "bytes", "--value-only", "--endpoints", &node.urls[0]]);
    assert_eq!(output.stdout, [&bytes[..], b"\n"].concat());
}

#[test]
fn a_watch_goes_on_where_a_restarted_node_continues() {
    let directory = directory();
    let node = Node::alone(directory.path());
    let address = node.urls[0].trim_start_matches("http://").to_owned();
    node.client(&["put", "w", "1"]);
    let mut watch = program(&["watch", "w", "--rev", "1", "--endpoints", &node.urls[0]])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!([next(), next(), next()], ["PUT", "w", "1"]);
    node.client(&["del", "w"]);
    assert_eq!([next(), next(), next()], ["DELETE", "w", ""]);
    assert_eq!(node.terminate(), Some(0));
    let data = directory.path().to_str().expect("a printable path");
    let node = Node::start(&["serve", "--listen-client", &address, "--data-dir", data], 1);
    node.client(&["put", "w", "2"]);
    assert_eq!([next(), next(), next()], ["PUT", "w", "2"]);
    watch.kill().expect("it runs");
    watch.wait().expect("it was started");
}

#[test]
fn one_directory_is_for_one_process() {
    let directory = directory();
    let node = Node::alone(directory.path());
    let data = directory.path().to_str().expect("a printable path");
    let args = ["serve", "--listen-client", "127.0.0.1:0", "--data-dir", data];
    let (_, err) = ends(4, &args);
    assert!(err.contains(data) && err.contains(&node.child.id().to_string()), "{err}");
    drop(node);
    let (_, err) = ends(4, &[&args[..], &["--node-id", "2"]].concat());
    assert!(err.contains('1') && err.contains('2'), "another node's: {err}");
    std::fs::write(directory.path().join("file"), "").expect("written");
    let file = directory.path().join("file");
    let file = file.to_str().expect("a printable path");
    let (_, err) = ends(4, &["serve", "--listen-client", "127.0.0.1:0", "--data-dir", file]);
    assert!(err.contains(file), "{err}");
}

#[test]
fn dev_is_a_cluster_in_one_process() {
    let cluster = Node::start(&["dev", "--port", "0"], 3);
    assert_eq!(cluster.client(&["put", "k", "v"]), "OK\n");
    for url in &cluster.urls {
        let (out, _) = ends(0, &["get", "k", "--value-only", "--endpoints", url]);
        assert_eq!(out, "v\n");
    }
    let status: serde_json::Value =
        serde_json::from_str(&cluster.client(&["status", "--json"])).expect("JSON");
    let roles: Vec<_> = status
        .as_array()
        .expect("a list")
        .iter()
        .map(|node| node["status"]["role"].as_str().expect("a role"))
        .collect();
    assert_eq!(roles.iter().filter(|role| **role == "leader").count(), 1, "{roles:?}");
    assert_eq!(cluster.terminate(), Some(0));
}

#[test]
fn a_storm_is_the_same_each_time() {
    let args = ["storm", "7", "--seeds", "2", "--seconds", "5"];
    let (first, _) = ends(0, &args);
    assert_eq!(first.lines().count(), 2, "{first}");
    assert!(first.starts_with("seed 7 ") && first.contains("\nseed 8 "), "{first}");
    let (second, _) = ends(0, &args);
    assert_eq!(first, second);
    let (trace, _) = ends(0, &["storm", "7", "--seconds", "5", "--trace"]);
    assert!(trace.lines().count() > 100, "{trace}");
    assert_eq!(trace.lines().last(), first.lines().next());
}

#[test]
fn a_storm_can_be_drawn() {
    let folder = directory();
    let file = folder.path().join("storm.svg");
    let path = file.to_str().expect("a path of letters");
    let storm = ["storm", "7", "--seconds", "5"];
    let (plain, _) = ends(0, &storm);
    let (drawn, _) = ends(0, &[&storm[..], &["--picture", path]].concat());
    assert_eq!(plain, drawn, "who watches changes nothing");
    let tail = fs::read_to_string(&file).expect("a picture");
    assert!(tail.contains("Cut to the last 240 moments"), "{tail}");
    let window = ["--picture", path, "--from", "0s", "--until", "10ms"];
    ends(0, &[&storm[..], &window].concat());
    let first = fs::read_to_string(&file).expect("a picture");
    assert!(first.contains("follower t0") && !first.contains("Cut"), "{first}");
    let nowhere = folder.path().join("none").join("storm.svg");
    let nowhere = nowhere.to_str().expect("a path of letters");
    let (_, said) = ends(2, &["storm", "7", "--picture", nowhere]);
    assert!(said.contains(nowhere) && said.contains("cannot be written"), "{said}");
    let (_, said) = ends(2, &["storm", "7", "--picture", path, "--from", "2s", "--until", "1s"]);
    assert!(said.contains("--from is later than --until"), "{said}");
}

#[test]
fn the_cluster_keeps_as_much_history_as_it_was_told() {
    let directory = directory();
    let data = directory.path().to_str().expect("a printable path");
    let args = ["serve", "--listen-client", "127.0.0.1:0", "--data-dir", data];
    let node = Node::start(&[&args[..], &["--history-revisions", "3"]].concat(), 1);
    let first = ["get", "k", "--rev", "2", "--endpoints", &node.urls[0]];
    // The default keeps 100,000; the limit is agreed on soon after the start.
    let forgotten = (0..200).any(|n| {
        node.client(&["put", "k", &n.to_string()]);
        String::from_utf8_lossy(&run(&first).stderr).contains("compacted")
    });
    assert!(forgotten);
}

/// Permission bits do not bind root. Then a copy of the program runs as nobody, whom they bind.
#[cfg(unix)]
fn bound_by_permissions(args: &[&str], folder: &Path) -> Output {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    if std::fs::metadata(folder).expect("it is there").uid() != 0 {
        return run(args);
    }
    let copy = folder.join("quorate");
    // By another process: were it written here, a child that another test starts meanwhile would
    // hold it open, and a file that is open for writing cannot be run.
    let copied = Command::new("cp").arg(PROGRAM).arg(&copy).status().expect("there is a cp");
    assert!(copied.success(), "room for a copy");
    allow(folder, 0o755);
    allow(&copy, 0o755);
    let mut command = Command::new(copy);
    command.args(args).env_clear().stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    command.output().expect("the copy starts")
}

#[cfg(unix)]
#[test]
fn a_data_directory_that_may_only_be_read_is_refused_and_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory();
    let data = directory.path().join("data");
    drop(Node::alone(&data));
    let names = || {
        let entries = std::fs::read_dir(&data).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        names.sort();
        names.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable")))
    };
    for (path, _) in names() {
        let mode = std::fs::Permissions::from_mode(0o444);
        std::fs::set_permissions(path, mode).expect("it is ours");
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o555)).expect("it is ours");
    let before: Vec<_> = names().collect();
    let place = data.to_str().expect("a printable path");
    let args = ["serve", "--listen-client", "127.0.0.1:0", "--data-dir", place];
    let output = bound_by_permissions(&args, directory.path());
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains(place) && err.to_lowercase().contains("permission denied"), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    assert_eq!(before, names().collect::<Vec<_>>(), "nothing was changed");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
}

#[test]
fn damage_is_refused_with_its_place() {
    let directory = directory();
    let node = Node::alone(directory.path());
    node.client(&["put", "k", &"x".repeat(2000)]);
    node.client(&["put", "k", "y"]);
    drop(node);
    let segment = std::fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("a readable segment");
    let at = bytes.windows(9).position(|bytes| bytes == b"xxxxxxxxx").expect("the value");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("a writable segment");
    let data = directory.path().to_str().expect("a printable path");
    let (_, err) = ends(4, &["serve", "--listen-client", "127.0.0.1:0", "--data-dir", data]);
    let name = segment.file_name().and_then(|name| name.to_str()).expect("a printable name");
    assert!(err.contains(data) && err.contains(name) && err.contains("at byte"), "{err}");
    assert_eq!(std::fs::read(&segment).expect("still there"), bytes, "nothing was changed");
}

#[test]
fn without_a_command_it_is_a_durable_node_and_says_how_to_try_it() {
    let directory = directory();
    let mut command = program(&[]);
    command.current_dir(directory.path()).env("QUORATE_LISTEN_CLIENT", "127.0.0.1:0");
    let mut node = Node::spawn(command, 1);
    let mut told = String::new();
    while !told.contains("curl") {
        let read = node.out.read_line(&mut told).expect("text");
        assert!(read > 0, "{told}");
    }
    let data = directory.path().join("quorate-data");
    assert!(told.contains(data.to_str().expect("printable")), "{told}");
    assert!(data.join("LOCK").exists());
    // The lines that it tells to type do what they say.
    let typed: Vec<_> = told
        .lines()
        .filter_map(|line| line.trim().strip_prefix("quorate "))
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .collect();
    assert_eq!(ends(0, &typed[0]).0, "OK\n");
    assert_eq!(ends(0, &typed[1]).0, "greeting\nhello\n");
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_wildcard_to_listen_on_is_told_to_nobody() {
    for host in ["0.0.0.0", "[::]"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (listen, data) = (format!("{host}:0"), folder.path().to_string_lossy());
        let mut node = Node::start(&["serve", "--listen-client", &listen, "--data-dir", &data], 1);
        assert!(!node.urls[0].contains(host), "{:?}", node.urls);
        let endpoint = node.urls[0].split(' ').next().expect("a URL").to_owned();
        let (json, _) = ends(0, &["status", "--json", "--endpoints", &endpoint]);
        for any in ["//0.0.0.0", "//[::]", "//:::"] {
            assert!(!json.contains(any), "{json}");
        }
        node.child.kill().expect("our child");
        let mut said = String::new();
        node.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        assert!(said.contains("WARN") && said.contains("--advertise-client"), "{said}");
    }
}
