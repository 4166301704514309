//! `quorate bench`: a closed-loop load generator for any server that speaks etcd's JSON mapping.
//!
//! Closed loop: each client sends a request, waits for its answer, sends the next; so latency and
//! throughput are two views of one thing (`clients / mean latency`), and a server that stalls is
//! not flooded. What a stall costs is shown by the maximum and by the longest time without any
//! success, not by the percentiles.

use std::rc::Rc;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use quorate::env::{Clock, io::block_on};
use smol::LocalExecutor;

use crate::client::print;
use crate::endpoint::Endpoints;
use crate::exit::{Exit, Failure};
use crate::load::{Client, KEYS_MAX, Op, Plan, Run, Tally};
use crate::process::Usage;
use crate::report::Report;

/// How often it is checked whether a client waits for too long.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Measure any server that speaks etcd's JSON mapping.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    endpoints: Endpoints,
    /// What to send
    #[arg(long, value_enum, default_value = "put")]
    op: Op,
    /// Connections, with one request in flight each
    #[arg(long, default_value_t = 64, value_parser = number().range(1..=1000))]
    clients: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256, value_parser = number().range(0..=1_000_000))]
    value_size: u64,
    /// How many different keys
    #[arg(long, default_value_t = 10_000, value_parser = number().range(1..=KEYS_MAX))]
    keys: u64,
    /// Percent of gets among the requests of `--op mixed`
    #[arg(long, default_value_t = 80, value_parser = number().range(0..=100))]
    read_ratio: u64,
    /// Seconds to measure
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Seconds to run before measuring
    #[arg(long, default_value = "2", value_parser = seconds)]
    warmup: Duration,
    /// Do not put every key once before gets are measured
    #[arg(long)]
    no_fill: bool,
    /// Processes of the servers on this machine, to count what they use
    #[arg(long, value_name = "PID,..", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn number() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.0..=86_400.0).contains(&number) {
        return Err("must be between 0 and 86400 seconds".into());
    }
    Ok(Duration::from_secs_f64(number))
}

/// What was counted at one end of the measured interval.
struct Counted {
    own: Usage,
    servers: Vec<Usage>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let plan = Plan {
            op: self.op,
            value_size: self.value_size as usize,
            keys: self.keys,
            read_percent: self.read_ratio,
            clients: self.clients,
            endpoints: self.endpoints.resolve()?,
        };
        self.counted()?;
        let executor = LocalExecutor::new();
        let report = block_on(executor.run(self.measure(&executor, plan)))?;
        if self.json {
            print(format!("{}\n", report.json()).as_bytes())?;
        } else {
            print(report.to_string().as_bytes())?;
        }
        report.verdict()
    }

    async fn measure(&self, executor: &LocalExecutor<'_>, plan: Plan) -> Result<Report, Failure> {
        let clock = Clock::real();
        let run = Rc::new(Run::new(plan, clock.clone()));
        let clients: Vec<_> =
            (0..self.clients).map(|number| Client::new(run.clone(), number)).collect();
        if self.op != Op::Put && !self.no_fill {
            fill(executor, &clients).await?;
        }
        let work: Vec<_> =
            clients.iter().map(|client| executor.spawn(client.clone().work())).collect();
        self.pass(&clock, &clients, self.warmup).await;
        let before = self.counted()?;
        let begun = clock.now();
        run.begin();
        self.pass(&clock, &clients, self.seconds).await;
        run.end();
        let elapsed = clock.now().since(begun);
        let after = self.counted()?;
        for task in work {
            task.cancel().await;
        }
        drop(clients);
        let plan = run.plan.clone();
        let tally = tally(run);
        let servers = self.pids.iter().zip(after.servers.iter().zip(&before.servers));
        Ok(Report {
            plan,
            elapsed,
            warmup: self.warmup,
            tally,
            own: after.own.since(&before.own),
            servers: servers.map(|(&pid, (after, before))| (pid, after.since(before))).collect(),
        })
    }

    /// Lets `span` pass, and interrupts clients whose request got no answer in time.
    async fn pass(&self, clock: &Clock, clients: &[Rc<Client>], span: Duration) {
        let end = clock.now() + span;
        while clock.now() < end {
            clock.sleep_until(end.min(clock.now() + CHECK_EVERY)).await;
            for client in clients {
                client.check();
            }
        }
    }

    fn counted(&self) -> Result<Counted, Failure> {
        let of = |pid: u32| {
            Usage::of(pid).map_err(|error| {
                let message = format!("--pids: process {pid} cannot be read: {error}");
                Failure::new(Exit::Refused, message)
            })
        };
        Ok(Counted {
            own: of(std::process::id())?,
            servers: self.pids.iter().map(|&pid| of(pid)).collect::<Result<_, _>>()?,
        })
    }
}

/// Every key once, by all clients together.
async fn fill(executor: &LocalExecutor<'_>, clients: &[Rc<Client>]) -> Result<(), Failure> {
    let tasks: Vec<_> =
        clients.iter().map(|client| executor.spawn(client.clone().fill())).collect();
    for task in tasks {
        task.await?;
    }
    Ok(())
}

fn tally(run: Rc<Run>) -> Tally {
    let run = Rc::try_unwrap(run).unwrap_or_else(|_| unreachable!("the clients are gone"));
    run.into_tally()
}
