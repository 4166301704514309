//! Scenarios as small text files: commands above a line `----`, and below it everything that
//! happened, in the notation of the [`trace`](crate::sim::trace). The test rewrites the lower part
//! on request and compares it otherwise, so a change of behaviour is read in review.
//!
//! | command | what it does |
//! |---|---|
//! | `cluster N [seed S] [LIMITS]` | N nodes, started; must come first |
//! | | limits: `tiny` for all of them, `single` for one entry in an append, one append at a time |
//! | `show story`, `events`, `frames` | how much is written below (before `cluster`) |
//! | `elect A` | runs until A leads; meanwhile only A's requests and the answers to A pass |
//! | `settle` | runs until all running nodes follow one leader |
//! | `run SPAN` | lets time pass, as in `run 150ms`, `run 2s` |
//! | `propose A [COUNT]`, `read A` | a client asks node A; the last answer is written when it comes |
//! | `cut A > B`, `partition A B \| C`, `isolate A`, `heal` | links; `*` stands for all nodes |
//! | `hold`, `drop`, `twice` `[next] KIND A > B` | the fate of messages; `*` for any kind or node |
//! | `pass` | ends all of these fates; held messages stay |
//! | `release KIND A > B` | held messages go on their way, oldest first |
//! | `crash A`, `kill A`, `start A`, `pause A`, `resume A`, `wipe A`, `stop A` | nodes |
//! | `crash A when KIND A > B` | cuts its power at the poll in which it sends such a message |
//! | `disk A stall SPAN`, `full`, `room`, `fail write`, `fail sync` | disks |
//! | `picture begin`, `picture end` | what a picture shows, if one is made |
//! | `expect leader A`, `leader none`, `commit A I`, `last A I`, `term A T`, `down A` | checks |
//!
//! `crash` cuts the power and loses everything that is not synced; `kill` ends the process only.

mod explore;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::config::Limits;
use crate::env::spawn::Task;
use crate::id::NodeId;
use crate::raft::{Role, Status};
use crate::sim::cluster::Death;
use crate::sim::machine::{Ledger, Write};
use crate::sim::net::{Fate, Flight};
use crate::sim::picture::Sketch;
use crate::sim::raft::events::kind_of;
use crate::sim::raft::{Cluster, Settings, Setup, tiny_limits};
use crate::sim::trace::Detail;
use crate::sim::world::Stopped;

pub use explore::{Explored, explore};

/// The line between the commands and what happened.
pub const LINE: &str = "----";

/// Lines of a scenario's lower part; a longer one is not read by anybody.
const LINES_MAX: usize = 2_000;

/// The longest wait for an election or the end of a node.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The lines that say something, with their numbers.
fn lines(commands: &str) -> impl Iterator<Item = (usize, &str)> {
    let told = commands.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    (1..).zip(told).filter(|(_, line)| !line.is_empty())
}

/// Runs the commands of a scenario and returns what happened.
///
/// # Errors
/// The number of the line and what is wrong with it, or what was expected and is not so, or the
/// invariant that broke; followed by what had happened until then.
pub fn run(commands: &str) -> Result<String, String> {
    conduct(commands, Script::default())
}

/// The same, while a sketch watches. It is good for a picture also if this fails.
///
/// # Errors
/// As [`run`].
pub fn draw(commands: &str, sketch: &Sketch) -> Result<String, String> {
    conduct(commands, Script { sketch: Some(sketch.clone()), ..Script::default() })
}

fn conduct(commands: &str, mut script: Script) -> Result<String, String> {
    for (number, line) in lines(commands) {
        let outcome = script.command(line).and_then(|()| script.check());
        if let Err(what) = outcome {
            let so_far = script.text();
            return Err(format!("line {number}, `{line}`: {what}\n{so_far}"));
        }
    }
    Ok(script.text())
}

/// Which messages a rule or a release is about.
#[derive(Debug, Clone)]
struct Which {
    kind: Option<String>,
    from: Option<NodeId>,
    to: Option<NodeId>,
}

impl Which {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let [kind, from, ">", to] = words else {
            return Err("expected KIND A > B".into());
        };
        let kind = (*kind != "*").then(|| (*kind).to_string());
        Ok(Self { kind, from: any_or_node(from)?, to: any_or_node(to)? })
    }

    fn includes(&self, flight: &Flight) -> bool {
        self.from.is_none_or(|from| from == flight.from)
            && self.to.is_none_or(|to| to == flight.to)
            && self.kind.as_ref().is_none_or(|kind| kind == kind_of(flight))
    }
}

/// The fates of messages, in the order in which the script named them; the first that fits counts.
#[derive(Debug, Default)]
struct Rules {
    list: Vec<(Which, Fate, bool)>,
    elect: Option<NodeId>,
    watched: Option<(Which, Rc<Cell<bool>>)>,
}

impl Rules {
    fn fate(&mut self, flight: &Flight) -> Fate {
        if let Some((which, seen)) = &self.watched
            && which.includes(flight)
        {
            seen.set(true);
        }
        if let Some(at) = self.list.iter().position(|(which, ..)| which.includes(flight)) {
            let (_, fate, once) = self.list[at];
            if once {
                self.list.remove(at);
            }
            return fate;
        }
        match self.elect {
            Some(node) if flight.from != node && !answers(flight, node) => Fate::Drop,
            _ => Fate::Pass,
        }
    }
}

fn answers(flight: &Flight, node: NodeId) -> bool {
    flight.to == node && kind_of(flight).ends_with("Reply")
}

struct Script {
    cluster: Option<Cluster<Ledger>>,
    rules: Rc<RefCell<Rules>>,
    detail: Detail,
    writes: u32,
    clients: Vec<Task<()>>,
    sketch: Option<Sketch>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            cluster: None,
            rules: Rc::default(),
            detail: Detail::Story,
            writes: 0,
            clients: vec![],
            sketch: None,
        }
    }
}

type Outcome = Result<(), String>;

impl Script {
    fn text(&self) -> String {
        let cluster = self.cluster.as_ref();
        let lines = cluster.map_or(vec![], |cluster| cluster.world().trace().take_text());
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn check(&mut self) -> Outcome {
        let Some(cluster) = &mut self.cluster else {
            return Ok(());
        };
        cluster.reap();
        match cluster.world().violation() {
            Some(violation) => Err(format!("broken invariant {violation}")),
            None => Ok(()),
        }
    }

    fn cluster(&mut self) -> Result<&mut Cluster<Ledger>, String> {
        self.cluster.as_mut().ok_or_else(|| "`cluster N` must come first".into())
    }

    /// Ends the fates of messages and sends the held ones on their way; gives the cluster away, and
    /// its clients, who go on waiting.
    fn open(self) -> Result<(Cluster<Ledger>, Vec<Task<()>>), String> {
        let cluster = self.cluster.ok_or("a scenario without a cluster")?;
        let now = cluster.world().now();
        cluster.world().network(|network| {
            network.set_gate(None);
            network.release(now, |_| true);
        });
        Ok((cluster, self.clients))
    }

    fn command(&mut self, line: &str) -> Outcome {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["show", detail] => self.show(detail),
            ["cluster", rest @ ..] => self.begin(rest),
            ["picture", "begin"] => {
                self.cluster()?.world().trace().begin_picture();
                Ok(())
            }
            ["picture", "end"] => {
                self.cluster()?.world().trace().end_picture();
                Ok(())
            }
            ["elect", node] => self.elect(parse_node(node)?),
            ["settle"] => {
                let led = self.cluster()?.run_until_led(WAIT_MAX);
                led.map(|_| ()).ok_or_else(|| "no leader in time".into())
            }
            ["run", span] => {
                let span = parse_span(span)?;
                self.cluster()?.world().run_for(span);
                Ok(())
            }
            ["propose", node] => self.propose(parse_node(node)?, 1),
            ["propose", node, count] => self.propose(parse_node(node)?, parse(count)?),
            ["read", node] => self.read(parse_node(node)?),
            ["hold", rest @ ..] => self.rule(Fate::Hold, rest),
            ["drop", rest @ ..] => self.rule(Fate::Drop, rest),
            ["twice", rest @ ..] => self.rule(Fate::Twice, rest),
            ["pass"] => {
                self.rules.borrow_mut().list.clear();
                Ok(())
            }
            ["release", rest @ ..] => self.release(rest),
            ["crash", node, "when", which @ ..] => {
                self.crash_when(parse_node(node)?, Which::parse(which)?)
            }
            ["disk", node, rest @ ..] => self.disk(parse_node(node)?, rest),
            ["expect", rest @ ..] => self.expect(rest),
            ["cut", from, ">", to] => {
                let (from, to) = (self.nodes(&[from])?, self.nodes(&[to])?);
                self.cluster()?.cut(&from, &to);
                Ok(())
            }
            ["isolate", node] => {
                let (one, all) = (self.nodes(&[node])?, self.nodes(&["*"])?);
                self.cluster()?.partition(&one, &all);
                Ok(())
            }
            ["partition", groups @ ..] => self.partition(groups),
            ["heal"] => {
                self.cluster()?.heal();
                Ok(())
            }
            [verb, node] => self.node(verb, parse_node(node)?),
            _ => Err("no such command".into()),
        }
    }

    fn show(&mut self, detail: &str) -> Outcome {
        self.detail = match detail {
            "story" => Detail::Story,
            "events" => Detail::Events,
            "frames" => Detail::Frames,
            _ => return Err("story, events or frames".into()),
        };
        Ok(())
    }

    fn begin(&mut self, words: &[&str]) -> Outcome {
        let (words, limits) = match words {
            [words @ .., "tiny"] => (words, tiny_limits()),
            [words @ .., "single"] => {
                let (append_bytes_max, appends_in_flight_max) = (1, 1);
                (words, Limits { append_bytes_max, appends_in_flight_max, ..Limits::default() })
            }
            words => (words, Limits::default()),
        };
        let (nodes, seed) = match words {
            [nodes] => (parse(nodes)?, 1),
            [nodes, "seed", seed] => (parse(nodes)?, parse(seed)?),
            _ => return Err("expected cluster N [seed S] [tiny]".into()),
        };
        if !(1..=9).contains(&nodes) {
            return Err("one to nine nodes".into());
        }
        let (detail, lines_max) = (self.detail, LINES_MAX);
        let protocol = Settings { limits, ..Settings::default() };
        let setup = Setup { nodes, detail, lines_max, protocol, ..Setup::default() };
        let mut cluster = Cluster::new(seed, setup, Ledger::default);
        let rules = self.rules.clone();
        let gate = move |flight: &Flight| rules.borrow_mut().fate(flight);
        cluster.world().network(|network| network.set_gate(Some(Box::new(gate))));
        if let Some(sketch) = &self.sketch {
            cluster.world().trace().watch(sketch);
        }
        cluster.start_all();
        self.cluster = Some(cluster);
        Ok(())
    }

    fn elect(&mut self, node: NodeId) -> Outcome {
        self.rules.borrow_mut().elect = Some(node);
        let cluster = self.cluster()?;
        let handle = cluster.node(node).ok_or("it is down")?;
        let world = cluster.world();
        let term = cluster.node(node).map(|node| node.status().term);
        let leads = || {
            let status = handle.status();
            status.role == Role::Leader && Some(status.term) > term
        };
        let stopped = world.run_until(world.now() + WAIT_MAX, leads);
        self.rules.borrow_mut().elect = None;
        match stopped {
            Stopped::Elapsed => Err("it is not elected".into()),
            Stopped::Done | Stopped::Violated => Ok(()),
        }
    }

    fn propose(&mut self, node: NodeId, count: u32) -> Outcome {
        let writes = self.writes + 1..=self.writes + count;
        self.writes += count;
        let cluster = self.cluster()?;
        let handle = cluster.node(node).ok_or("it is down")?;
        let world = cluster.world();
        let (trace, clock) = (world.trace().clone(), world.clock());
        let which = match count {
            1 => format!("c1#{}", writes.start()),
            _ => format!("c1#{} to #{}", writes.start(), writes.end()),
        };
        world.note(format!("{node:?} is asked to write {which}"));
        let tally = Rc::new(RefCell::new((0, String::new())));
        let mut tasks = vec![];
        for seq in writes {
            let (handle, tally) = (handle.clone(), tally.clone());
            let (trace, clock, which) = (trace.clone(), clock.clone(), which.clone());
            tasks.push(world.executor().spawn(world.clients(), async move {
                let answer = handle.propose(Write { client: 1, seq }.command(0)).await;
                let (answered, last) = &mut *tally.borrow_mut();
                *answered += 1;
                *last = match answer {
                    Ok(applied) => format!("it stands at {:?}", applied.index),
                    Err(refused) => refused.to_string(),
                };
                if *answered == count {
                    trace.note(clock.now(), format!("{node:?} answers {which}: {last}"));
                }
            }));
        }
        self.clients.extend(tasks);
        Ok(())
    }

    fn read(&mut self, node: NodeId) -> Outcome {
        let cluster = self.cluster()?;
        let handle = cluster.node(node).ok_or("it is down")?;
        let world = cluster.world();
        world.note(format!("{node:?} is asked to read"));
        let (trace, clock) = (world.trace().clone(), world.clock());
        let task = world.executor().spawn(world.clients(), async move {
            let last = |ledger: &Ledger| ledger.writes().last().copied();
            let text = match handle.read(|probe| last(probe)).await {
                Ok(Some((index, write))) => format!("up to {write} at i{index}"),
                Ok(None) => "nothing".into(),
                Err(refused) => refused.to_string(),
            };
            trace.note(clock.now(), format!("{node:?} reads: {text}"));
        });
        self.clients.push(task);
        Ok(())
    }

    fn rule(&mut self, fate: Fate, words: &[&str]) -> Outcome {
        let (once, words) = match words {
            ["next", words @ ..] => (true, words),
            words => (false, words),
        };
        let which = Which::parse(words)?;
        self.rules.borrow_mut().list.push((which, fate, once));
        Ok(())
    }

    fn release(&mut self, words: &[&str]) -> Outcome {
        let which = Which::parse(words)?;
        let world = self.cluster()?.world();
        let now = world.now();
        let count = world.network(|network| network.release(now, |f| which.includes(f)));
        world.note(format!("released {count} messages"));
        if count == 0 { Err("no such message is held".into()) } else { Ok(()) }
    }

    fn crash_when(&mut self, node: NodeId, which: Which) -> Outcome {
        let seen = Rc::new(Cell::new(false));
        self.rules.borrow_mut().watched = Some((which, seen.clone()));
        let cluster = self.cluster()?;
        let world = cluster.world();
        let stopped = world.run_until(world.now() + WAIT_MAX, || seen.get());
        cluster.crash_losing(node);
        self.rules.borrow_mut().watched = None;
        match stopped {
            Stopped::Elapsed => Err("no such message was sent".into()),
            Stopped::Done | Stopped::Violated => Ok(()),
        }
    }

    fn disk(&mut self, node: NodeId, words: &[&str]) -> Outcome {
        let cluster = self.cluster()?;
        let (disk, world) = (cluster.disk(node), cluster.world());
        match words {
            ["stall", span] => disk.stall_until(world.now() + parse_span(span)?),
            ["full"] => disk.set_quota(Some(0)),
            ["room"] => disk.set_quota(None),
            ["fail", "write"] => disk.fail_next_write(),
            ["fail", "sync"] => disk.fail_next_sync(),
            _ => return Err("stall SPAN, full, room, fail write or fail sync".into()),
        }
        world.note(format!("disk of {node:?}: {}", words.join(" ")));
        Ok(())
    }

    fn node(&mut self, verb: &str, node: NodeId) -> Outcome {
        let cluster = self.cluster()?;
        match verb {
            "crash" => cluster.crash_losing(node),
            "kill" => cluster.crash(node, Death::Kill),
            "start" => {
                cluster.world().note(format!("start {node:?}"));
                return cluster.start(node).map_err(|fatal| fatal.to_string());
            }
            "pause" => cluster.pause(node),
            "resume" => cluster.resume(node),
            "wipe" => cluster.wipe(node),
            "stop" => {
                let ended = cluster.shutdown(node, WAIT_MAX);
                return ended.map(|_| ()).ok_or_else(|| "it does not end".into());
            }
            _ => return Err("no such command".into()),
        }
        Ok(())
    }

    fn partition(&mut self, words: &[&str]) -> Outcome {
        let mut groups = words.split(|word| *word == "|");
        let (Some(one), Some(other), None) = (groups.next(), groups.next(), groups.next()) else {
            return Err("expected partition A B | C".into());
        };
        let (one, other) = (self.nodes(one)?, self.nodes(other)?);
        self.cluster()?.partition(&one, &other);
        Ok(())
    }

    fn nodes(&mut self, words: &[&str]) -> Result<Vec<NodeId>, String> {
        let members = self.cluster()?.members();
        match words {
            ["*"] => Ok(members),
            words => words.iter().map(|word| parse_node(word)).collect(),
        }
    }

    fn expect(&mut self, words: &[&str]) -> Outcome {
        let cluster = self.cluster()?;
        let status = |node: &str| -> Result<Status, String> {
            let node = cluster.node(parse_node(node)?).ok_or("it is down")?;
            Ok(node.status())
        };
        let (found, expected): (String, &str) = match words {
            ["leader", "none"] => (name(cluster.leader()), "none"),
            ["leader", node] => (name(cluster.settled_leader()), node),
            ["commit", node, index] => (status(node)?.commit_index.to_string(), index),
            ["last", node, index] => (status(node)?.last_index.to_string(), index),
            ["term", node, term] => (status(node)?.term.to_string(), term),
            ["down", node] if cluster.is_up(parse_node(node)?) => ("up".into(), "down"),
            ["down", _] => return Ok(()),
            _ => return Err("no such expectation".into()),
        };
        if found == expected { Ok(()) } else { Err(format!("found {found}")) }
    }
}

fn name(node: Option<NodeId>) -> String {
    node.map_or("none".into(), |node| node.to_string())
}

pub(crate) fn parse<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

pub(crate) fn parse_node(word: &str) -> Result<NodeId, String> {
    match parse(word)? {
        id @ 1..=9 => Ok(NodeId(id)),
        _ => Err("nodes are 1 to 9".into()),
    }
}

pub(crate) fn any_or_node(word: &str) -> Result<Option<NodeId>, String> {
    if word == "*" { Ok(None) } else { parse_node(word).map(Some) }
}

pub(crate) fn parse_span(word: &str) -> Result<Duration, String> {
    if let Some(millis) = word.strip_suffix("ms") {
        return parse(millis).map(Duration::from_millis);
    }
    let seconds = word.strip_suffix('s').ok_or("a span is like 150ms or 2s")?;
    parse(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn a_wrong_line_is_named() {
        let wrong = |text: &str, what: &str| {
            let error = run(text).expect_err("it is wrong");
            assert!(error.contains(what), "{error}");
        };
        wrong("run 1s", "line 1, `run 1s`: `cluster N` must come first");
        wrong("cluster 3\n\ndance 1", "line 3");
        wrong("cluster 3\nrun 5", "a span is like");
        wrong("cluster 3\nexpect leader 1", "found none");
        wrong("cluster 3\nhold Append 1 2", "KIND A > B");
        wrong("cluster 3\nrelease * 1 > 2", "no such message is held");
    }

    #[test]
    fn what_happened_is_told_in_the_notation() {
        let text = run("cluster 1 # a comment\nsettle\npropose 1\nrun 100ms").expect("it runs");
        assert!(text.contains("n1 started t0, log to i0\n"), "{text}");
        assert!(text.contains("-- n1 answers c1#1: it stands at i2\n"), "{text}");
    }
}
