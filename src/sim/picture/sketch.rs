//! What is kept of a run for its picture.
//!
//! Without a first time the sketch keeps the end of the run: when it is full the oldest moment goes,
//! and only the boxes that it opened or closed are remembered. With a first time it keeps the
//! beginning of the window, and counts what has no more room.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use crate::env::Time;
use crate::id::NodeId;
use crate::sim::net::{Flight, Passage};
use crate::sim::picture::model::{self, Picture};

/// Moments that a picture shows unless more is asked for. A screen has some forty rows.
pub const MOMENTS_MAX: usize = 240;

/// The colour of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It stands in the background.
    Quiet,
    /// It takes part.
    Plain,
    /// It wants to lead.
    Seeking,
    /// It leads.
    Leading,
}

/// What an event does to the picture of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A scope opens, so many scopes deep; what was open there or deeper is closed first.
    Open {
        /// How deep: a node's life is 0.
        depth: usize,
        /// Its name, in a few letters.
        name: String,
        /// Its colour.
        tone: Tone,
        /// Why it opens; may be empty.
        why: String,
    },
    /// A scope closes, with everything inside it.
    Close {
        /// How deep.
        depth: usize,
        /// Why.
        why: String,
    },
    /// Something is worth a word. Marks of one node that do the same at once become one.
    Mark {
        /// What it does.
        does: &'static str,
        /// What with; may be empty.
        what: String,
    },
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was left in order.
    Left,
    /// It was torn away: its futures were dropped where they waited.
    Torn,
}

/// Writes the name of a frame, short enough to stand at an arrow.
pub type Name = fn(&Flight) -> String;

/// Writes all that a frame says.
pub type Tell = fn(&mut String, &Flight) -> fmt::Result;

/// How an engine calls its frames.
#[derive(Debug, Clone, Copy)]
pub struct Speech {
    /// The short name.
    pub name: Name,
    /// The whole.
    pub tell: Tell,
}

/// One thing that happened, as the picture sees it.
#[derive(Clone)]
pub(super) enum Stroke {
    Step(NodeId, Step),
    Frame(Passage, Flight, Speech),
    Note(String),
    Alarm(String),
    End(NodeId, Ending),
}

/// A stroke and its time.
#[derive(Clone)]
pub(super) struct Moment {
    pub at: Time,
    pub stroke: Stroke,
}

/// A scope that was open when the picture begins.
#[derive(Debug, Clone)]
pub(super) struct Before {
    pub depth: usize,
    pub name: String,
    pub tone: Tone,
}

/// What part of a run is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From here on; if it is not said, as much as there is room for before the end.
    pub from: Option<Time>,
    /// Up to here; if it is not said, up to the end of the run.
    pub until: Option<Time>,
    /// At most so many moments.
    pub moments_max: usize,
}

impl Default for Window {
    /// The end of the run.
    fn default() -> Self {
        Self { from: None, until: None, moments_max: MOMENTS_MAX }
    }
}

/// What is kept; [`model`] makes the picture of it.
pub(super) struct Kept {
    pub before: BTreeMap<NodeId, Vec<Before>>,
    pub moments: VecDeque<Moment>,
    /// The time of the first moment that is drawn, if earlier ones are not.
    pub cut_before: bool,
    /// How many moments of the window had no more room.
    pub cut_after: usize,
    window: Window,
    closed: bool,
}

/// Watches a run. Clones are handles on one sketch.
#[derive(Clone)]
pub struct Sketch(Rc<RefCell<Kept>>);

impl Sketch {
    /// An empty sketch of a part of a run.
    #[must_use]
    pub fn new(window: Window) -> Self {
        let (before, moments) = (BTreeMap::new(), VecDeque::new());
        let (cut_before, cut_after, closed) = (false, 0, false);
        Self(Rc::new(RefCell::new(Kept { before, moments, cut_before, cut_after, window, closed })))
    }

    /// Takes it that the picture begins now: what was drawn until now is only remembered.
    pub fn begin(&self) {
        let mut kept = self.0.borrow_mut();
        while let Some(moment) = kept.moments.pop_front() {
            kept.remember(moment);
        }
        (kept.cut_before, kept.cut_after, kept.closed) = (false, 0, false);
    }

    /// Takes it that the picture ends now: what happens later is not drawn.
    pub fn end(&self) {
        self.0.borrow_mut().closed = true;
    }

    /// A node did something.
    pub fn step(&self, at: Time, node: NodeId, step: Step) {
        self.0.borrow_mut().keep(at, Stroke::Step(node, step));
    }

    /// A frame passed.
    pub fn frame(&self, at: Time, passage: Passage, flight: &Flight, speech: Speech) {
        self.0.borrow_mut().keep(at, Stroke::Frame(passage, flight.clone(), speech));
    }

    /// Something was done to the world.
    pub fn note(&self, at: Time, text: &str) {
        self.0.borrow_mut().keep(at, Stroke::Note(text.into()));
    }

    /// What must never happen has happened.
    pub fn alarm(&self, at: Time, text: &str) {
        self.0.borrow_mut().keep(at, Stroke::Alarm(text.into()));
    }

    /// A life has ended, and with it every scope of the node.
    pub fn life_ended(&self, at: Time, node: NodeId, ending: Ending) {
        self.0.borrow_mut().keep(at, Stroke::End(node, ending));
    }

    /// The picture of what is kept.
    #[must_use]
    pub fn picture(&self, title: &str) -> Picture {
        model::draw(title, &self.0.borrow())
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch({} moments)", self.0.borrow().moments.len())
    }
}

impl Kept {
    fn keep(&mut self, at: Time, stroke: Stroke) {
        let moment = Moment { at, stroke };
        if self.closed || self.window.until.is_some_and(|until| at > until) {
            return;
        }
        if self.window.from.is_some_and(|from| at < from) {
            return self.remember(moment);
        }
        if self.merge(&moment) {
            return;
        }
        if self.moments.len() < self.window.moments_max {
            return self.moments.push_back(moment);
        }
        if self.window.from.is_some() {
            self.cut_after += 1;
            return;
        }
        self.moments.push_back(moment);
        self.cut_before = true;
        if let Some(oldest) = self.moments.pop_front() {
            self.remember(oldest);
        }
    }

    /// Adds a mark to the one before it, if that did the same.
    fn merge(&mut self, moment: &Moment) -> bool {
        let Stroke::Step(node, Step::Mark { does, what }) = &moment.stroke else {
            return false;
        };
        match self.moments.back_mut() {
            Some(Moment {
                at,
                stroke: Stroke::Step(last, Step::Mark { does: did, what: with }),
            }) if *at == moment.at && last == node && did == does && !what.is_empty() => {
                let first = with.split(" … ").next().unwrap_or("");
                *with = format!("{first} … {what}");
                true
            }
            _ => false,
        }
    }

    /// What a moment that is not drawn leaves behind: open scopes.
    fn remember(&mut self, moment: Moment) {
        match moment.stroke {
            Stroke::Step(node, Step::Open { depth, name, tone, .. }) => {
                let open = self.before.entry(node).or_default();
                open.retain(|scope| scope.depth < depth);
                open.push(Before { depth, name, tone });
            }
            Stroke::Step(node, Step::Close { depth, .. }) => {
                self.before.entry(node).or_default().retain(|scope| scope.depth < depth);
            }
            Stroke::Step(node, Step::Mark { .. }) => {
                self.before.entry(node).or_default();
            }
            Stroke::End(node, _) => self.before.entry(node).or_default().clear(),
            Stroke::Frame(_, flight, _) => {
                self.before.entry(flight.from).or_default();
                self.before.entry(flight.to).or_default();
            }
            Stroke::Note(_) | Stroke::Alarm(_) => {}
        }
    }
}
