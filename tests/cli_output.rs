//! What becomes of the program when nobody takes what it writes: a line may be lost, a node never.

#![allow(clippy::disallowed_methods, reason = "real processes take real time")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");
/// Far beyond what a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream that takes nothing.
#[derive(Debug, Clone, Copy)]
enum Deaf {
    /// A pipe whose reader has gone.
    Unread,
    /// A disk without room.
    Full,
    /// Closed before the start.
    Closed,
}

const ALL: [Deaf; 3] = [Deaf::Unread, Deaf::Full, Deaf::Closed];

impl Deaf {
    fn stream(self) -> Stdio {
        match self {
            Self::Unread => Stdio::from(std::io::pipe().expect("a pipe").1),
            Self::Full => Stdio::from(full()),
            Self::Closed => Stdio::null(),
        }
    }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("a device of Linux")
}

/// The program with these streams; a shell closes what is to be closed.
fn spawn(args: &[&str], out: Option<Deaf>, err: Option<Deaf>) -> Child {
    let mut script = String::from("exec \"$0\" \"$@\"");
    for (deaf, close) in [(out, " >&-"), (err, " 2>&-")] {
        if matches!(deaf, Some(Deaf::Closed)) {
            script += close;
        }
    }
    let stream = |deaf: Option<Deaf>| deaf.map_or_else(Stdio::null, Deaf::stream);
    Command::new("/bin/sh")
        .args(["-c", &script, PROGRAM])
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(stream(out))
        .stderr(stream(err))
        .spawn()
        .expect("a shell")
}

fn code(mut child: Child) -> Option<i32> {
    child.wait().expect("our child").code()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// Whether a node answers at `port` before our patience ends.
fn serves(port: u16) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _gone = stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n");
            let mut answer = String::new();
            let _gone = stream.read_to_string(&mut answer);
            if answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200") {
                return true;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Asks it to end, and returns its exit code.
fn terminated(child: Child) -> Option<i32> {
    let pid = child.id().to_string();
    let sent = Command::new("/bin/kill").arg(&pid).status().expect("kill").success();
    assert!(sent, "the node is not there any more");
    code(child)
}

#[test]
fn a_node_that_nobody_hears_serves_and_ends_well() {
    for deaf in ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let (listen, data) = (format!("127.0.0.1:{port}"), folder.path().to_string_lossy());
        // At this level each request and each role is a line of the log.
        let args = ["serve", "--log", "trace", "--listen-client", &listen, "--data-dir", &data];
        let child = spawn(&args, Some(deaf), Some(deaf));
        assert!(serves(port), "serve, {deaf:?}");
        assert_eq!(terminated(child), Some(0), "serve, {deaf:?}");

        let port = free_port();
        let text = port.to_string();
        let child = spawn(&["dev", "--nodes", "1", "--port", &text], Some(deaf), Some(deaf));
        assert!(serves(port), "dev, {deaf:?}");
        assert_eq!(terminated(child), Some(0), "dev, {deaf:?}");
    }
}

#[test]
fn a_node_does_not_wait_for_the_reader_of_its_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let (listen, data) = (format!("127.0.0.1:{port}"), folder.path().to_string_lossy());
    let (_reader, mut writer) = std::io::pipe().expect("a pipe");
    // The pipe is nearly full before the node begins, and nobody reads.
    writer.write_all(&[b'.'; 60_000]).expect("room");
    let child = Command::new(PROGRAM)
        .args(["serve", "--log", "trace", "--listen-client", &listen, "--data-dir", &data])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer.try_clone().expect("a descriptor"))
        .spawn()
        .expect("the program");
    let served = (0..100).all(|_| serves(port));
    let pid = child.id().to_string();
    let _sent = Command::new("/bin/kill").args(["-KILL", &pid]).status();
    let _ended = code(child);
    assert!(served);
}

#[test]
fn a_command_that_cannot_write_says_so_with_its_exit_code() {
    for (args, unread) in [
        (&["serve", "--print-config"][..], 141),
        (&["storm", "1", "--seconds", "1"], 141),
        (&["storm", "1", "--seconds", "1", "--trace"], 141),
        (&["storm", "1", "--seconds", "1", "--engine", "helix"], 141),
    ] {
        for (deaf, wanted) in [(Deaf::Unread, unread), (Deaf::Full, 1), (Deaf::Closed, 0)] {
            for err in [None, Some(Deaf::Unread), Some(Deaf::Full), Some(Deaf::Closed)] {
                let ended = code(spawn(args, Some(deaf), err));
                assert_eq!(ended, Some(wanted), "{args:?}, {deaf:?}, errors to {err:?}");
            }
        }
    }
}

#[test]
fn an_error_that_nobody_hears_keeps_its_exit_code() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let at = ["--endpoints", &endpoint];
    for (words, wanted) in [
        (&["get", "x"][..], 3),
        (&["put", "x", "y"], 3),
        (&["del", "x"], 3),
        (&["status"], 3),
        (&["bench"], 3),
    ] {
        for deaf in ALL {
            let args = [words, &at[..]].concat();
            assert_eq!(code(spawn(&args, None, Some(deaf))), Some(wanted), "{args:?}, {deaf:?}");
        }
    }
    for deaf in ALL {
        assert_eq!(code(spawn(&["--nonsense"], None, Some(deaf))), Some(2), "{deaf:?}");
        assert_eq!(code(spawn(&["--help"], Some(deaf), Some(deaf))), Some(0), "{deaf:?}");
    }
}
