//! What helix nodes tell and say, in the words of the [`trace`](crate::sim::trace).
//!
//! ```text
//! 0.004s n1 enters h1 v0, which it leads
//! 0.004s n1 > n2 PrePrepare h1 v0 #1c8a07e2
//! 0.512s n3 leaves h1 v0: elapsed
//! 0.513s n3 > n2 ViewChange h1 v1 prepared v0 #1c8a07e2
//! ```

use std::fmt::{self, Write as _};

use crate::helix::Event;
use crate::helix::protocol::block::Hash;
use crate::helix::protocol::event::Entry;
use crate::helix::protocol::message::{Envelope, Kind, Malformed, Message};
use crate::id::{ClusterId, NodeId};
use crate::sim::net::Flight;
use crate::sim::picture::sketch::{Step, Tone};
use crate::sim::trace::Tell;

/// The instance that simulated nodes take part in.
pub const INSTANCE: ClusterId = ClusterId(0x48);

/// Reads a frame.
///
/// # Errors
/// Why it is none.
pub fn read(flight: &Flight) -> Result<Message, Malformed> {
    Envelope::decode(&flight.frame, INSTANCE)
}

/// The name of a message's kind.
#[must_use]
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::PrePrepare { .. } => "PrePrepare",
        Message::Prepare(_) => "Prepare",
        Message::Commit { .. } => "Commit",
        Message::ViewChange { .. } => "ViewChange",
        Message::NewView(_) => "NewView",
        Message::Tip(_) => "Tip",
        Message::FetchBlocks(_) => "FetchBlocks",
        Message::Blocks(_) => "Blocks",
        Message::App(_) => "Note",
    }
}

/// The kind of a frame; `malformed` if it is no message.
#[must_use]
pub fn kind_of(flight: &Flight) -> &'static str {
    read(flight).map_or("malformed", |message| kind(&message))
}

impl Tell for Event {
    fn numbers(&self, mix: &mut dyn FnMut(u64)) {
        let of = |text: &str| u64::from(crc32c::crc32c(text.as_bytes()));
        let hash = |hash: &Hash| u64::from(crc32c::crc32c(&hash.0));
        let numbers: [u64; 6] = match self {
            Event::Started { tip, view } => [1, tip.0, view.0, 0, 0, 0],
            Event::TermEntered { height, member } => [2, height.0, u64::from(*member), 0, 0, 0],
            Event::TermLeft { height, why } => [3, height.0, of(why), 0, 0, 0],
            Event::ViewEntered { height, view, leader, entry } => {
                [4, height.0, view.0, leader.0, *entry as u64, 0]
            }
            Event::ViewLeft { height, view, why } => [5, height.0, view.0, of(why), 0, 0],
            Event::Creating { height, view } => [6, height.0, view.0, 0, 0, 0],
            Event::Validating { height, view, hash: block } => {
                [7, height.0, view.0, hash(block), 0, 0]
            }
            Event::Signed { kind, height, view, subject } => {
                [8, *kind as u64, height.0, view.0, hash(subject), 0]
            }
            Event::Prepared { height, view, hash: block } => {
                [9, height.0, view.0, hash(block), 0, 0]
            }
            Event::Decided { height, view, hash: block } => {
                [10, height.0, view.0, hash(block), 0, 0]
            }
            Event::Learned { height, hash: block } => [11, height.0, hash(block), 0, 0, 0],
            Event::Delivered { height, hash: block } => [12, height.0, hash(block), 0, 0, 0],
            Event::DeliveryFailed { height } => [13, height.0, 0, 0, 0, 0],
            Event::Evidence { node, kind, height, view } => {
                [14, node.0, *kind as u64, height.0, view.0, 0]
            }
        };
        numbers.into_iter().for_each(mix);
    }

    fn is_story(&self) -> bool {
        !matches!(
            self,
            Event::TermEntered { .. }
                | Event::TermLeft { .. }
                | Event::Creating { .. }
                | Event::Validating { .. }
                | Event::Signed { .. }
                | Event::Delivered { .. }
        )
    }

    fn tell(&self, text: &mut String, _: NodeId, _: Option<&Self>) -> fmt::Result {
        match self {
            Event::Started { tip, view } => write!(text, "started, tip {tip:?}, promised {view:?}"),
            Event::TermEntered { height, member } => {
                let role = if *member { "" } else { ", not a member" };
                write!(text, "enters {height:?}{role}")
            }
            Event::TermLeft { height, why } => write!(text, "leaves {height:?}: {why}"),
            Event::ViewEntered { height, view, leader, entry } => {
                write!(text, "enters {height:?} {view:?} of {leader:?}: {}", why(*entry))
            }
            Event::ViewLeft { height, view, why } => {
                write!(text, "leaves {height:?} {view:?}: {why}")
            }
            Event::Creating { height, view } => {
                write!(text, "makes a block for {height:?} {view:?}")
            }
            Event::Validating { height, view, hash } => {
                write!(text, "judges {hash:?} for {height:?} {view:?}")
            }
            Event::Signed { kind, height, view, subject } => {
                write!(text, "signs {} {height:?} {view:?}", signed(*kind))?;
                if *subject == Hash::NONE { Ok(()) } else { write!(text, " {subject:?}") }
            }
            Event::Prepared { height, view, hash } => {
                write!(text, "is prepared for {hash:?} at {height:?} {view:?}")
            }
            Event::Decided { height, view, hash } => {
                write!(text, "decided {hash:?} at {height:?} {view:?}")
            }
            Event::Learned { height, hash } => write!(text, "learned {hash:?} at {height:?}"),
            Event::Delivered { height, hash } => write!(text, "delivered {hash:?} at {height:?}"),
            Event::DeliveryFailed { height } => write!(text, "could not deliver {height:?}"),
            Event::Evidence { node, kind, height, view } => {
                write!(text, "saw {node:?} contradict its {} {height:?} {view:?}", signed(*kind))
            }
        }
    }

    fn tell_frame(text: &mut String, flight: &Flight) -> fmt::Result {
        let message = match read(flight) {
            Ok(message) => message,
            Err(error) => return write!(text, "malformed: {error}"),
        };
        write!(text, "{}", kind(&message))?;
        if let (Some(height), Some(view)) = (message.height(), message.view()) {
            write!(text, " {height:?} {view:?}")?;
        }
        match &message {
            Message::PrePrepare { vote, .. }
            | Message::Prepare(vote)
            | Message::Commit { vote, .. } => {
                write!(text, " {:?}", vote.hash)
            }
            Message::ViewChange { change, block } => {
                if let Some(proof) = &change.prepared {
                    write!(text, " prepared {:?} {:?}", proof.view, proof.hash)?;
                }
                if block.is_some() { write!(text, " with its block") } else { Ok(()) }
            }
            Message::NewView(new_view) => {
                write!(text, " {:?} because of", new_view.block.hash(INSTANCE))?;
                new_view.changes.iter().try_for_each(|(node, _)| write!(text, " {node:?}"))
            }
            Message::Tip(height) => write!(text, " {height:?}"),
            Message::FetchBlocks(height) => write!(text, " from {height:?}"),
            Message::Blocks(blocks) => {
                blocks.iter().try_for_each(|(block, _)| write!(text, " {:?}", block.height))
            }
            Message::App(note) => write!(text, " of {} bytes", note.len()),
        }
    }

    fn step(&self, node: NodeId) -> Option<Step> {
        step(node, self)
    }

    fn name_frame(flight: &Flight) -> String {
        name(flight)
    }
}

fn why(entry: Entry) -> &'static str {
    match entry {
        Entry::First => "the first",
        Entry::Changing => "it asks for it",
        Entry::Elected => "elected",
        Entry::NewView => "its leader has shown why",
        Entry::Resumed => "it was there before",
    }
}

fn signed(kind: Kind) -> &'static str {
    match kind {
        Kind::PrePrepare => "PrePrepare",
        Kind::Prepare => "Prepare",
        Kind::Commit => "Commit",
        Kind::NewView => "NewView",
        Kind::ViewChange => "ViewChange",
    }
}

/// The short name of a frame: its kind, and the height and view that it is about.
fn name(flight: &Flight) -> String {
    let Ok(message) = read(flight) else {
        return "malformed".into();
    };
    let kind = kind(&message);
    match (&message, message.height(), message.view()) {
        (Message::Tip(height), ..) => format!("{kind} {height:?}"),
        (Message::FetchBlocks(height), ..) => format!("{kind} {height:?}…"),
        (Message::Blocks(blocks), ..) => match (blocks.first(), blocks.last()) {
            (Some((first, _)), Some((last, _))) if first.height < last.height => {
                format!("{kind} {:?}…{:?}", first.height, last.height)
            }
            (Some((block, _)), _) => format!("{kind} {:?}", block.height),
            _ => format!("{kind}: none"),
        },
        (_, Some(height), Some(view)) => format!("{kind} {height:?} {view:?}"),
        _ => kind.into(),
    }
}

/// What an event does to the picture of its node: a life holds a term, which is one height, and
/// that holds a view.
fn step(node: NodeId, event: &Event) -> Option<Step> {
    let mark = |does, what| Some(Step::Mark { does, what });
    match event {
        Event::Started { .. } => {
            let (name, why) = ("node".into(), String::new());
            Some(Step::Open { depth: 0, name, tone: Tone::Quiet, why })
        }
        Event::TermEntered { height, member } => {
            let name = format!("term {height:?}");
            let why = if *member { "" } else { "not a member" }.into();
            Some(Step::Open { depth: 1, name, tone: Tone::Quiet, why })
        }
        Event::TermLeft { why, .. } => Some(Step::Close { depth: 1, why: (*why).into() }),
        Event::ViewEntered { view, leader, entry, .. } => {
            let tone = match entry {
                Entry::Changing => Tone::Seeking,
                _ if *leader == node => Tone::Leading,
                _ => Tone::Plain,
            };
            let name = format!("{view:?} of {leader:?}");
            let why = match entry {
                Entry::First => "",
                Entry::Changing => "asks for it",
                Entry::Elected => "elected",
                Entry::NewView => "shown why",
                Entry::Resumed => "resumed",
            };
            let why = why.into();
            Some(Step::Open { depth: 2, name, tone, why })
        }
        Event::ViewLeft { why, .. } => Some(Step::Close { depth: 2, why: (*why).into() }),
        Event::Creating { .. } => mark("makes a block", String::new()),
        Event::Validating { hash, .. } => mark("judges", format!("{hash:?}")),
        Event::Prepared { hash, .. } => mark("prepared", format!("{hash:?}")),
        Event::Decided { hash, .. } => mark("decides", format!("{hash:?}")),
        Event::Learned { height, .. } => mark("learns", format!("{height:?}")),
        Event::Delivered { height, .. } => mark("delivers", format!("{height:?}")),
        Event::DeliveryFailed { height } => mark("cannot deliver", format!("{height:?}")),
        Event::Evidence { node, .. } => mark("has evidence of", format!("{node:?}")),
        Event::Signed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::kind_of;
    use crate::helix::Event;
    use crate::helix::protocol::block::Hash;
    use crate::helix::protocol::event::Entry;
    use crate::helix::protocol::message::{Envelope, Message, Signature, ViewChange};
    use crate::id::{Height, NodeId, View};
    use crate::sim::helix::events::INSTANCE;
    use crate::sim::net::Flight;
    use crate::sim::trace::Tell;

    fn flight(message: &Message) -> Flight {
        let frame = Envelope::encode(INSTANCE, message);
        Flight { from: NodeId(1), to: NodeId(2), frame }
    }

    #[test]
    fn frames_and_events_read_like_a_story() {
        let (height, view) = (Height(7), View(2));
        let signature = Signature([0; 64]);
        let change = ViewChange { height, view, prepared: None, signature };
        let mut text = String::new();
        let frame = flight(&Message::ViewChange { change, block: None });
        Event::tell_frame(&mut text, &frame).expect("text");
        assert_eq!(text, "ViewChange h7 v2");
        text.clear();
        let (leader, entry) = (NodeId(3), Entry::NewView);
        let entered = Event::ViewEntered { height, view, leader, entry };
        entered.tell(&mut text, NodeId(1), None).expect("text");
        assert_eq!(text, "enters h7 v2 of n3: its leader has shown why");
        text.clear();
        let learned = Event::Learned { height, hash: Hash([0xab; 32]) };
        learned.tell(&mut text, NodeId(1), None).expect("text");
        assert_eq!(text, "learned #abababab at h7");
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        let frame = bytes::Bytes::from_static(b"x");
        assert_eq!(kind_of(&Flight { from: NodeId(1), to: NodeId(2), frame }), "malformed");
        assert_eq!(kind_of(&flight(&Message::Tip(Height(1)))), "Tip");
    }
}
