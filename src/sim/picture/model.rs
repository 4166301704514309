//! Rows, boxes and arrows: what a picture is before anybody decides how it looks.
//!
//! An arrival is matched with the sending of the same bytes on the same link that has waited
//! longest. Equal frames can be mistaken for each other, which nobody on the wire could tell either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::env::Time;
use crate::id::NodeId;
use crate::sim::net::{Flight, Passage};
use crate::sim::picture::sketch::{Ending, Kept, Moment, Speech, Step, Stroke, Tone};

/// Silence that is written down.
const SILENCE: Duration = Duration::from_millis(20);

/// Frames still on their way that are named at the end.
const AWAY_MAX: usize = 12;

/// What happened, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What it is about.
    pub title: String,
    /// The nodes, from left to right.
    pub lanes: Vec<NodeId>,
    /// Top to bottom.
    pub rows: Vec<Row>,
    /// The scopes, each before those inside it.
    pub scopes: Vec<Scope>,
    /// The messages.
    pub arrows: Vec<Arrow>,
    /// What stands beside a lane.
    pub words: Vec<Word>,
    /// What is left out, in a sentence each: before the first row, after the last one.
    pub cuts: [Option<String>; 2],
}

/// One line of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub at: Time,
    /// What it is there for.
    pub what: Purpose,
}

/// What a row is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Scopes open and close, and marks are made, in these lanes.
    Steps,
    /// Frames leave this lane.
    Sends(usize),
    /// A frame arrives.
    Arrives,
    /// A frame is lost, held, or on its way when the picture ends.
    Stops,
    /// Something was done to the world.
    Note(String),
    /// What must never happen.
    Alarm(String),
    /// Nothing happened for so long.
    Silence(Duration),
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The lane.
    pub lane: usize,
    /// How many boxes are around it.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// The row in which it opens; none if it was open before.
    pub opened: Option<usize>,
    /// The row in which it closes and how; none if it is open still.
    pub closed: Option<(usize, Ending)>,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// It arrived once more.
    Again,
    /// It was lost.
    Lost,
    /// It is on its way, or held.
    Away,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    /// The sender's lane.
    pub from: usize,
    /// The receiver's lane.
    pub to: usize,
    /// The row in which it left; none if that is not drawn.
    pub sent: Option<usize>,
    /// The row in which somebody held it.
    pub held: Option<usize>,
    /// The row in which its way ended.
    pub ended: usize,
    /// How.
    pub fate: Fate,
    /// Its short name.
    pub name: String,
    /// All that it says.
    pub says: String,
}

/// A few words beside a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The row.
    pub row: usize,
    /// The lane.
    pub lane: usize,
    /// The words.
    pub text: String,
    /// Whether they give the reason for which a scope opens or closes.
    pub reason: bool,
}

type Key = (NodeId, NodeId, Bytes);

/// Draws what was kept.
pub(super) fn draw(title: &str, kept: &Kept) -> Picture {
    let mut hand = Hand::new(title, kept);
    for moment in &kept.moments {
        hand.moment(moment);
    }
    hand.leave(kept)
}

/// A picture being drawn.
struct Hand {
    picture: Picture,
    /// By lane: its open scopes, the outermost first.
    open: Vec<Vec<usize>>,
    /// By row: the lanes and the gaps between lanes that are in use.
    used: Vec<(BTreeSet<usize>, BTreeSet<usize>)>,
    /// The arrows that have not ended, by what they carry.
    away: BTreeMap<Key, VecDeque<usize>>,
    /// The last arrow that arrived, by what it carried.
    arrived: BTreeMap<Key, usize>,
    /// The frame that left just now.
    last_sent: Option<Key>,
}

impl Hand {
    fn new(title: &str, kept: &Kept) -> Self {
        let mut lanes: BTreeSet<_> = kept.before.keys().copied().collect();
        for moment in &kept.moments {
            match &moment.stroke {
                Stroke::Step(node, _) | Stroke::End(node, _) => lanes.extend([*node]),
                Stroke::Frame(_, flight, _) => lanes.extend([flight.from, flight.to]),
                Stroke::Note(_) | Stroke::Alarm(_) => {}
            }
        }
        let lanes: Vec<_> = lanes.into_iter().collect();
        let mut hand = Self {
            open: vec![vec![]; lanes.len()],
            picture: Picture {
                title: title.into(),
                lanes,
                rows: vec![],
                scopes: vec![],
                arrows: vec![],
                words: vec![],
                cuts: [None, None],
            },
            used: vec![],
            away: BTreeMap::new(),
            arrived: BTreeMap::new(),
            last_sent: None,
        };
        for (node, scopes) in &kept.before {
            for scope in scopes {
                let (name, tone) = (scope.name.clone(), scope.tone);
                hand.open(hand.lane(*node), scope.depth, name, tone, None);
            }
        }
        hand
    }

    fn lane(&self, node: NodeId) -> usize {
        self.picture.lanes.binary_search(&node).unwrap_or(0)
    }

    fn moment(&mut self, Moment { at, stroke }: &Moment) {
        if !matches!(stroke, Stroke::End(..)) {
            self.pass(*at);
        }
        match stroke {
            Stroke::Note(text) => {
                self.row(*at, Purpose::Note(text.clone()));
            }
            Stroke::Alarm(text) => {
                self.row(*at, Purpose::Alarm(text.clone()));
            }
            Stroke::Step(node, step) => self.step(*at, self.lane(*node), step),
            Stroke::Frame(passage, flight, speech) => self.frame(*at, *passage, flight, *speech),
            Stroke::End(node, ending) => {
                let row = self.last_row(*at);
                self.close(self.lane(*node), 0, row, *ending);
            }
        }
    }

    /// Writes down silence.
    fn pass(&mut self, at: Time) {
        let Some(last) = self.picture.rows.last() else {
            return;
        };
        let span = Duration::from_nanos(at.0.saturating_sub(last.at.0));
        if span >= SILENCE {
            self.row(at, Purpose::Silence(span));
        }
    }

    fn row(&mut self, at: Time, what: Purpose) -> usize {
        self.picture.rows.push(Row { at, what });
        self.used.push(Default::default());
        self.picture.rows.len() - 1
    }

    fn last_row(&mut self, at: Time) -> usize {
        match self.picture.rows.len() {
            0 => self.row(at, Purpose::Steps),
            count => count - 1,
        }
    }

    /// The row for a step in this lane: the first one of this instant that has room for it and
    /// stands below everything of the lane.
    fn step_row(&mut self, at: Time, lane: usize, speaks: bool) -> usize {
        let gap = lane.min(self.picture.lanes.len().saturating_sub(2));
        let mut found = None;
        for (nth, row) in self.picture.rows.iter().enumerate().rev() {
            let (lanes, gaps) = &self.used[nth];
            if row.at != at || row.what != Purpose::Steps || lanes.contains(&lane) {
                break;
            }
            if !speaks || !gaps.contains(&gap) {
                found = Some(nth);
            }
        }
        let row = found.unwrap_or_else(|| self.row(at, Purpose::Steps));
        self.used[row].0.insert(lane);
        if speaks {
            self.used[row].1.insert(gap);
        }
        row
    }

    fn step(&mut self, at: Time, lane: usize, step: &Step) {
        let (text, reason) = match step {
            Step::Open { why, .. } | Step::Close { why, .. } => (why.clone(), true),
            Step::Mark { does, what } => (format!("{does} {what}").trim_end().into(), false),
        };
        let row = self.step_row(at, lane, !text.is_empty());
        match step {
            Step::Open { depth, name, tone, .. } => {
                self.close(lane, *depth, row, Ending::Left);
                self.open(lane, *depth, name.clone(), *tone, Some(row));
            }
            Step::Close { depth, .. } => self.close(lane, *depth, row, Ending::Left),
            Step::Mark { .. } => {}
        }
        if !text.is_empty() {
            self.picture.words.push(Word { row, lane, text, reason });
        }
    }

    fn open(&mut self, lane: usize, depth: usize, name: String, tone: Tone, opened: Option<usize>) {
        self.open[lane].push(self.picture.scopes.len());
        self.picture.scopes.push(Scope { lane, depth, name, tone, opened, closed: None });
    }

    /// Closes every scope of the lane that is so deep or deeper.
    fn close(&mut self, lane: usize, depth: usize, row: usize, ending: Ending) {
        let scopes = &mut self.picture.scopes;
        self.open[lane].retain(|&nth| {
            let stays = scopes[nth].depth < depth;
            if !stays {
                scopes[nth].closed = Some((row, ending));
            }
            stays
        });
    }

    fn frame(&mut self, at: Time, passage: Passage, flight: &Flight, speech: Speech) {
        let key = (flight.from, flight.to, flight.frame.clone());
        let just_sent = self.last_sent.take().is_some_and(|last| last == key);
        match passage {
            Passage::Sent => {
                let row = self.send_row(at, self.lane(flight.from));
                let arrow = self.arrow(flight, speech, Some(row), row);
                self.away.entry(key.clone()).or_default().push_back(arrow);
                self.last_sent = Some(key);
            }
            Passage::Held => {
                let row = self.row(at, Purpose::Stops);
                if let Some(&arrow) = self.away.get(&key).and_then(VecDeque::back) {
                    self.picture.arrows[arrow].held = Some(row);
                }
            }
            Passage::Lost | Passage::Delivered => {
                let lost = passage == Passage::Lost;
                let row = self.row(at, if lost { Purpose::Stops } else { Purpose::Arrives });
                let waiting = self.away.get_mut(&key);
                let sent = waiting.and_then(|waiting| {
                    if just_sent { waiting.pop_back() } else { waiting.pop_front() }
                });
                let again = sent.is_none() && self.arrived.contains_key(&key);
                let arrow = sent.unwrap_or_else(|| {
                    let first = self.arrived.get(&key).copied();
                    let sent = first.and_then(|first| self.picture.arrows[first].sent);
                    self.arrow(flight, speech, sent, row)
                });
                let fate = match passage {
                    Passage::Lost => Fate::Lost,
                    _ if again => Fate::Again,
                    _ => Fate::Arrived,
                };
                if fate == Fate::Arrived {
                    self.arrived.insert(key, arrow);
                }
                let arrow = &mut self.picture.arrows[arrow];
                (arrow.ended, arrow.fate) = (row, fate);
            }
        }
    }

    /// What one node sends at once leaves in one row.
    fn send_row(&mut self, at: Time, lane: usize) -> usize {
        let sends = Purpose::Sends(lane);
        let rows = self.picture.rows.iter().enumerate().rev();
        // What was lost or held at once stands between.
        let mut rows = rows.take_while(|(_, row)| {
            row.at == at && (row.what == sends || row.what == Purpose::Stops)
        });
        match rows.find(|(_, row)| row.what == sends) {
            Some((nth, _)) => nth,
            None => self.row(at, sends),
        }
    }

    fn arrow(&mut self, flight: &Flight, speech: Speech, sent: Option<usize>, row: usize) -> usize {
        let mut says = String::new();
        let told = (speech.tell)(&mut says, flight);
        debug_assert!(told.is_ok(), "a text takes what is written to it");
        self.picture.arrows.push(Arrow {
            from: self.lane(flight.from),
            to: self.lane(flight.to),
            sent,
            held: None,
            ended: row,
            fate: Fate::Away,
            name: (speech.name)(flight),
            says,
        });
        self.picture.arrows.len() - 1
    }

    /// Names what is on its way still, and says what is left out.
    fn leave(mut self, kept: &Kept) -> Picture {
        let at = self.picture.rows.last().map_or(Time::ZERO, |row| row.at);
        let away = |arrow: &&mut Arrow| arrow.fate == Fate::Away && arrow.held.is_none();
        let (rows, mut left) = (self.picture.rows.len(), 0);
        for arrow in self.picture.arrows.iter_mut().filter(away) {
            (arrow.ended, left) = (rows + left, left + 1);
        }
        self.picture.arrows.retain(|arrow| arrow.ended < rows + AWAY_MAX);
        for _ in 0..left.min(AWAY_MAX) {
            self.row(at, Purpose::Stops);
        }
        let mut after = vec![];
        if left > AWAY_MAX {
            after.push(format!("{} more frames are on their way.", left - AWAY_MAX));
        }
        if kept.cut_after > 0 {
            let moments = kept.moments.len();
            let count = kept.cut_after;
            after.push(format!("Cut after {moments} moments: {count} more are in the window."));
        }
        let first = self.picture.rows.first().map_or(0.0, |row| row.at.0 as f64 / 1e9);
        let moments = kept.moments.len();
        let before = format!(
            "Cut to the last {moments} moments: what happened before {first:.3}s is not drawn."
        );
        let after = (!after.is_empty()).then(|| after.join(" "));
        self.picture.cuts = [kept.cut_before.then_some(before), after];
        self.picture
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{Arrow, Fate, Picture, Purpose};
    use crate::env::Time;
    use crate::id::NodeId;
    use crate::sim::net::{Flight, Passage};
    use crate::sim::picture::sketch::Speech;
    use crate::sim::picture::{Ending, Sketch, Step, Tone, Window};

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    fn open(sketch: &Sketch, at: u64, node: NodeId, depth: usize, name: &str) {
        let (name, tone, why) = (name.into(), Tone::Plain, String::new());
        sketch.step(Time(at), node, Step::Open { depth, name, tone, why });
    }

    fn mark(sketch: &Sketch, at: u64, does: &'static str, what: &str) {
        sketch.step(Time(at), ONE, Step::Mark { does, what: what.into() });
    }

    fn name(flight: &Flight) -> String {
        String::from_utf8_lossy(&flight.frame).into()
    }

    fn pass(sketch: &Sketch, at: u64, passage: Passage, text: &'static str) {
        let frame = Bytes::from_static(text.as_bytes());
        let speech = Speech { name, tell: |_, _| Ok(()) };
        sketch.frame(Time(at), passage, &Flight { from: ONE, to: TWO, frame }, speech);
    }

    type Told<'a> = (&'a str, Option<usize>, Option<(usize, Ending)>);

    fn scopes(picture: &Picture) -> Vec<Told<'_>> {
        let scopes = picture.scopes.iter();
        scopes.map(|scope| (scope.name.as_str(), scope.opened, scope.closed)).collect()
    }

    fn fates(arrows: &[Arrow]) -> Vec<(&str, Option<usize>, usize, Fate)> {
        arrows.iter().map(|a| (a.name.as_str(), a.sent, a.ended, a.fate)).collect()
    }

    #[test]
    fn a_scope_closes_with_everything_inside_it() {
        let sketch = Sketch::new(Window::default());
        open(&sketch, 1, ONE, 0, "node");
        open(&sketch, 2, ONE, 1, "term");
        open(&sketch, 3, ONE, 2, "view");
        sketch.step(Time(4), ONE, Step::Close { depth: 1, why: "decided".into() });
        open(&sketch, 5, ONE, 1, "next term");
        open(&sketch, 6, ONE, 1, "and the next");
        let (left, torn) = (Ending::Left, Ending::Torn);
        assert_eq!(
            scopes(&sketch.picture("")),
            [
                ("node", Some(0), None),
                ("term", Some(1), Some((3, left))),
                ("view", Some(2), Some((3, left))),
                ("next term", Some(4), Some((5, left))),
                ("and the next", Some(5), None),
            ]
        );
        sketch.life_ended(Time(7), ONE, torn);
        let picture = sketch.picture("");
        assert_eq!(picture.scopes[0].closed, Some((5, torn)), "with the last thing that happened");
        assert!(picture.scopes.iter().all(|scope| scope.closed.is_some()));
    }

    #[test]
    fn what_several_nodes_do_at_once_stands_in_one_row() {
        let sketch = Sketch::new(Window::default());
        open(&sketch, 1, ONE, 0, "node");
        open(&sketch, 1, ONE, 1, "term");
        open(&sketch, 1, TWO, 0, "node");
        open(&sketch, 1, TWO, 1, "term");
        open(&sketch, 2, TWO, 1, "later");
        let picture = sketch.picture("");
        let rows: Vec<_> = picture.scopes.iter().map(|scope| scope.opened).collect();
        assert_eq!(rows, [Some(0), Some(1), Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn sending_and_arrival_are_one_arrow() {
        let sketch = Sketch::new(Window::default());
        let (sent, delivered) = (Passage::Sent, Passage::Delivered);
        pass(&sketch, 1, delivered, "earlier");
        pass(&sketch, 2, sent, "a");
        pass(&sketch, 2, sent, "b");
        pass(&sketch, 2, Passage::Lost, "b");
        pass(&sketch, 2, sent, "c");
        pass(&sketch, 3, delivered, "a");
        pass(&sketch, 4, delivered, "a");
        assert_eq!(
            fates(&sketch.picture("").arrows),
            [
                ("earlier", None, 0, Fate::Arrived),
                ("a", Some(1), 3, Fate::Arrived),
                ("b", Some(1), 2, Fate::Lost),
                ("c", Some(1), 5, Fate::Away),
                ("a", Some(1), 4, Fate::Again),
            ]
        );
    }

    #[test]
    fn of_equal_frames_the_one_lost_at_once_is_the_one_just_sent() {
        let sketch = Sketch::new(Window::default());
        for (at, passage) in [(1, Passage::Sent), (2, Passage::Sent), (2, Passage::Lost)] {
            pass(&sketch, at, passage, "x");
        }
        pass(&sketch, 3, Passage::Delivered, "x");
        let fates: Vec<_> = sketch.picture("").arrows.iter().map(|arrow| arrow.fate).collect();
        assert_eq!(fates, [Fate::Arrived, Fate::Lost]);
    }

    #[test]
    fn a_held_frame_waits_and_arrives_late() {
        let sketch = Sketch::new(Window::default());
        pass(&sketch, 1, Passage::Sent, "x");
        pass(&sketch, 1, Passage::Held, "x");
        let picture = sketch.picture("");
        assert_eq!((picture.arrows[0].held, picture.arrows[0].fate), (Some(1), Fate::Away));
        pass(&sketch, 9, Passage::Delivered, "x");
        let picture = sketch.picture("");
        assert_eq!((picture.arrows[0].held, picture.arrows[0].ended), (Some(1), 2));
    }

    #[test]
    fn silence_is_written_down() {
        let sketch = Sketch::new(Window::default());
        mark(&sketch, 0, "begins", "");
        mark(&sketch, 2_000_000_000, "ends", "");
        let what = sketch.picture("").rows[1].what.clone();
        assert_eq!(what, Purpose::Silence(Duration::from_secs(2)));
    }

    #[test]
    fn marks_that_say_the_same_are_one() {
        let sketch = Sketch::new(Window::default());
        ["i1", "i2", "i3"].into_iter().for_each(|what| mark(&sketch, 1, "appends", what));
        mark(&sketch, 2, "appends", "i4");
        let words: Vec<_> = sketch.picture("").words.into_iter().map(|word| word.text).collect();
        assert_eq!(words, ["appends i1 … i3", "appends i4"]);
    }

    #[test]
    fn the_end_is_kept_and_what_was_open_before_it_is_remembered() {
        let sketch = Sketch::new(Window { moments_max: 2, ..Window::default() });
        open(&sketch, 1, ONE, 0, "node");
        open(&sketch, 2, ONE, 1, "over");
        open(&sketch, 3, ONE, 1, "open");
        (4..6).for_each(|at| mark(&sketch, at, "works", ""));
        let picture = sketch.picture("");
        assert_eq!(scopes(&picture), [("node", None, None), ("open", None, None)]);
        let cut = picture.cuts[0].as_deref().expect("it is said");
        assert!(cut.starts_with("Cut to the last 2 moments"), "{cut}");
    }

    #[test]
    fn a_window_has_a_beginning_an_end_and_a_limit() {
        let (from, until) = (Some(Time(2)), Some(Time(5)));
        let sketch = Sketch::new(Window { from, until, moments_max: 2 });
        (1..9).for_each(|at| mark(&sketch, at, "works", ""));
        let picture = sketch.picture("");
        assert_eq!(picture.rows.iter().map(|row| row.at).collect::<Vec<_>>(), [Time(2), Time(3)]);
        let cut = picture.cuts[1].as_deref();
        assert_eq!(cut, Some("Cut after 2 moments: 2 more are in the window."));
    }

    #[test]
    fn a_picture_begins_and_ends_where_a_scenario_says() {
        let sketch = Sketch::new(Window::default());
        open(&sketch, 1, ONE, 0, "node");
        sketch.begin();
        mark(&sketch, 2, "works", "");
        sketch.end();
        mark(&sketch, 3, "works", "");
        let picture = sketch.picture("");
        assert_eq!((picture.rows.len(), picture.words.len()), (1, 1));
        assert_eq!(scopes(&picture), [("node", None, None)]);
    }
}
