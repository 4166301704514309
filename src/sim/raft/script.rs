//! What raft adds to [scripts](crate::sim::script).
//!
//! | command | what it does |
//! |---|---|
//! | `cluster N [seed S] tiny` | limits so small that snapshots and refusals happen all the time |
//! | `cluster N [seed S] single` | one entry in an append, one append at a time |
//! | `elect A` | runs until A leads; meanwhile only A's requests and the answers to A pass |
//! | `propose A [COUNT [BYTES]]` | a client writes by way of node A: `c1#7`, or `c1#7..9` |
//! | `read A` | a client reads at node A; the request is `r1`, then `r2` |
//!
//! A node's status has `role` (`leader`, `candidate`, `follower`), `leader` (`n1`, `none`), `term`
//! (`t1`), and indices (`i3`): `last` and `first` of the log, `commit`, `applied`, `snapshot`. About
//! all nodes together: `settled`, when those that run follow one leader in its term, and
//! `leaderless`, when none of them leads.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::Poll;

use crate::config::Limits;
use crate::id::{Index, NodeId};
use crate::raft::{Node, Role};
use crate::sim::machine::{Ledger, Probe, Write};
use crate::sim::net::Flight;
use crate::sim::raft::cluster::{Cluster, Settings, Setup, tiny_limits};
use crate::sim::raft::protocol::Raft;
use crate::sim::script::{Outcome, Play, Scene, Script, Value, number, one_node};
use crate::sim::storm;

impl Play for Raft {
    const WORDS: &'static [&'static str] =
        &["role", "leader", "term", "commit", "applied", "last", "first", "snapshot"];

    const TOGETHER: &'static [&'static str] = &["settled", "leaderless"];

    fn set(scene: &Scene, words: &[&str]) -> Result<Cluster<Ledger>, String> {
        let limits = match words {
            [] => Limits::default(),
            ["tiny"] => tiny_limits(),
            ["single"] => {
                let (append_bytes_max, appends_in_flight_max) = (1, 1);
                Limits { append_bytes_max, appends_in_flight_max, ..Limits::default() }
            }
            _ => return Err("expected cluster N [seed S] [tiny] [single]".into()),
        };
        if !(1..=9).contains(&scene.nodes) {
            return Err("one to nine nodes".into());
        }
        let Scene { nodes, seed, detail, lines_max } = *scene;
        let protocol = Settings { limits, ..Settings::default() };
        let setup = Setup { nodes, detail, lines_max, protocol, ..Setup::default() };
        Ok(Cluster::new(seed, setup, Ledger::default))
    }

    fn command(script: &mut Script<Self>, words: &[&str]) -> Outcome {
        match words {
            ["elect", node] => elect(script, one_node(node)?),
            ["propose", node] => propose(script, one_node(node)?, 1, 0),
            ["propose", node, count] => propose(script, one_node(node)?, number(count)?, 0),
            ["propose", node, count, bytes] => {
                propose(script, one_node(node)?, number(count)?, number(bytes)?)
            }
            ["read", node] => read(script, one_node(node)?),
            _ => Err("no such command".into()),
        }
    }

    fn status(cluster: &Cluster<Ledger>, node: NodeId, word: &str) -> Option<Value> {
        let status = cluster.node(node)?.status();
        let index = |index: Index| Value::Number('i', index.0);
        Some(match word {
            "role" => Value::Word(format!("{:?}", status.role).to_lowercase()),
            "leader" => Value::perhaps('n', status.leader.map(|leader| leader.0)),
            "term" => Value::Number('t', status.term.0),
            "commit" => index(status.commit_index),
            "applied" => index(status.applied_index),
            "last" => index(status.last_index),
            "first" => index(status.first_index),
            "snapshot" => index(status.snapshot_index),
            _ => return None,
        })
    }

    fn together(cluster: &Cluster<Ledger>, word: &str) -> bool {
        match word {
            "settled" => cluster.settled_leader().is_some(),
            _ => cluster.leader().is_none(),
        }
    }

    fn recovers(cluster: Cluster<Ledger>, writes: u32) -> Outcome {
        let writes = (1..=writes).map(|seq| Write { client: 1, seq });
        storm::heal(cluster, writes).map(|_| ()).map_err(|violation| violation.to_string())
    }
}

type Handle = Node<Probe<Ledger>>;

fn handle(script: &mut Script<Raft>, node: NodeId) -> Result<Handle, String> {
    script.cluster()?.node(node).ok_or_else(|| format!("{node:?} is down"))
}

fn elect(script: &mut Script<Raft>, node: NodeId) -> Outcome {
    let handle = handle(script, node)?;
    let term = handle.status().term;
    let answers = move |flight: &Flight, kind: &str| flight.to == node && kind.ends_with("Reply");
    let passes = move |flight: &Flight, kind: &str| flight.from == node || answers(flight, kind);
    script.favour(passes, |_| {
        let status = handle.status();
        status.role == Role::Leader && status.term > term
    })
}

fn propose(script: &mut Script<Raft>, node: NodeId, count: u32, padding: usize) -> Outcome {
    let handle = handle(script, node)?;
    let writes = script.requests().next_writes(count);
    let name = match count {
        1 => format!("c1#{}", writes.start()),
        _ => format!("c1#{}..{}", writes.start(), writes.end()),
    };
    script.ask(node, "to write", name, write(handle, writes, padding))
}

type Proposal = Pin<Box<dyn Future<Output = Result<Index, String>>>>;

/// Proposes all of the writes at once and waits for all of them.
async fn write(
    node: Handle,
    writes: RangeInclusive<u32>,
    padding: usize,
) -> Result<String, String> {
    let propose = |seq| -> Proposal {
        let node = node.clone();
        Box::pin(async move {
            let answer = node.propose(Write { client: 1, seq }.command(padding)).await;
            answer.map(|applied| applied.index).map_err(|refused| refused.to_string())
        })
    };
    let mut waiting: Vec<Proposal> = writes.map(propose).collect();
    let (mut done, mut last, mut refused) = (0, Index(0), BTreeMap::<String, u32>::new());
    poll_fn(|context| {
        waiting.retain_mut(|proposal| match proposal.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(index)) => {
                done += 1;
                last = last.max(index);
                false
            }
            Poll::Ready(Err(why)) => {
                *refused.entry(why).or_default() += 1;
                false
            }
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    match (done, refused.len()) {
        (1, 0) => Ok(format!("it stands at {last:?}")),
        (_, 0) => Ok(format!("they stand up to {last:?}")),
        (0, 1) => Err(refused.into_keys().collect()),
        _ => {
            let refused = refused.iter().map(|(why, count)| format!("; {count}: {why}"));
            Err(format!("{done} stand up to {last:?}{}", refused.collect::<String>()))
        }
    }
}

fn read(script: &mut Script<Raft>, node: NodeId) -> Outcome {
    let handle = handle(script, node)?;
    let name = format!("r{}", script.requests().next_read());
    script.ask(node, "to read", name, async move {
        let last = |ledger: &Ledger| ledger.writes().last().copied();
        match handle.read(|probe| last(probe)).await {
            Ok(Some((index, write))) => Ok(format!("up to {write} at i{index}")),
            Ok(None) => Ok("nothing".into()),
            Err(refused) => Err(refused.to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::sim::raft::protocol::Raft;
    use crate::sim::script::play;

    #[test]
    fn a_wrong_line_is_named() {
        let wrong = |text: &str, what: &str| {
            let error = play::<Raft>(text).expect_err("it is wrong");
            assert!(error.contains(what), "{error}");
        };
        wrong("run 1s", "line 1, `run 1s`: `cluster N` must come first");
        wrong("cluster 3\n\ndance n1", "line 3, `dance n1`: no such command");
        wrong("cluster 3\nrun 5", "a span is like");
        wrong("cluster 3\ncrash n4", "there is no n4");
        wrong("cluster 3\ncrash 1", "nodes are n1 to n9, not `1`");
        wrong("cluster 3\nhold Append n1 n2", "KIND A > A");
        wrong("cluster 3\nrelease * n1 > n2", "no such message is held");
    }

    #[test]
    fn a_condition_that_does_not_hold_says_what_is_found() {
        let wrong = |text: &str, what: &str| {
            let error = play::<Raft>(text).expect_err("it does not hold");
            assert!(error.contains(what), "{error}");
        };
        wrong("cluster 3\nexpect n1.hat = red", "a node's status has no `hat`, but life, role");
        wrong("cluster 3\nexpect n1.last = i7", "not so: n1.last is i0");
        wrong("cluster 3\nexpect settled", "not so: not settled");
        wrong("cluster 3\ncrash *\nuntil *.last = i0 within 1s", "not so after 1s: nobody is up");
        wrong("cluster 1\nuntil n1.last >= i1\nexpect n1.last = t1", "n1.last is i1");
        wrong("cluster 1\nexpect answered r1", "nobody has asked r1");
        wrong("cluster 3\nread n1\nuntil answered r1 within 10ms", "r1 waits");
        wrong("cluster 1\nuntil sends Forward * > * within 10ms", "no Forward * > * was sent");
    }

    #[test]
    fn what_happened_stands_below_its_command() {
        let text =
            "cluster 1 # a comment\nuntil settled\n---\nold\n\npropose n1\nuntil answered c1#1";
        let played = play::<Raft>(text).expect("it runs");
        let (begun, written) = played.split_once("\n\n").expect("two blocks");
        assert!(begun.contains("---\n0.000s n1 started t0, log to i0\n"), "{played}");
        assert!(written.contains("-- n1 answers c1#1: it stands at i2\n"), "{played}");
        assert_eq!(play::<Raft>(&played).as_deref(), Ok(played.as_str()));
    }
}
