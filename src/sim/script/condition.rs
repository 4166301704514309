//! What a script waits for, or expects.

use std::cell::Cell;
use std::rc::Rc;

use crate::id::NodeId;
use crate::sim::cluster::Cluster;
use crate::sim::script::fates::{Fates, Which};
use crate::sim::script::play::Play;
use crate::sim::script::requests::{Fortune, Requests};
use crate::sim::script::value::{Relation, Value};
use crate::sim::script::words::nodes;

/// Clauses that must all hold.
#[derive(Debug)]
pub(super) struct Condition {
    clauses: Vec<Clause>,
}

#[derive(Debug)]
enum Clause {
    /// The status of these nodes, or of all honest ones that are up.
    Status { nodes: Option<Vec<NodeId>>, word: String, relation: Relation, said: Value },
    /// How many messages of a kind were sent.
    Sent { kind: String, relation: Relation, said: Value },
    /// Such a message is sent from now on.
    Sends { text: String, seen: Rc<Cell<bool>> },
    /// What has become of a request.
    Request { name: String, word: &'static str },
    /// Something about all nodes together.
    Together(String),
}

impl Condition {
    /// Reads what comes after `until` or `expect`.
    pub(super) fn parse<P: Play>(words: &[&str], fates: &mut Fates) -> Result<Self, String> {
        let clauses = words.split(|word| *word == "and").map(|words| match words {
            [subject, relation, said] if subject.contains('.') => {
                compared::<P>(subject, relation, said)
            }
            ["sends", which @ ..] => {
                let seen = fates.watch(Which::parse(which)?);
                Ok(Clause::Sends { text: which.join(" "), seen })
            }
            ["answered", name] => Ok(Clause::Request { name: (*name).into(), word: "answered" }),
            ["refused", name] => Ok(Clause::Request { name: (*name).into(), word: "refused" }),
            ["ended", name] => Ok(Clause::Request { name: (*name).into(), word: "ended" }),
            [word] if P::TOGETHER.contains(word) => Ok(Clause::Together((*word).into())),
            _ => Err(format!("no such condition: {}", words.join(" "))),
        });
        Ok(Self { clauses: clauses.collect::<Result<_, _>>()? })
    }

    pub(super) fn holds<P: Play>(
        &self,
        cluster: &Cluster<P>,
        fates: &Fates,
        requests: &Requests,
    ) -> bool {
        self.clauses.iter().all(|clause| clause.holds(cluster, fates, requests))
    }

    /// What is found instead of the first clause that does not hold.
    pub(super) fn found<P: Play>(
        &self,
        cluster: &Cluster<P>,
        fates: &Fates,
        requests: &Requests,
    ) -> String {
        let unmet = self.clauses.iter().find(|clause| !clause.holds(cluster, fates, requests));
        unmet.map_or(String::new(), |clause| clause.found(cluster, fates, requests))
    }
}

fn compared<P: Play>(subject: &str, relation: &str, said: &str) -> Result<Clause, String> {
    let (who, word) = subject.split_once('.').ok_or("expected A.WORD = VALUE")?;
    let relation = Relation::parse(relation).ok_or("expected =, !=, <, <=, > or >=")?;
    let (word, said) = (word.to_string(), Value::parse(said));
    if who == "sent" {
        return Ok(Clause::Sent { kind: word, relation, said });
    }
    if word != "life" && !P::WORDS.contains(&word.as_str()) {
        return Err(format!("a node's status has no `{word}`, but life, {}", P::WORDS.join(", ")));
    }
    Ok(Clause::Status { nodes: nodes(who)?, word, relation, said })
}

/// What the status of a node says; `None` if it is down and has none.
fn status<P: Play>(cluster: &Cluster<P>, node: NodeId, word: &str) -> Option<Value> {
    match word {
        "life" => Some(Value::Word(if cluster.is_up(node) { "up" } else { "down" }.into())),
        _ if !cluster.members().contains(&node) || !cluster.is_up(node) => None,
        word => P::status(cluster, node, word),
    }
}

fn everybody<P: Play>(cluster: &Cluster<P>) -> Vec<NodeId> {
    cluster.honest().into_iter().filter(|&node| cluster.is_up(node)).collect()
}

impl Clause {
    fn holds<P: Play>(&self, cluster: &Cluster<P>, fates: &Fates, requests: &Requests) -> bool {
        match self {
            Self::Status { nodes, word, relation, said } => {
                let holds = |&node: &NodeId| {
                    status(cluster, node, word).is_some_and(|found| relation.holds(&found, said))
                };
                match nodes {
                    Some(nodes) => nodes.iter().all(holds),
                    None => {
                        let all = everybody(cluster);
                        !all.is_empty() && all.iter().all(holds)
                    }
                }
            }
            Self::Sent { kind, relation, said } => {
                relation.holds(&Value::Number(' ', fates.sent(kind)), said)
            }
            Self::Sends { seen, .. } => seen.get(),
            Self::Request { name, word } => match requests.fortune(name) {
                None | Some(Fortune::Waits) => false,
                Some(Fortune::Answered) => *word != "refused",
                Some(Fortune::Refused) => *word != "answered",
            },
            Self::Together(word) => P::together(cluster, word),
        }
    }

    fn found<P: Play>(&self, cluster: &Cluster<P>, fates: &Fates, requests: &Requests) -> String {
        match self {
            Self::Status { nodes, word, relation, said } => {
                let nodes = nodes.clone().unwrap_or_else(|| everybody(cluster));
                let unmet = nodes.iter().find_map(|&node| match status(cluster, node, word) {
                    None => Some(format!("{node:?} is down")),
                    Some(found) if relation.holds(&found, said) => None,
                    Some(found) => Some(format!("{node:?}.{word} is {found}")),
                });
                unmet.unwrap_or_else(|| "nobody is up".into())
            }
            Self::Sent { kind, .. } => format!("{} of {kind} were sent", fates.sent(kind)),
            Self::Sends { text, .. } => format!("no {text} was sent"),
            Self::Request { name, .. } => match requests.fortune(name) {
                None => format!("nobody has asked {name}"),
                Some(Fortune::Waits) => format!("{name} waits"),
                Some(Fortune::Answered) => format!("{name} was answered"),
                Some(Fortune::Refused) => format!("{name} was refused"),
            },
            Self::Together(word) => format!("not {word}"),
        }
    }
}
