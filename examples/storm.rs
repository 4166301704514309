//! A minute of trouble in a simulated cluster, over in a blink: crashes, power cuts, partitions,
//! frozen nodes, stalled and full disks; then healing. Arguments: seed, nodes, how many seeds;
//! `--trace` after them prints everything that happens.
//!
//! `cargo run --example storm -- 7 5`

use quorate::sim::raft::Options;
use quorate::sim::storm;
use quorate::sim::trace::Detail;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>().ok());
    let mut next = |default| numbers.next().flatten().unwrap_or(default);
    let (first, nodes, count) = (next(1), next(3), next(1));
    let options: Options = Options {
        nodes,
        print: std::env::args().any(|arg| arg == "--trace"),
        detail: Detail::Frames,
        ..Options::default()
    };
    for seed in first..first + count {
        match storm::run(seed, &options) {
            Ok(report) => quorate::env::output::line(format_args!("{report}")),
            Err(failure) => {
                quorate::env::output::line(format_args!("{failure}"));
                std::process::exit(1);
            }
        }
    }
}
