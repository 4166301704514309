//! What a script says of messages: which pass, which are lost, doubled or held; and how many were
//! sent.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::id::NodeId;
use crate::sim::net::{Fate, Flight};
use crate::sim::script::words::nodes;

/// Which messages a rule, a release or a condition is about.
#[derive(Debug, Clone)]
pub(super) struct Which {
    kind: Option<String>,
    from: Option<Vec<NodeId>>,
    to: Option<Vec<NodeId>>,
}

impl Which {
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let [kind, from, ">", to] = words else {
            return Err("expected KIND A > A".into());
        };
        let kind = (*kind != "*").then(|| (*kind).to_string());
        Ok(Self { kind, from: nodes(from)?, to: nodes(to)? })
    }

    pub(super) fn includes(&self, flight: &Flight, kind: &str) -> bool {
        self.from.as_ref().is_none_or(|from| from.contains(&flight.from))
            && self.to.as_ref().is_none_or(|to| to.contains(&flight.to))
            && self.kind.as_ref().is_none_or(|named| named == kind)
    }
}

/// Picks messages by what they are and their kind.
pub(super) type Picks = Box<dyn Fn(&Flight, &str) -> bool>;

/// The fates of messages, in the order in which the script named them; the first that fits counts.
#[derive(Default)]
pub(super) struct Fates {
    list: Vec<(Which, Fate, bool)>,
    /// While there is one, what it does not pick is lost, unless its fate is said.
    favoured: Option<Picks>,
    watched: Vec<(Which, Rc<Cell<bool>>)>,
    sent: BTreeMap<&'static str, u64>,
}

impl Fates {
    pub(super) fn add(&mut self, which: Which, fate: Fate, once: bool) {
        self.list.push((which, fate, once));
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn favour(&mut self, picks: Option<Picks>) {
        self.favoured = picks;
    }

    /// A flag that is set when such a message is sent from now on.
    pub(super) fn watch(&mut self, which: Which) -> Rc<Cell<bool>> {
        let seen = Rc::new(Cell::new(false));
        self.watched.push((which, seen.clone()));
        seen
    }

    pub(super) fn watch_nothing(&mut self) {
        self.watched.clear();
    }

    /// How many messages of this kind have been sent.
    pub(super) fn sent(&self, kind: &str) -> u64 {
        self.sent.get(kind).copied().unwrap_or(0)
    }

    /// Counts a message that is sent, and decides its fate.
    pub(super) fn fate(&mut self, flight: &Flight, kind: &'static str) -> Fate {
        *self.sent.entry(kind).or_default() += 1;
        let watched = self.watched.iter().filter(|(which, _)| which.includes(flight, kind));
        watched.for_each(|(_, seen)| seen.set(true));
        if let Some(at) = self.list.iter().position(|(which, ..)| which.includes(flight, kind)) {
            let (_, fate, once) = self.list[at];
            if once {
                self.list.remove(at);
            }
            return fate;
        }
        match &self.favoured {
            Some(picks) if !picks(flight, kind) => Fate::Drop,
            _ => Fate::Pass,
        }
    }
}

impl fmt::Debug for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fates({:?})", self.list)
    }
}
