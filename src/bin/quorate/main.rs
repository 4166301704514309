//! The command line of `quorate`.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the request was refused, or what was asked for is not there |
//! | 2 | the command line, the environment or the configuration file makes no sense |
//! | 3 | no endpoint answers |
//! | 4 | the data directory cannot be used: locked, damaged, or another node's |
//! | 5 | the node had to stop while it ran: its disk failed, or it cannot listen |
//! | 130 | asked twice to end, the second time before it had ended in good order |
//! | 141 | nobody reads the standard output any more |
//!
//! A node at work (`serve`, `dev`) goes on without what it cannot write. A stream that was closed
//! before the start counts as one that leads to `/dev/null`.

mod address;
mod bench;
mod client;
mod dev;
mod endpoint;
mod exit;
mod fields;
mod histogram;
mod http;
mod keys;
mod kv;
mod load;
mod logging;
mod process;
mod report;
mod serve;
mod settings;
mod stack;
mod status;
mod storm;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate::env::output;

const MORE_HELP: &str = "\
Without a command: one durable node with its data in ./quorate-data, for clients on 127.0.0.1:2379

Exit codes:
    0  done
    1  the request was refused, or what was asked for is not there
    2  the command line, the environment or the configuration file makes no sense
    3  no endpoint answers
    4  the data directory cannot be used: locked, damaged, or another node's
    5  the node had to stop while it ran: its disk failed, or it cannot listen
  130  asked twice to end, the second time before it had ended in good order
  141  nobody reads the standard output any more";

/// A small replicated store that speaks etcd's JSON: one node or a cluster of them.
#[derive(Debug, Parser)]
#[command(version, after_help = MORE_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Dev(dev::Dev),
    Keygen(keys::Keygen),
    Status(status::Status),
    Put(kv::Put),
    Get(kv::Get),
    Del(kv::Del),
    Watch(watch::Watch),
    Storm(storm::Storm),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let result = match command.unwrap_or_else(|| Command::Serve(serve::Serve::alone())) {
        Command::Serve(serve) => serve.run(),
        Command::Dev(dev) => dev.run(),
        Command::Keygen(keygen) => keygen.run(),
        Command::Status(status) => status.run(),
        Command::Put(put) => put.run(),
        Command::Get(get) => get.run(),
        Command::Del(del) => del.run(),
        Command::Watch(watch) => watch.run(),
        Command::Storm(storm) => storm.run(),
        Command::Bench(bench) => bench.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(format_args!("quorate: {failure}"));
            ExitCode::from(failure.exit as u8)
        }
    }
}
