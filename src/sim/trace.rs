//! One notation for everything that happens in a simulated world: golden files, storms, examples.
//!
//! A line is a virtual time, who, and what in a few words:
//!
//! ```text
//! 0.412s n2 follower -> candidate t3: no leader heard
//! 0.413s n2 > n1 t3 RequestVote last=i4@t2
//! 0.502s -- cut n1 from n2, n3
//! ```
//!
//! Beside the lines runs a hash over everything, also over what is not kept: two runs of one seed
//! must end with the same hash, or something in them was not decided by the seed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};

use crate::env::{Time, output};
use crate::helix;
use crate::id::NodeId;
use crate::raft::{Event, Role};
use crate::sim::helix::words as helix_words;
use crate::sim::net::{Flight, Passage};
use crate::sim::picture::sketch::Speech;
use crate::sim::picture::{Ending, Sketch};
use crate::sim::words;

/// Lines kept for the report of a failure, unless a caller asks for all.
pub const TAIL_LINES: usize = 80;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A raft node told an event.
    Event(NodeId, Event),
    /// A helix node told an event.
    Helix(NodeId, helix::Event),
    /// Something was done to the world: a fault, a command of a script.
    Note(String),
    /// A frame passed, was lost, or is held.
    Frame(Passage, Flight),
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The virtual time.
    pub at: Time,
    /// What happened.
    pub what: What,
}

/// How much is written down; the hash covers everything at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Roles, starts, decisions, and what was done to the world.
    Story,
    /// Every event of every node.
    Events,
    /// Also every frame that was delivered, lost or held.
    Frames,
}

/// Writes what a frame says.
pub type Describe = fn(&mut String, &Flight) -> fmt::Result;

/// The record of one world.
pub struct Trace {
    hash: Cell<u64>,
    lines: RefCell<VecDeque<Line>>,
    lines_max: usize,
    detail: Detail,
    print: bool,
    notation: RefCell<Notation>,
    sketch: RefCell<Option<Sketch>>,
    speech: Speech,
}

impl Trace {
    /// An empty record that keeps the last `lines_max` lines of the given detail. With `print`,
    /// each line is also written to standard output as it happens.
    #[must_use]
    pub fn new(detail: Detail, lines_max: usize, print: bool) -> Self {
        Self {
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
            lines: RefCell::default(),
            lines_max,
            detail,
            print,
            notation: RefCell::new(Notation { left: BTreeMap::new(), describe: words::describe }),
            sketch: RefCell::default(),
            speech: words::SPEECH,
        }
    }

    /// The same, where frames are helix's.
    #[must_use]
    pub fn of_helix(mut self) -> Self {
        self.notation.borrow_mut().describe = helix_words::describe;
        self.speech = helix_words::SPEECH;
        self
    }

    /// Lets a sketch watch from now on. It sees every event and frame, whatever the detail, and
    /// changes neither lines nor hash.
    pub fn watch(&self, sketch: &Sketch) {
        self.sketch.replace(Some(sketch.clone()));
    }

    fn sketch(&self, draw: impl FnOnce(&Sketch)) {
        if let Some(sketch) = &*self.sketch.borrow() {
            draw(sketch);
        }
    }

    /// Lets the picture begin here, if there is a sketch.
    pub fn begin_picture(&self) {
        self.sketch(Sketch::begin);
    }

    /// Lets the picture end here, if there is a sketch.
    pub fn end_picture(&self) {
        self.sketch(Sketch::end);
    }

    /// Closes every scope of a node in the picture; what ended its life is a note before this.
    pub fn life_ended(&self, at: Time, node: NodeId, ending: Ending) {
        self.sketch(|sketch| sketch.life_ended(at, node, ending));
    }

    /// Records an event of a raft node.
    pub fn event(&self, at: Time, node: NodeId, event: Event) {
        self.mix(at.0);
        self.mix(node.0);
        self.mix_event(event);
        self.sketch(|sketch| {
            if let Some(step) = words::step(&event) {
                sketch.step(at, node, step);
            }
        });
        if self.detail > Detail::Story || is_story(event) {
            self.push(at, What::Event(node, event));
        }
    }

    /// Records an event of a helix node.
    pub fn helix(&self, at: Time, node: NodeId, event: helix::Event) {
        self.mix(at.0);
        self.mix(node.0);
        helix_words::numbers(&event).into_iter().for_each(|word| self.mix(word));
        self.sketch(|sketch| {
            if let Some(step) = helix_words::step(node, &event) {
                sketch.step(at, node, step);
            }
        });
        if self.detail > Detail::Story || helix_words::is_story(&event) {
            self.push(at, What::Helix(node, event));
        }
    }

    /// Records something that was done to the world.
    pub fn note(&self, at: Time, text: impl Into<String>) {
        let text = text.into();
        self.mix(at.0);
        self.mix(u64::from(crc32c::crc32c(text.as_bytes())));
        self.sketch(|sketch| sketch.note(at, &text));
        self.push(at, What::Note(text));
    }

    /// Records the passage of a frame.
    pub fn frame(&self, at: Time, passage: Passage, flight: &Flight) {
        self.mix(at.0 << 2 | passage as u64);
        self.mix(flight.from.0 << 32 | flight.to.0);
        self.mix(u64::from(crc32c::crc32c(&flight.frame)));
        self.sketch(|sketch| sketch.frame(at, passage, flight, self.speech));
        if self.detail == Detail::Frames && passage != Passage::Sent {
            self.push(at, What::Frame(passage, flight.clone()));
        }
    }

    /// Lets a number that belongs to the run, but to no line, count in the hash.
    pub fn mix(&self, value: u64) {
        // FNV-1a, by words instead of bytes: stable, quick, and no secret to keep.
        let mixed = (self.hash.get() ^ value).wrapping_mul(0x0100_0000_01b3);
        self.hash.set(mixed ^ mixed >> 29);
    }

    fn mix_event(&self, event: Event) {
        let words = match event {
            Event::Started { term, vote, snapshot, durable } => {
                self.mix(durable.0);
                [1, term.0, vote.map_or(0, |n| n.0), snapshot.0]
            }
            Event::Entered { role, term, leader } => {
                [2, role as u64, term.0, leader.map_or(0, |n| n.0)]
            }
            Event::Left { role, term, why } => {
                [3, role as u64, term.0, u64::from(crc32c::crc32c(why.as_bytes()))]
            }
            Event::HardStateSet { term, vote } => [4, term.0, vote.map_or(0, |n| n.0), 0],
            Event::Appended { index, term, digest } => [5, index.0, term.0, u64::from(digest)],
            Event::Truncated { from } => [6, from.0, 0, 0],
            Event::Synced { index } => [7, index.0, 0, 0],
            Event::Committed { index } => [8, index.0, 0, 0],
            Event::Applied { index } => [9, index.0, 0, 0],
            Event::Compacted { index, term } => [10, index.0, term.0, 0],
            Event::Installed { index, term } => [11, index.0, term.0, 0],
        };
        words.into_iter().for_each(|word| self.mix(word));
    }

    fn push(&self, at: Time, what: What) {
        let line = Line { at, what };
        if self.print
            && let Some(text) = self.notation.borrow_mut().render(&line)
        {
            output::line(text);
        }
        let mut lines = self.lines.borrow_mut();
        if lines.len() >= self.lines_max {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.get()
    }

    /// The kept lines in the notation, oldest first, and forgets them.
    #[must_use]
    pub fn take_text(&self) -> Vec<String> {
        let lines = self.lines.take();
        let mut notation = self.notation.borrow_mut();
        lines.iter().filter_map(|line| notation.render(line)).collect()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({:016x})", self.hash())
    }
}

fn is_story(event: Event) -> bool {
    use Event::{Committed, Compacted, Entered, Installed, Left, Started, Truncated};
    matches!(
        event,
        Started { .. }
            | Entered { .. }
            | Left { .. }
            | Truncated { .. }
            | Committed { .. }
            | Compacted { .. }
            | Installed { .. }
    )
}

/// Renders lines; leaving one role and entering the next become one line.
#[derive(Debug)]
struct Notation {
    left: BTreeMap<NodeId, (Role, &'static str)>,
    describe: Describe,
}

impl Notation {
    fn render(&mut self, line: &Line) -> Option<String> {
        let mut text = String::with_capacity(64);
        let (seconds, millis) = (line.at.0 / 1_000_000_000, line.at.0 / 1_000_000 % 1_000);
        write!(text, "{seconds}.{millis:03}s ").ok()?;
        match &line.what {
            What::Note(note) => write!(text, "-- {note}"),
            What::Event(node, Event::Left { role, why, .. }) => {
                self.left.insert(*node, (*role, why));
                return None;
            }
            What::Event(node, event) => {
                write!(text, "{node:?} ").ok()?;
                self.event(&mut text, *node, *event)
            }
            What::Helix(node, event) => {
                write!(text, "{node:?} ").ok()?;
                helix_words::tell(&mut text, event)
            }
            What::Frame(passage, flight) => {
                frame(&mut text, *passage, flight).ok()?;
                (self.describe)(&mut text, flight)
            }
        }
        .ok()?;
        Some(text)
    }

    fn event(&mut self, text: &mut String, node: NodeId, event: Event) -> fmt::Result {
        match event {
            Event::Started { term, vote, snapshot, durable } => {
                self.left.remove(&node);
                write!(text, "started {term:?}")?;
                if let Some(vote) = vote {
                    write!(text, " voted for {vote:?}")?;
                }
                if snapshot.0 > 0 {
                    write!(text, ", snapshot to {snapshot:?}")?;
                }
                write!(text, ", log to {durable:?}")
            }
            Event::Entered { role, term, leader } => {
                let (from, why) = match self.left.remove(&node) {
                    Some((from, why)) => (Some(from), why),
                    None => (None, ""),
                };
                if let Some(from) = from {
                    write!(text, "{} -> ", word(from))?;
                }
                write!(text, "{} {term:?}", word(role))?;
                if let Some(leader) = leader.filter(|&leader| leader != node) {
                    write!(text, " of {leader:?}")?;
                }
                if why.is_empty() { Ok(()) } else { write!(text, ": {why}") }
            }
            Event::Left { .. } => Ok(()),
            Event::HardStateSet { term, vote: None } => write!(text, "promised {term:?}"),
            Event::HardStateSet { term, vote: Some(vote) } => {
                write!(text, "promised {term:?} and its vote to {vote:?}")
            }
            Event::Appended { index, term, .. } => write!(text, "appended {index:?}@{term:?}"),
            Event::Truncated { from } => write!(text, "truncated from {from:?}"),
            Event::Synced { index } => write!(text, "synced to {index:?}"),
            Event::Committed { index } => write!(text, "committed to {index:?}"),
            Event::Applied { index } => write!(text, "applied to {index:?}"),
            Event::Compacted { index, term } => write!(text, "compacted to {index:?}@{term:?}"),
            Event::Installed { index, term } => {
                write!(text, "installed a snapshot to {index:?}@{term:?}")
            }
        }
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn frame(text: &mut String, passage: Passage, flight: &Flight) -> fmt::Result {
    let arrow = match passage {
        Passage::Sent | Passage::Delivered => ">",
        Passage::Lost => ">x",
        Passage::Held => ">|",
    };
    write!(text, "{:?} {arrow} {:?} ", flight.from, flight.to)
}

#[cfg(test)]
mod tests {
    use super::{Detail, Trace};
    use crate::env::Time;
    use crate::id::{Index, NodeId, Term};
    use crate::raft::{Event, Role};

    const N2: NodeId = NodeId(2);

    #[test]
    fn leaving_and_entering_are_one_line() {
        let trace = Trace::new(Detail::Events, 10, false);
        let at = Time(412_000_000);
        let (term, leader) = (Term(3), None);
        let left = Event::Left { role: Role::Follower, term, why: "no leader heard" };
        trace.event(at, N2, left);
        trace.event(at, N2, Event::Entered { role: Role::Candidate, term, leader });
        trace.note(at, "cut n1 from n2");
        assert_eq!(
            trace.take_text(),
            ["0.412s n2 follower -> candidate t3: no leader heard", "0.412s -- cut n1 from n2"]
        );
    }

    #[test]
    fn the_hash_covers_what_is_not_kept() {
        let hash = |index| {
            let trace = Trace::new(Detail::Story, 1, false);
            trace.event(Time(1), N2, Event::Applied { index: Index(index) });
            assert!(trace.take_text().is_empty());
            trace.hash()
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let trace = Trace::new(Detail::Events, 2, false);
        (0..5).for_each(|n| trace.note(Time(0), format!("{n}")));
        assert_eq!(trace.take_text(), ["0.000s -- 3", "0.000s -- 4"]);
    }
}
