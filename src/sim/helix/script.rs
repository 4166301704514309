//! Scenarios of helix as small text files, like those of [`script`](crate::sim::script): commands
//! above a line, and below it everything that happened.
//!
//! | command | what it does |
//! |---|---|
//! | `cluster N [seed S] [manual] [lie A KIND]...` | N nodes, started; must come first; `manual`: views end by `elapse` only |
//! | `show story`, `events`, `frames` | how much is written below (before `cluster`) |
//! | `run SPAN` | lets time pass, as in `run 150ms`, `run 2s` |
//! | `decide H` | runs until every honest node that is up has decided H |
//! | `elapse A H V` | height H's view V has lasted too long for node A |
//! | `app A slow SPAN`, `refuses`, `fails N`, `steady` | how its application works from now on |
//! | `cut A > B`, `partition A B \| C`, `isolate A`, `heal` | links; `*` stands for all nodes |
//! | `hold`, `drop`, `twice` `[next] KIND A > B` | the fate of messages; `*` for any kind or node |
//! | `pass` | ends all of these fates; held messages stay |
//! | `release KIND A > B` | held messages go on their way, oldest first |
//! | `crash A`, `kill A`, `start A`, `pause A`, `resume A`, `stop A` | nodes |
//! | `crash A when KIND A > B` | cuts its power at the poll in which it sends such a message |
//! | `picture begin`, `picture end` | what a picture shows, if one is made |
//! | `expect tip A H`, `view A V`, `leader A B`, `sent KIND COUNT`, `evidence A B` | checks |

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::id::{Height, NodeId, View};
use crate::sim::cluster::Death;
use crate::sim::helix::adversary::Lie;
use crate::sim::helix::cluster::{Cluster, Settings, Setup};
use crate::sim::helix::events::kind_of;
use crate::sim::helix::test_app::Behaviour;
use crate::sim::machine::Ledger;
use crate::sim::net::{Fate, Flight};
use crate::sim::picture::Sketch;
use crate::sim::script::{any_or_node, parse, parse_node, parse_span};
use crate::sim::trace::Detail;
use crate::sim::world::Stopped;

/// Lines of a scenario's lower part; a longer one is not read by anybody.
const LINES_MAX: usize = 2_000;

/// The longest wait for a decision or the end of a node.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs the commands of a scenario and returns what happened.
///
/// # Errors
/// The number of the line and what is wrong with it, or what was expected and is not so, or the
/// invariant that broke; followed by what had happened until then.
pub fn run(commands: &str) -> Result<String, String> {
    conduct(commands, None)
}

/// The same, while a sketch watches. It is good for a picture also if this fails.
///
/// # Errors
/// As [`run`].
pub fn draw(commands: &str, sketch: &Sketch) -> Result<String, String> {
    conduct(commands, Some(sketch.clone()))
}

fn conduct(commands: &str, sketch: Option<Sketch>) -> Result<String, String> {
    let (rules, detail) = (Rc::default(), Detail::Story);
    let mut script = Script { cluster: None, rules, detail, sketch };
    for (line, number) in commands.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
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

/// The fates of messages; of those that fit, the first counts. And how many were sent.
#[derive(Debug, Default)]
struct Rules {
    list: Vec<(Which, Fate, bool)>,
    watched: Option<(Which, Rc<Cell<bool>>)>,
    sent: BTreeMap<&'static str, u32>,
}

impl Rules {
    fn fate(&mut self, flight: &Flight) -> Fate {
        *self.sent.entry(kind_of(flight)).or_default() += 1;
        if let Some((which, seen)) = &self.watched
            && which.includes(flight)
        {
            seen.set(true);
        }
        let Some(at) = self.list.iter().position(|(which, ..)| which.includes(flight)) else {
            return Fate::Pass;
        };
        let (_, fate, once) = self.list[at];
        if once {
            self.list.remove(at);
        }
        fate
    }
}

struct Script {
    cluster: Option<Cluster<Ledger>>,
    rules: Rc<RefCell<Rules>>,
    detail: Detail,
    sketch: Option<Sketch>,
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

    fn command(&mut self, line: &str) -> Outcome {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["show", "story"] => self.detail = Detail::Story,
            ["show", "events"] => self.detail = Detail::Events,
            ["show", "frames"] => self.detail = Detail::Frames,
            ["cluster", rest @ ..] => return self.begin(rest),
            ["picture", "begin"] => self.cluster()?.world().trace().begin_picture(),
            ["picture", "end"] => self.cluster()?.world().trace().end_picture(),
            ["run", span] => {
                let span = parse_span(span)?;
                self.cluster()?.world().run_for(span);
            }
            ["decide", height] => {
                let height = Height(parse(height)?);
                let decided = self.cluster()?.run_until_decided(height, WAIT_MAX);
                return if decided { Ok(()) } else { Err("not in time".into()) };
            }
            ["elapse", node, height, view] => {
                let (height, view) = (Height(parse(height)?), View(parse(view)?));
                self.cluster()?.elapse(parse_node(node)?, height, view);
            }
            ["app", node, rest @ ..] => return self.test_app(parse_node(node)?, rest),
            ["hold", rest @ ..] => return self.rule(Fate::Hold, rest),
            ["drop", rest @ ..] => return self.rule(Fate::Drop, rest),
            ["twice", rest @ ..] => return self.rule(Fate::Twice, rest),
            ["pass"] => self.rules.borrow_mut().list.clear(),
            ["release", rest @ ..] => return self.release(rest),
            ["crash", node, "when", which @ ..] => {
                return self.crash_when(parse_node(node)?, Which::parse(which)?);
            }
            ["expect", rest @ ..] => return self.expect(rest),
            ["cut", from, ">", to] => {
                let (from, to) = (self.nodes(&[from])?, self.nodes(&[to])?);
                self.cluster()?.cut(&from, &to);
            }
            ["isolate", node] => {
                let (one, all) = (self.nodes(&[node])?, self.nodes(&["*"])?);
                self.cluster()?.partition(&one, &all);
            }
            ["partition", groups @ ..] => return self.partition(groups),
            ["heal"] => self.cluster()?.heal(),
            [verb, node] => return self.node(verb, parse_node(node)?),
            _ => return Err("no such command".into()),
        }
        Ok(())
    }

    fn begin(&mut self, words: &[&str]) -> Outcome {
        let (nodes, mut words) = words.split_first().ok_or("expected cluster N")?;
        let (mut seed, mut manual, mut liars) = (1, false, vec![]);
        loop {
            words = match words {
                [] => break,
                ["seed", number, rest @ ..] => {
                    seed = parse(number)?;
                    rest
                }
                ["manual", rest @ ..] => {
                    manual = true;
                    rest
                }
                ["lie", node, kind, rest @ ..] => {
                    let lie = Lie::ALL.into_iter().find(|lie| format!("{lie:?}") == *kind);
                    liars.push((parse_node(node)?, lie.ok_or("nobody lies like that")?));
                    rest
                }
                _ => return Err("expected [seed S] [manual] [lie A KIND]".into()),
            }
        }
        let nodes = parse(nodes)?;
        if !(4..=9).contains(&nodes) {
            return Err("four to nine nodes".into());
        }
        let (detail, lines_max) = (self.detail, LINES_MAX);
        let protocol = Settings { manual, ..Settings::default() };
        let setup = Setup { nodes, detail, lines_max, protocol, ..Setup::default() };
        let mut cluster = Cluster::new(seed, setup, Ledger::default);
        let rules = self.rules.clone();
        let gate = move |flight: &Flight| rules.borrow_mut().fate(flight);
        cluster.world().network(|network| network.set_gate(Some(Box::new(gate))));
        liars.into_iter().for_each(|(node, lie)| cluster.corrupt(node, lie));
        if let Some(sketch) = &self.sketch {
            cluster.world().trace().watch(sketch);
        }
        cluster.start_all();
        self.cluster = Some(cluster);
        Ok(())
    }

    fn test_app(&mut self, node: NodeId, words: &[&str]) -> Outcome {
        let cluster = self.cluster()?;
        let test_app = cluster.test_app(node);
        match words {
            ["slow", span] => {
                let span = parse_span(span)?;
                test_app.change(|behaviour| {
                    (behaviour.makes_in, behaviour.judges_in) = ((span, span), (span, span));
                });
            }
            ["refuses"] => test_app.change(|behaviour| behaviour.refuses = true),
            ["fails", count] => {
                let count = parse(count)?;
                test_app.change(|behaviour| behaviour.failures = count);
            }
            ["steady"] => test_app.change(|behaviour| *behaviour = Behaviour::STEADY),
            _ => return Err("slow SPAN, refuses, fails N or steady".into()),
        }
        cluster.world().note(format!("the application of {node:?}: {}", words.join(" ")));
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
        let sent = self.rules.borrow().sent.clone();
        let cluster = self.cluster()?;
        let status = |node: &str| -> Result<_, String> {
            let node = cluster.node(parse_node(node)?).ok_or("it is down")?;
            Ok(node.status())
        };
        let (found, expected): (String, &str) = match words {
            ["tip", node, height] => (status(node)?.tip.to_string(), height),
            ["view", node, view] => (status(node)?.view.to_string(), view),
            ["leader", node, leader] => {
                let led = status(node)?.leader;
                (led.map_or("none".into(), |leader| leader.to_string()), leader)
            }
            ["sent", kind, count] => {
                let kind = sent.iter().find(|(of, _)| *of == kind);
                (kind.map_or(0, |(_, count)| *count).to_string(), count)
            }
            ["evidence", node, against] => {
                let against = parse_node(against)?;
                let held = status(node)?.evidence.iter().any(|evidence| evidence.node == against);
                return if held { Ok(()) } else { Err("it holds none".into()) };
            }
            _ => return Err("no such expectation".into()),
        };
        if found == expected { Ok(()) } else { Err(format!("found {found}")) }
    }
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
        wrong("cluster 3", "four to nine");
        wrong("cluster 4 lie 2 Politely", "nobody lies like that");
        wrong("cluster 4\nexpect tip 1 1", "found 0");
        wrong("cluster 4\nrelease * 1 > 2", "no such message is held");
    }
}
