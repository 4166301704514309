//! Scenarios as small text files: a few commands, a line `---`, what happened, an empty line, and
//! the next commands. A test plays each file and compares; on request it writes what happened anew,
//! so a change of behaviour is read in review, beside the command that caused it.
//!
//! ```text
//! # The leader is gone; the others elect another one.
//! crash n1
//! until n2.leader = n3 and n3.leader = n3
//! ---
//! 0.312s -- cut the power of n1
//! 0.518s n3 follower -> candidate t2: no leader heard
//! 0.521s n3 candidate -> leader t2: elected
//! 0.522s n2 follower t2 of n3
//! ```
//!
//! What happened is told by the events of the nodes, in the notation of the
//! [`trace`](crate::sim::trace), and after `--` by what the script itself did. Nodes, indices and
//! terms are written as there: `n1`, `i3`, `t2`, and in helix `h1`, `v0`. `A` stands for a node or a
//! list of nodes, as in `n1,n3`; `*` for all of them. A `#` begins a comment.
//!
//! | command | what it does |
//! |---|---|
//! | `cluster N [seed S] ...` | N nodes, started; comes before all but `show` |
//! | `show story`, `events`, `frames` | how much of what happens is told from now on |
//! | `until CONDITION [within SPAN]` | lets time pass until it holds; fails if it does not |
//! | `expect CONDITION` | fails if it does not hold now |
//! | `run SPAN` | lets time pass, as in `run 150ms`, `run 2s` |
//! | `cut A > A`, `partition A \| A`, `isolate A`, `heal` | links |
//! | `hold`, `drop`, `twice` `[next] KIND A > A` | the fate of messages; `*` for any kind |
//! | `pass` | ends all of these fates; held messages stay |
//! | `release KIND A > A` | held messages go on their way, oldest first |
//! | `crash A`, `kill A`, `start A`, `pause A`, `resume A`, `wipe A`, `stop A` | nodes |
//! | `disk A stall SPAN`, `full`, `room`, `fail write`, `fail sync` | disks |
//! | `picture begin`, `picture end` | what a picture shows, if one is made |
//!
//! `crash` cuts the power and loses everything that is not synced; `kill` ends the process only.
//!
//! | condition | it holds when |
//! |---|---|
//! | `n1.WORD = VALUE` | the node's status says so; also `!=`, `<`, `<=`, `>`, `>=` |
//! | `n1,n2.WORD = VALUE`, `*.WORD = VALUE` | each of them says so; `*`: each honest one that is up |
//! | `n1.life = up`, `= down` | it runs, or does not |
//! | `sent.KIND = COUNT` | so many messages of this kind have been sent since the beginning |
//! | `sends KIND A > A` | such a message is sent from now on (with `until` only) |
//! | `answered R`, `refused R`, `ended R` | the request has been answered, refused, either |
//! | several, with `and` | each of them does |
//!
//! What each protocol adds, its words of status among it, is said by
//! [`raft::script`](crate::sim::raft::script) and [`helix::script`](crate::sim::helix::script).

mod condition;
mod explore;
mod fates;
mod notation;
mod play;
mod requests;
mod value;
mod words;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::env::spawn::Task;
use crate::id::NodeId;
use crate::sim::cluster::{Cluster, Death};
use crate::sim::net::{Fate, Flight};
use crate::sim::picture::Sketch;
use crate::sim::trace::Detail;
use crate::sim::world::Stopped;

use condition::Condition;
use fates::{Fates, Which};
use notation::blocks;
use requests::Requests;

pub use explore::{Explored, cancel, strike};
pub use play::{Play, Scene};
pub use value::Value;
pub(crate) use words::counted;
pub use words::{nodes, number, one_node, span};

/// Lines of what happened after one block; a longer one is not read by anybody.
const LINES_MAX: usize = 2_000;

/// The longest wait for a condition, unless the script says another.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How a command went: what is wrong if it failed.
pub type Outcome = Result<(), String>;

/// Plays a scenario and returns it with what happened written anew; comments and empty lines stay.
///
/// # Errors
/// The number of the line and what is wrong with it, or what was expected and is not so, or the
/// invariant that broke; followed by what had happened since the block began.
pub fn play<P: Play>(text: &str) -> Result<String, String> {
    conduct(text, Script::<P>::new(WAIT_MAX))
}

/// The same, while a sketch watches. It is good for a picture also if this fails.
///
/// # Errors
/// As [`play`].
pub fn draw<P: Play>(text: &str, sketch: &Sketch) -> Result<String, String> {
    conduct(text, Script::<P> { sketch: Some(sketch.clone()), ..Script::new(WAIT_MAX) })
}

fn conduct<P: Play>(text: &str, mut script: Script<P>) -> Result<String, String> {
    let mut played = String::with_capacity(text.len());
    for block in blocks(text) {
        for (number, command) in block.commands() {
            if let Err(what) = script.follow(command).and_then(|()| script.check()) {
                let so_far = script.happened().join("\n");
                return Err(format!("line {number}, `{command}`: {what}\n{so_far}"));
            }
        }
        block.write(&mut played, &script.happened());
    }
    Ok(format!("{}\n", played.trim_end()))
}

/// A scenario under way.
pub struct Script<P: Play> {
    cluster: Option<Cluster<P>>,
    fates: Rc<RefCell<Fates>>,
    detail: Detail,
    patience: Duration,
    requests: Requests,
    clients: Vec<Task>,
    blow: Option<explore::Blow<P>>,
    sketch: Option<Sketch>,
}

impl<P: Play> Script<P> {
    /// Nothing has happened; no wait will be longer than `patience`.
    fn new(patience: Duration) -> Self {
        Self {
            cluster: None,
            fates: Rc::default(),
            detail: Detail::Story,
            patience,
            requests: Requests::default(),
            clients: vec![],
            blow: None,
            sketch: None,
        }
    }

    /// What has happened since this was last asked.
    fn happened(&self) -> Vec<String> {
        self.cluster.as_ref().map_or(vec![], |cluster| cluster.world().trace().take_text())
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

    /// The cluster.
    ///
    /// # Errors
    /// There is none yet.
    pub fn cluster(&mut self) -> Result<&mut Cluster<P>, String> {
        self.cluster.as_mut().ok_or_else(|| "`cluster N` must come first".into())
    }

    /// The requests of clients.
    pub fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    fn follow(&mut self, line: &str) -> Outcome {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["show", detail] => self.show(detail),
            ["cluster", rest @ ..] => self.begin(rest),
            ["until", rest @ .., "within", limit] => self.until(rest, span(limit)?),
            ["until", rest @ ..] => self.until(rest, WAIT_MAX),
            ["expect", rest @ ..] => self.expect(rest),
            ["run", time] => {
                let time = span(time)?;
                self.run(time, |_| false).map(|_| ())
            }
            ["hold", rest @ ..] => self.fate(Fate::Hold, rest),
            ["drop", rest @ ..] => self.fate(Fate::Drop, rest),
            ["twice", rest @ ..] => self.fate(Fate::Twice, rest),
            ["pass"] => {
                self.fates.borrow_mut().clear();
                Ok(())
            }
            ["release", rest @ ..] => self.release(rest),
            ["cut", from, ">", to] => {
                let (from, to) = (self.nodes(from)?, self.nodes(to)?);
                self.cluster()?.cut(&from, &to);
                Ok(())
            }
            ["partition", one, "|", other] => self.partition(one, other),
            ["isolate", nodes] => {
                let nodes = self.nodes(nodes)?;
                let others: Vec<_> = self.nodes("*")?;
                let cluster = self.cluster()?;
                nodes.iter().for_each(|&node| cluster.partition(&[node], &others));
                Ok(())
            }
            ["heal"] => {
                self.cluster()?.heal();
                Ok(())
            }
            ["picture", "begin"] => {
                self.cluster()?.world().trace().begin_picture();
                Ok(())
            }
            ["picture", "end"] => {
                self.cluster()?.world().trace().end_picture();
                Ok(())
            }
            ["disk", nodes, rest @ ..] => self.disk(nodes, rest),
            [verb @ ("crash" | "kill" | "start" | "pause" | "resume" | "wipe" | "stop"), nodes] => {
                let nodes = self.nodes(nodes)?;
                nodes.into_iter().try_for_each(|node| self.life(verb, node))
            }
            words => P::command(self, words),
        }
    }

    fn show(&mut self, detail: &str) -> Outcome {
        self.detail = match detail {
            "story" => Detail::Story,
            "events" => Detail::Events,
            "frames" => Detail::Frames,
            _ => return Err("story, events or frames".into()),
        };
        if let Some(cluster) = &self.cluster {
            cluster.world().trace().set_detail(self.detail);
        }
        Ok(())
    }

    fn begin(&mut self, words: &[&str]) -> Outcome {
        let (nodes, seed, rest) = match words {
            [nodes, "seed", seed, rest @ ..] => (number(nodes)?, number(seed)?, rest),
            [nodes, rest @ ..] => (number(nodes)?, 1, rest),
            [] => return Err("expected cluster N".into()),
        };
        let (detail, lines_max) = (self.detail, LINES_MAX);
        let mut cluster = P::set(&Scene { nodes, seed, detail, lines_max }, rest)?;
        let fates = self.fates.clone();
        let gate = move |flight: &Flight| fates.borrow_mut().fate(flight, P::kind(flight));
        cluster.world().network(|network| network.set_gate(Some(Box::new(gate))));
        if let Some(sketch) = &self.sketch {
            cluster.world().trace().watch(sketch);
        }
        let nodes = cluster.members();
        nodes.into_iter().try_for_each(|node| start(&mut cluster, node))?;
        self.cluster = Some(cluster);
        Ok(())
    }

    fn until(&mut self, words: &[&str], limit: Duration) -> Outcome {
        let condition = Condition::parse::<P>(words, &mut self.fates.borrow_mut())?;
        let limit = limit.min(self.patience);
        let (fates, requests) = (self.fates.clone(), self.requests.clone());
        let stopped =
            self.run(limit, |cluster| condition.holds(cluster, &fates.borrow(), &requests))?;
        fates.borrow_mut().watch_nothing();
        match stopped {
            Stopped::Done | Stopped::Violated => Ok(()),
            Stopped::Elapsed => {
                let found = condition.found(self.cluster()?, &fates.borrow(), &requests);
                Err(format!("not so after {limit:?}: {found}"))
            }
        }
    }

    /// Lets time pass until `done`, at most for `limit`.
    fn run(
        &mut self,
        limit: Duration,
        done: impl Fn(&Cluster<P>) -> bool,
    ) -> Result<Stopped, String> {
        let until = self.cluster()?.world().now() + limit;
        loop {
            let cluster = self.cluster.as_ref().ok_or("`cluster N` must come first")?;
            let due = || self.blow.as_ref().is_some_and(|blow| blow.is_due(cluster));
            let stopped = cluster.world().run_until(until, || due() || done(cluster));
            match self.blow.take_if(|blow| blow.is_due(cluster)) {
                Some(blow) => blow.fall(self.cluster()?),
                None => return Ok(stopped),
            }
        }
    }

    fn expect(&mut self, words: &[&str]) -> Outcome {
        if words.first() == Some(&"sends") {
            return Err("`sends` is about what will be, see `until`".into());
        }
        let condition = Condition::parse::<P>(words, &mut self.fates.borrow_mut())?;
        let cluster = self.cluster.as_ref().ok_or("`cluster N` must come first")?;
        let (fates, requests) = (self.fates.borrow(), &self.requests);
        if condition.holds(cluster, &fates, requests) {
            return Ok(());
        }
        Err(format!("not so: {}", condition.found(cluster, &fates, requests)))
    }

    /// Runs until `done`, while only those messages pass that `passes` picks by what they are and
    /// their kind, and those whose fate the script has said.
    ///
    /// # Errors
    /// It is not done in time.
    pub fn favour(
        &mut self,
        passes: impl Fn(&Flight, &str) -> bool + 'static,
        done: impl Fn(&Cluster<P>) -> bool,
    ) -> Outcome {
        self.fates.borrow_mut().favour(Some(Box::new(passes)));
        let stopped = self.run(self.patience, done);
        self.fates.borrow_mut().favour(None);
        match stopped? {
            Stopped::Elapsed => Err("it does not come to that".into()),
            Stopped::Done | Stopped::Violated => Ok(()),
        }
    }

    /// Lets a client that asks `node` to do `what` wait for `answer`, and writes down what comes of
    /// it: an answer, or why it is refused.
    ///
    /// # Errors
    /// There is no cluster yet.
    pub fn ask(
        &mut self,
        node: NodeId,
        what: &str,
        request: String,
        answer: impl Future<Output = Result<String, String>> + 'static,
    ) -> Outcome {
        let cluster = self.cluster.as_ref().ok_or("`cluster N` must come first")?;
        let world = cluster.world();
        world.note(format!("{node:?} is asked {what} {request}"));
        self.requests.begun(&request);
        let (trace, clock) = (world.trace().clone(), world.clock());
        let requests = self.requests.clone();
        self.clients.push(world.executor().spawn(world.clients(), async move {
            let outcome = answer.await;
            requests.ended(&request, outcome.is_ok());
            trace.note(
                clock.now(),
                match outcome {
                    Ok(answer) => format!("{node:?} answers {request}: {answer}"),
                    Err(why) => format!("{node:?} refuses {request}: {why}"),
                },
            );
        }));
        Ok(())
    }

    fn fate(&mut self, fate: Fate, words: &[&str]) -> Outcome {
        let (once, words) = match words {
            ["next", words @ ..] => (true, words),
            words => (false, words),
        };
        self.fates.borrow_mut().add(Which::parse(words)?, fate, once);
        Ok(())
    }

    fn release(&mut self, words: &[&str]) -> Outcome {
        let which = Which::parse(words)?;
        let world = self.cluster()?.world();
        let now = world.now();
        let chosen = |flight: &Flight| which.includes(flight, P::kind(flight));
        let count = world.network(|network| network.release(now, chosen));
        world.note(match count {
            1 => "released one message".into(),
            _ => format!("released {count} messages"),
        });
        if count == 0 { Err("no such message is held".into()) } else { Ok(()) }
    }

    fn partition(&mut self, one: &str, other: &str) -> Outcome {
        let (one, other) = (self.nodes(one)?, self.nodes(other)?);
        self.cluster()?.partition(&one, &other);
        Ok(())
    }

    fn disk(&mut self, nodes: &str, words: &[&str]) -> Outcome {
        let nodes = self.nodes(nodes)?;
        let cluster = self.cluster()?;
        for node in nodes {
            let (disk, world) = (cluster.disk(node), cluster.world());
            match words {
                ["stall", time] => disk.stall_until(world.now() + span(time)?),
                ["full"] => disk.set_quota(Some(0)),
                ["room"] => disk.set_quota(None),
                ["fail", "write"] => disk.fail_next_write(),
                ["fail", "sync"] => disk.fail_next_sync(),
                _ => return Err("stall SPAN, full, room, fail write or fail sync".into()),
            }
            world.note(format!("disk of {node:?}: {}", words.join(" ")));
        }
        Ok(())
    }

    fn life(&mut self, verb: &str, node: NodeId) -> Outcome {
        let patience = self.patience;
        let cluster = self.cluster()?;
        match verb {
            "crash" => cluster.crash_losing(node),
            "kill" => cluster.crash(node, Death::Kill),
            "start" => {
                cluster.world().note(format!("start {node:?}"));
                return start(cluster, node);
            }
            "pause" => cluster.pause(node),
            "resume" => cluster.resume(node),
            "wipe" => cluster.wipe(node),
            _ => {
                let ended = cluster.shutdown(node, patience);
                return ended.map(|_| ()).ok_or_else(|| "it does not end".into());
            }
        }
        Ok(())
    }

    /// The nodes that a word names.
    ///
    /// # Errors
    /// It names none, or there is no cluster yet.
    pub fn nodes(&mut self, word: &str) -> Result<Vec<NodeId>, String> {
        let members = self.cluster()?.members();
        let named = nodes(word)?.unwrap_or_else(|| members.clone());
        match named.iter().find(|node| !members.contains(node)) {
            Some(stranger) => Err(format!("there is no {stranger:?}")),
            None => Ok(named),
        }
    }
}

fn start<P: Play>(cluster: &mut Cluster<P>, node: NodeId) -> Outcome {
    cluster.start(node).map_err(|fatal| fatal.to_string())
}

impl<P: Play> std::fmt::Debug for Script<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Script({:?}, {:?})", self.fates.borrow(), self.requests)
    }
}
