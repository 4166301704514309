//! What an idle node and a busy socket cost on each of the two loops, side by side.
//!
//! ```text
//! cargo run --release --example reactor                           the table
//! strace -cf target/release/examples/reactor epoll 20000          system calls of one loop
//! ```
//!
//! The peer is a thread that echoes with blocking calls; its own cost is not counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as Socket};
use std::time::Duration;
use std::{env, fs, thread};

use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt};
use quorate::env::Clock;
use quorate::env::io::{Backend, TcpStream, block_on_with};
use smol::LocalExecutor;

const PING: [u8; 64] = [7; 64];

/// Echoes each connection on a thread of its own.
fn start_peer() -> std::io::Result<SocketAddr> {
    let listener = Socket::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = move || {
        for stream in listener.incoming().flatten() {
            let answer = move || {
                let mut stream = stream;
                let mut ping = PING;
                let _ = stream.set_nodelay(true);
                while stream.read_exact(&mut ping).is_ok() && stream.write_all(&ping).is_ok() {}
            };
            let _ = thread::Builder::new().name("peer".into()).spawn(answer);
        }
    };
    thread::Builder::new().name("peer".into()).spawn(echo)?;
    Ok(address)
}

/// Context switches so far of each thread of this process, by name, without the peer's.
fn switches() -> BTreeMap<String, u64> {
    let mut by_name = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        let count = counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        if name.trim() != "peer" {
            *by_name.entry(name.trim().to_owned()).or_default() += count.sum::<u64>();
        }
    }
    by_name
}

/// Prints how often each thread was switched per second of `span` since `before`.
fn print_switches(what: &str, before: &BTreeMap<String, u64>, span: Duration) {
    let each: Vec<_> = switches()
        .into_iter()
        .map(|(name, now)| {
            let count = now - before.get(&name).copied().unwrap_or(0);
            format!("{name} {:.0}/s", count as f64 / span.as_secs_f64())
        })
        .collect();
    quorate::env::output::line(format_args!("  {what:<44} switches: {}", each.join(", ")));
}

async fn round_trip(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&PING).await?;
    read_ping(stream).await
}

/// Reads into more room than needed, as the transport does.
async fn read_ping(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut room = [0; 4096];
    let mut came = 0;
    while came < PING.len() {
        match stream.read(&mut room).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => came += read,
        }
    }
    Ok(())
}

async fn idle(clock: &Clock, stream: &mut TcpStream) -> std::io::Result<()> {
    let span = Duration::from_secs(5);
    let tick = Duration::from_millis(100);
    let (before, end) = (switches(), clock.now() + span);
    while clock.now() < end {
        clock.sleep(tick).await;
    }
    print_switches("a 10 Hz timer", &before, span);
    let (before, end) = (switches(), clock.now() + span);
    while clock.now() < end {
        clock.sleep(tick).await;
        round_trip(stream).await?;
    }
    print_switches("a 10 Hz timer, each with a round trip", &before, span);
    Ok(())
}

async fn busy(clock: &Clock, stream: &mut TcpStream, rounds: u32) -> std::io::Result<()> {
    let mut spans = Vec::new();
    let start = clock.now();
    for _ in 0..rounds {
        let start = clock.now();
        round_trip(stream).await?;
        spans.push(clock.now().since(start));
    }
    let all = clock.now().since(start);
    spans.sort_unstable();
    let at = |per_mille: usize| spans[(spans.len() - 1) * per_mille / 1000];
    quorate::env::output::line(format_args!(
        "  one round trip after the other: mean {:?}, p50 {:?}, p99 {:?}",
        all / rounds,
        at(500),
        at(990)
    ));
    Ok(())
}

/// Many pairs of sockets, both ends on this loop: what one message costs the loop itself.
async fn crowd(clock: &Clock, executor: &LocalExecutor<'_>, rounds: u32) -> std::io::Result<()> {
    const PAIRS: u32 = 64;
    let listener = quorate::env::io::TcpListener::bind(([127, 0, 0, 1], 0))?;
    let at = listener.local_addr()?;
    let mut tasks = Vec::new();
    let start = clock.now();
    for _ in 0..PAIRS {
        let pair = futures_lite::future::try_zip(TcpStream::connect(at), listener.accept());
        let (mut near, (mut far, _)) = pair.await?;
        tasks.push(executor.spawn(async move {
            for _ in 0..rounds / PAIRS {
                round_trip(&mut near).await?;
            }
            Ok::<_, std::io::Error>(())
        }));
        tasks.push(executor.spawn(async move {
            for _ in 0..rounds / PAIRS {
                read_ping(&mut far).await?;
                far.write_all(&PING).await?;
            }
            Ok(())
        }));
    }
    let mut tasks = futures_lite::stream::iter(tasks);
    while let Some(task) = tasks.next().await {
        task.await?;
    }
    let each = clock.now().since(start) / (rounds / PAIRS * PAIRS * 2);
    quorate::env::output::line(format_args!(
        "  {PAIRS} pairs of sockets on the loop: {each:?} per message"
    ));
    Ok(())
}

fn main() -> std::io::Result<()> {
    let peer = start_peer()?;
    let mut args = env::args().skip(1);
    let only = args.next();
    let rounds = args.next().and_then(|text| text.parse().ok());
    for (name, backend) in [("epoll", Backend::Epoll), ("async-io", Backend::AsyncIo)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        quorate::env::output::line(format_args!("{name}"));
        let executor = LocalExecutor::new();
        block_on_with(
            backend,
            executor.run(async {
                let clock = Clock::real();
                let mut stream = TcpStream::connect(peer).await?;
                stream.send_at_once()?;
                if let Some(rounds) = rounds {
                    return busy(&clock, &mut stream, rounds).await;
                }
                idle(&clock, &mut stream).await?;
                busy(&clock, &mut stream, 100_000).await?;
                crowd(&clock, &executor, 200_000).await
            }),
        )?;
    }
    Ok(())
}
