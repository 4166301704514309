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

use crate::env::Time;
use crate::env::output;
use crate::id::NodeId;
use crate::sim::net::{Flight, Passage};
use crate::sim::picture::sketch::{Speech, Step};
use crate::sim::picture::{Ending, Sketch};

/// Lines kept for the report of a failure, unless a caller asks for all.
pub const TAIL_LINES: usize = 80;

/// An event of a node, as the trace needs it: as numbers for the hash, and as words for people.
pub trait Tell: fmt::Debug + Clone + 'static {
    /// Hands over everything that the event says, as numbers.
    fn numbers(&self, mix: &mut dyn FnMut(u64));

    /// Whether it belongs to the shortest account of what happened.
    fn is_story(&self) -> bool;

    /// Whether it is a line by itself.
    fn part(&self) -> Part {
        Part::Whole
    }

    /// Writes it, after the name of the node that told it. `first` is the first half of the line,
    /// if this is the second of one.
    ///
    /// # Errors
    /// Those of `text`.
    fn tell(&self, text: &mut String, node: NodeId, first: Option<&Self>) -> fmt::Result;

    /// Writes what a frame says that nodes with such events send.
    ///
    /// # Errors
    /// Those of `text`.
    fn tell_frame(text: &mut String, flight: &Flight) -> fmt::Result;

    /// What it does to the picture of the node that told it.
    fn step(&self, node: NodeId) -> Option<Step>;

    /// The short name of a frame, for a picture.
    fn name_frame(flight: &Flight) -> String;
}

/// Which part of a line an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A line by itself.
    Whole,
    /// The first half: it is told with the second half, the next one of the same node.
    First,
    /// The second half.
    Second,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What<E> {
    /// A node told an event.
    Event(NodeId, E),
    /// Something was done to the world: a fault, a command of a script.
    Note(String),
    /// A frame passed, was lost, or is held.
    Frame(Passage, Flight),
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<E> {
    /// The virtual time.
    pub at: Time,
    /// What happened.
    pub what: What<E>,
}

/// How much is written down; the hash covers everything at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// What each protocol counts as its story: starts, who leads, decisions. And what was done to
    /// the world.
    Story,
    /// Every event of every node.
    Events,
    /// Also every frame that was delivered, lost or held.
    Frames,
}

/// The record of one world, whose nodes tell events `E`.
pub struct Trace<E> {
    hash: Cell<u64>,
    lines: RefCell<VecDeque<Line<E>>>,
    lines_max: usize,
    detail: Cell<Detail>,
    print: bool,
    notation: RefCell<Notation<E>>,
    sketch: RefCell<Option<Sketch>>,
}

impl<E: Tell> Trace<E> {
    /// An empty record that keeps the last `lines_max` lines of the given detail. With `print`,
    /// each line is also written to standard output as it happens.
    #[must_use]
    pub fn new(detail: Detail, lines_max: usize, print: bool) -> Self {
        Self {
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
            lines: RefCell::default(),
            lines_max,
            detail: Cell::new(detail),
            print,
            notation: RefCell::new(Notation { first: BTreeMap::new() }),
            sketch: RefCell::default(),
        }
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

    /// Closes every scope of a node in the picture; a note before this says why its life ended.
    pub fn life_ended(&self, at: Time, node: NodeId, ending: Ending) {
        self.sketch(|sketch| sketch.life_ended(at, node, ending));
    }

    /// Changes how much is written down from now on.
    pub fn set_detail(&self, detail: Detail) {
        self.detail.set(detail);
    }

    /// Records an event of a node.
    pub fn event(&self, at: Time, node: NodeId, event: E) {
        self.mix(at.0);
        self.mix(node.0);
        event.numbers(&mut |number| self.mix(number));
        self.sketch(|sketch| {
            event.step(node).into_iter().for_each(|step| sketch.step(at, node, step));
        });
        if self.detail.get() > Detail::Story || event.is_story() {
            self.push(at, What::Event(node, event));
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
        let speech = Speech { name: E::name_frame, tell: E::tell_frame };
        self.sketch(|sketch| sketch.frame(at, passage, flight, speech));
        if self.detail.get() == Detail::Frames && passage != Passage::Sent {
            self.push(at, What::Frame(passage, flight.clone()));
        }
    }

    /// Lets a number that belongs to the run, but to no line, count in the hash.
    pub fn mix(&self, value: u64) {
        // FNV-1a, by words instead of bytes: stable, quick, and no secret to keep.
        let mixed = (self.hash.get() ^ value).wrapping_mul(0x0100_0000_01b3);
        self.hash.set(mixed ^ mixed >> 29);
    }

    fn push(&self, at: Time, what: What<E>) {
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

impl<E: Tell> fmt::Debug for Trace<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({:016x})", self.hash())
    }
}

/// Renders lines; two halves become one.
#[derive(Debug)]
struct Notation<E> {
    first: BTreeMap<NodeId, E>,
}

impl<E: Tell> Notation<E> {
    fn render(&mut self, line: &Line<E>) -> Option<String> {
        let mut text = String::with_capacity(64);
        let (seconds, millis) = (line.at.0 / 1_000_000_000, line.at.0 / 1_000_000 % 1_000);
        write!(text, "{seconds}.{millis:03}s ").ok()?;
        match &line.what {
            What::Note(note) => write!(text, "-- {note}"),
            What::Event(node, event) => {
                let first = match event.part() {
                    Part::Whole => None,
                    Part::First => {
                        self.first.insert(*node, event.clone());
                        return None;
                    }
                    Part::Second => self.first.remove(node),
                };
                write!(text, "{node:?} ").ok()?;
                event.tell(&mut text, *node, first.as_ref())
            }
            What::Frame(passage, flight) => {
                arrow(&mut text, *passage, flight).ok()?;
                E::tell_frame(&mut text, flight)
            }
        }
        .ok()?;
        Some(text)
    }
}

fn arrow(text: &mut String, passage: Passage, flight: &Flight) -> fmt::Result {
    let arrow = match passage {
        Passage::Sent | Passage::Delivered => ">",
        Passage::Lost => ">x",
        Passage::Held => ">|",
    };
    write!(text, "{:?} {arrow} {:?} ", flight.from, flight.to)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Detail, Part, Tell, Trace};
    use crate::env::Time;
    use crate::id::NodeId;
    use crate::sim::net::Flight;
    use crate::sim::picture::sketch::Step;
    use std::fmt::{self, Write};

    const N2: NodeId = NodeId(2);

    /// A node that counts, and says so in halves of a line.
    #[derive(Debug, Clone)]
    pub(crate) enum Count {
        From(u64),
        To(u64),
    }

    impl Tell for Count {
        fn numbers(&self, mix: &mut dyn FnMut(u64)) {
            match self {
                Self::From(number) | Self::To(number) => mix(*number),
            }
        }

        fn is_story(&self) -> bool {
            false
        }

        fn part(&self) -> Part {
            match self {
                Self::From(_) => Part::First,
                Self::To(_) => Part::Second,
            }
        }

        fn tell(&self, text: &mut String, _: NodeId, first: Option<&Self>) -> fmt::Result {
            write!(text, "{first:?}, {self:?}")
        }

        fn tell_frame(text: &mut String, flight: &Flight) -> fmt::Result {
            write!(text, "{} bytes", flight.frame.len())
        }

        fn step(&self, _: NodeId) -> Option<Step> {
            None
        }

        fn name_frame(_: &Flight) -> String {
            String::new()
        }
    }

    #[test]
    fn two_halves_are_one_line() {
        let trace = Trace::new(Detail::Events, 10, false);
        let at = Time(412_000_000);
        trace.event(at, N2, Count::From(3));
        trace.note(at, "cut n1 from n2");
        trace.event(at, N2, Count::To(4));
        let told = ["0.412s -- cut n1 from n2", "0.412s n2 Some(From(3)), To(4)"];
        assert_eq!(trace.take_text(), told);
    }

    #[test]
    fn the_hash_covers_what_is_not_kept() {
        let hash = |number| {
            let trace = Trace::new(Detail::Story, 1, false);
            trace.event(Time(1), N2, Count::To(number));
            assert!(trace.take_text().is_empty());
            trace.hash()
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let trace = Trace::<Count>::new(Detail::Events, 2, false);
        (0..5).for_each(|n| trace.note(Time(0), format!("{n}")));
        assert_eq!(trace.take_text(), ["0.000s -- 3", "0.000s -- 4"]);
    }
}
