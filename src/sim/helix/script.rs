//! What helix adds to [scripts](crate::sim::script).
//!
//! | command | what it does |
//! |---|---|
//! | `cluster N [seed S] [manual] [lie A KIND]...` | `manual`: views end by `elapse` only; `lie`: a liar sits at A |
//! | `elapse A H V` | height H's view V has lasted too long for A, as in `elapse n1 h1 v0` |
//! | `app A slow SPAN`, `refuses`, `fails [N]`, `steady` | how A's application works from now on |
//!
//! A node's status has `height` and `tip` (`h1`), `delivered` and `promised` (`h1`), `view` (`v0`),
//! `leader` (`n1`, `none`), `kept` (messages about later heights, a number), and `evidence`: those
//! that it has caught lying (`n1`, `n1,n3`, `none`), and `trouble`, whether something keeps it from
//! going on (`some`, `none`). The kinds of liars are those of
//! [`Lie`].

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{Height, NodeId, View};
use crate::sim::helix::adversary::Lie;
use crate::sim::helix::cluster::{Cluster, Setup};
use crate::sim::helix::protocol::Helix;
use crate::sim::helix::test_app::Behaviour;
use crate::sim::machine::Ledger;
use crate::sim::script::{Outcome, Play, Scene, Script, Value, counted, number, one_node, span};

/// Blocks that must be decided after the healing.
const BLOCKS_AFTER: u64 = 5;

/// The longest time that may take.
const HEALING_MAX: Duration = Duration::from_secs(60);

impl Play for Helix {
    const WORDS: &'static [&'static str] = &[
        "height",
        "view",
        "leader",
        "tip",
        "delivered",
        "promised",
        "kept",
        "evidence",
        "trouble",
    ];

    fn set(scene: &Scene, mut words: &[&str]) -> Result<Cluster<Ledger>, String> {
        let Scene { nodes, seed, detail, lines_max } = *scene;
        let mut setup = Setup { nodes, detail, lines_max, ..Setup::default() };
        if let ["manual", rest @ ..] = words {
            (setup.protocol.manual, words) = (true, rest);
        }
        if !(4..=9).contains(&nodes) {
            return Err("four to nine nodes".into());
        }
        let mut cluster = Cluster::new(seed, setup, Ledger::default);
        while let ["lie", node, kind, rest @ ..] = words {
            let node = one_node(node)?;
            let lie = Lie::ALL.into_iter().find(|lie| format!("{lie:?}") == *kind);
            cluster.corrupt(node, lie.ok_or("nobody lies like that")?);
            words = rest;
        }
        match words {
            [] => Ok(cluster),
            _ => Err("expected cluster N [seed S] [manual] [lie A KIND]".into()),
        }
    }

    fn command(script: &mut Script<Self>, words: &[&str]) -> Outcome {
        match words {
            ["elapse", nodes, height, view] => {
                let (height, view) = (Height(counted('h', height)?), View(counted('v', view)?));
                let nodes = script.nodes(nodes)?;
                let cluster = script.cluster()?;
                nodes.into_iter().for_each(|node| cluster.elapse(node, height, view));
                Ok(())
            }
            ["app", nodes, how @ ..] => {
                let nodes = script.nodes(nodes)?;
                let cluster = script.cluster()?;
                nodes.into_iter().try_for_each(|node| works(cluster, node, how))
            }
            _ => Err("no such command".into()),
        }
    }

    fn status(cluster: &Cluster<Ledger>, node: NodeId, word: &str) -> Option<Value> {
        let status = cluster.node(node)?.status();
        let height = |height: Height| Value::Number('h', height.0);
        Some(match word {
            "height" => height(status.height),
            "tip" => height(status.tip),
            "delivered" => height(status.delivered),
            "promised" => height(status.promised),
            "view" => Value::Number('v', status.view.0),
            "leader" => Value::perhaps('n', status.leader.map(|leader| leader.0)),
            "kept" => Value::Number(' ', u64::try_from(status.kept).unwrap_or(u64::MAX)),
            "trouble" => Value::Word(if status.trouble.is_some() { "some" } else { "none" }.into()),
            "evidence" => {
                let against = status.evidence.iter().map(|evidence| evidence.node);
                list(against.collect())
            }
            _ => return None,
        })
    }

    fn recovers(mut cluster: Cluster<Ledger>, _writes: u32) -> Outcome {
        cluster.heal();
        let goal = Height(cluster.world().checker().borrow().decided().0 + BLOCKS_AFTER);
        for node in cluster.members() {
            cluster.disk(node).stall_until(cluster.world().now());
            cluster.disk(node).set_quota(None);
            cluster.test_app(node).change(|behaviour| *behaviour = Behaviour::STEADY);
            cluster.resume(node);
        }
        let until = cluster.world().now() + HEALING_MAX;
        loop {
            cluster.reap();
            for node in cluster.members() {
                // It may be an error of its disk that was still to come: then the next time.
                let _ = cluster.start(node);
            }
            if let Some(violation) = cluster.world().violation() {
                return Err(format!("broken invariant {violation}"));
            }
            if cluster.honest().iter().all(|&node| cluster.tip(node) >= goal) {
                return Ok(());
            }
            if cluster.world().now() >= until {
                return Err(format!("{goal:?} is not decided everywhere"));
            }
            if cluster.setup().protocol.manual {
                give_up(&cluster);
            }
            cluster.world().run_for(Duration::from_millis(20));
        }
    }
}

/// Ends every view that has lasted too long, where no clock does.
fn give_up(cluster: &Cluster<Ledger>) {
    let beat = cluster.world().now().0 / 1_000_000 % 500 < 20;
    for node in cluster.members().into_iter().filter(|_| beat) {
        if let Some(engine) = cluster.node(node) {
            let status = engine.status();
            cluster.elapse(node, status.height, status.view);
        }
    }
}

/// Nodes in the notation of scripts: one as a number, several as a word.
fn list(nodes: BTreeSet<NodeId>) -> Value {
    match nodes.first() {
        None => Value::perhaps('n', None),
        Some(node) if nodes.len() == 1 => Value::Number('n', node.0),
        Some(_) => {
            let names: Vec<_> = nodes.iter().map(|node| format!("{node:?}")).collect();
            Value::Word(names.join(","))
        }
    }
}

fn works(cluster: &Cluster<Ledger>, node: NodeId, how: &[&str]) -> Outcome {
    let app = cluster.test_app(node);
    match how {
        ["slow", time] => {
            let time = span(time)?;
            app.change(|behaviour| {
                (behaviour.makes_in, behaviour.judges_in) = ((time, time), (time, time));
            });
        }
        ["refuses"] => app.change(|behaviour| behaviour.refuses = true),
        ["fails"] => app.change(|behaviour| behaviour.failures = u32::MAX),
        ["fails", count] => {
            let count = number(count)?;
            app.change(|behaviour| behaviour.failures = count);
        }
        ["steady"] => app.change(|behaviour| *behaviour = Behaviour::STEADY),
        _ => return Err("slow SPAN, refuses, fails [N] or steady".into()),
    }
    cluster.world().note(format!("the application of {node:?}: {}", how.join(" ")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::sim::helix::protocol::Helix;
    use crate::sim::script::play;

    #[test]
    fn a_wrong_line_is_named() {
        let wrong = |text: &str, what: &str| {
            let error = play::<Helix>(text).expect_err("it is wrong");
            assert!(error.contains(what), "{error}");
        };
        wrong("run 1s", "line 1, `run 1s`: `cluster N` must come first");
        wrong("cluster 3", "four to nine");
        wrong("cluster 4 lie n2 Politely", "nobody lies like that");
        wrong("cluster 4\nexpect n1.tip = h1", "not so: n1.tip is h0");
        wrong("cluster 4\nexpect sent.Commit >= 1", "not so: 0 of Commit were sent");
        wrong("cluster 4\nelapse n1 1 0", "expected `h` and a number, found `1`");
        wrong("cluster 4\nelect n1", "no such command");
    }
}
