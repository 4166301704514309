//! Measures what a sync costs on this machine: in place, on the helper thread, or as `auto`
//! decides; into a file that has its blocks already, or into one that grows.
//!
//! ```text
//! cargo run --release --example sync_modes [DIRECTORY]
//! ```
//!
//! The directory is where the data would be: another file system has other figures.

use std::path::PathBuf;
use std::time::Duration;

use quorate::Fatal;
use quorate::env::disk::{File, SyncMode};
use quorate::env::io::block_on;
use quorate::env::{Clock, Disk};
use smol::LocalExecutor;

/// Writes measured for each line.
const WRITES: usize = 2000;
/// Bytes of one write: a small batch.
const WRITE: usize = 512;

fn main() -> Result<(), Fatal> {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = base.join(format!("quorate-sync-modes-{}", std::process::id()));
    quorate::env::output::line(format_args!(
        "{WRITES} writes of {WRITE} bytes, each synced, in {}\n",
        base.display()
    ));
    quorate::env::output::line(format_args!(
        "| sync runs | file | median | 99th percentile |\n|---|---|---|---|"
    ));
    let measured = measure(&path);
    // Only what this program has made.
    let _ = std::fs::remove_dir_all(&path);
    measured
}

fn measure(path: &std::path::Path) -> Result<(), Fatal> {
    for mode in [SyncMode::Inline, SyncMode::Thread, SyncMode::Auto] {
        for preallocated in [true, false] {
            let disk = Disk::open(path, mode)?;
            let name = match disk.probed() {
                Some(probed) => format!("auto ({:?}, probed {probed:.1?})", disk.sync_mode()),
                None => format!("{mode:?}").to_lowercase(),
            };
            let failed = |error: std::io::Error| Fatal::Disk {
                what: "measuring".into(),
                error: error.to_string(),
            };
            let file = disk.create("sync-modes.tmp").map_err(failed)?;
            if preallocated {
                file.write_at(0, &vec![0; WRITES * WRITE]).map_err(failed)?;
                file.sync_now().map_err(failed)?;
            }
            let executor = LocalExecutor::new();
            let spans = block_on(executor.run(write(&file))).map_err(failed)?;
            let kind = if preallocated { "preallocated, zeroed" } else { "growing" };
            let (median, late) = (spans[WRITES / 2], spans[WRITES * 99 / 100]);
            quorate::env::output::line(format_args!(
                "| {name} | {kind} | {median:.1?} | {late:.1?} |"
            ));
        }
    }
    Ok(())
}

/// The times that the writes took, shortest first.
async fn write(file: &File) -> std::io::Result<Vec<Duration>> {
    let clock = Clock::real();
    let mut spans = Vec::with_capacity(WRITES);
    let mut data = vec![7; WRITE];
    for at in 0..WRITES {
        let began = clock.now();
        data = file.commit((at * WRITE) as u64, data).await?;
        spans.push(clock.now() - began);
    }
    spans.sort_unstable();
    Ok(spans)
}
