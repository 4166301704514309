//! What each honest node has signed (I7): every word that it signed, and every word that left it,
//! over the whole run and all its lives.
//!
//! A node that crashes may forget what it signed and nobody heard. What has left it is there for
//! ever, and nothing that it signs or sends later may contradict it. So this is where it shows if a
//! word leaves before the promise behind it is durable: the node starts again, has forgotten, and
//! says something else.

use std::collections::{BTreeMap, BTreeSet};

use crate::helix::protocol::block::Hash;
use crate::helix::protocol::message::{Kind, Message, Vote};
use crate::id::{Height, NodeId, View};
use crate::sim::checks::Checked;
use crate::sim::helix::events::INSTANCE;

/// One signed word, without its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// Which height it is about.
    pub height: Height,
    /// Which view.
    pub view: View,
    /// What kind of word.
    pub kind: Kind,
    /// The block, or a digest of whatever else it is about.
    pub subject: Hash,
}

impl Word {
    fn of(kind: Kind, vote: &Vote) -> Self {
        Self { height: vote.height, view: vote.view, kind, subject: vote.hash }
    }

    /// The words of its sender in a message; words of others that it carries are not among them.
    #[must_use]
    pub fn all(message: &Message) -> Vec<Self> {
        let encoded = |value: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
            let mut bytes = vec![];
            value(&mut bytes).expect("memory does not refuse a write");
            Hash::of(&[&bytes])
        };
        match message {
            Message::PrePrepare { vote, .. } => vec![Self::of(Kind::PrePrepare, vote)],
            Message::Prepare(vote) => vec![Self::of(Kind::Prepare, vote)],
            Message::Commit { vote, .. } => vec![Self::of(Kind::Commit, vote)],
            Message::ViewChange { change, .. } => {
                let (height, view, kind) = (change.height, change.view, Kind::ViewChange);
                let subject = encoded(&|to| borsh::to_writer(to, &change.prepared));
                vec![Self { height, view, kind, subject }]
            }
            Message::NewView(new) => {
                let (height, view) = (new.height, new.view);
                let block = new.block.hash(INSTANCE);
                let subject = encoded(&|to| borsh::to_writer(to, &(&new.changes, block)));
                vec![
                    Self { height, view, kind: Kind::NewView, subject },
                    Self { height, view, kind: Kind::PrePrepare, subject: block },
                ]
            }
            Message::Tip(_) | Message::FetchBlocks(_) | Message::Blocks(_) | Message::App(_) => {
                vec![]
            }
        }
    }

    /// Whether it is about a block, and its subject is that block.
    fn is_vote(&self) -> bool {
        matches!(self.kind, Kind::PrePrepare | Kind::Prepare | Kind::Commit)
    }
}

/// What one node has signed at one height.
#[derive(Debug, Default)]
struct Signed {
    /// What has left the node.
    sent: BTreeMap<(View, Kind), Hash>,
    /// What it told that it signed.
    signed: BTreeSet<Word>,
    /// The highest view for which a VIEW_CHANGE has left it.
    asked: View,
}

/// Everything that everybody has signed.
#[derive(Debug, Default)]
pub struct SignLog {
    signed: BTreeMap<(NodeId, Height), Signed>,
}

impl SignLog {
    /// The node tells that it signs a word.
    ///
    /// # Errors
    /// If others hold a word of it that this one contradicts.
    pub fn signs(&mut self, node: NodeId, word: Word) -> Checked {
        let signed = self.signed.entry((node, word.height)).or_default();
        if word.is_vote() {
            if word.view < signed.asked {
                let asked = signed.asked;
                return Err(("I7", format!("signs {word:?} and has left that view for {asked:?}")));
            }
            signed.agrees(word)?;
        }
        signed.signed.insert(word);
        Ok(())
    }

    /// A word leaves the node.
    ///
    /// # Errors
    /// If it contradicts another one that has left it, or was never signed.
    pub fn sends(&mut self, node: NodeId, word: Word) -> Checked {
        let signed = self.signed.entry((node, word.height)).or_default();
        let slot = (word.view, word.kind);
        if let Some(&before) = signed.sent.get(&slot) {
            if before == word.subject {
                return Ok(());
            }
            return Err(("I7", format!("sends {word:?}, and has sent {before:?}")));
        }
        if word.is_vote() {
            signed.agrees(word)?;
            if !signed.signed.contains(&word) {
                return Err(("I7", format!("sends {word:?}, which it has never signed")));
            }
        }
        signed.sent.insert(slot, word.subject);
        if word.kind == Kind::ViewChange {
            signed.asked = signed.asked.max(word.view);
        }
        Ok(())
    }

    /// The highest view of a word that has left the node.
    #[must_use]
    pub fn view(&self, node: NodeId, height: Height) -> View {
        let signed = self.signed.get(&(node, height));
        let last = signed.and_then(|signed| signed.sent.last_key_value());
        last.map_or(View::ZERO, |(&(view, _), _)| view)
    }

    /// Nothing that the node has signed binds it any more.
    pub fn forget(&mut self, node: NodeId) {
        self.signed.retain(|&(of, _), _| of != node);
    }
}

impl Signed {
    /// In one view a node is for one block, whatever kinds of words it says.
    fn agrees(&self, word: Word) -> Checked {
        for kind in [Kind::PrePrepare, Kind::Prepare, Kind::Commit] {
            let other = self.sent.get(&(word.view, kind));
            if let Some(&other) = other.filter(|&&other| other != word.subject) {
                return Err(("I7", format!("is for {word:?}, and has sent {kind:?} {other:?}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{SignLog, Word};
    use crate::helix::protocol::block::Hash;
    use crate::helix::protocol::message::Kind;
    use crate::id::{Height, NodeId, View};

    const NODE: NodeId = NodeId(3);

    fn word(kind: Kind, view: u64, subject: u8) -> Word {
        Word { height: Height(5), view: View(view), kind, subject: Hash([subject; 32]) }
    }

    fn says(sign_log: &mut SignLog, word: Word) {
        sign_log.signs(NODE, word).expect("no contradiction");
        sign_log.sends(NODE, word).expect("no contradiction");
    }

    #[test]
    fn two_words_for_two_blocks_in_one_view_contradict() {
        let mut sign_log = SignLog::default();
        says(&mut sign_log, word(Kind::Prepare, 1, 1));
        says(&mut sign_log, word(Kind::Commit, 1, 1));
        says(&mut sign_log, word(Kind::Prepare, 2, 2));
        assert!(sign_log.signs(NODE, word(Kind::Prepare, 1, 2)).is_err());
        assert!(sign_log.signs(NODE, word(Kind::Commit, 2, 1)).is_err());
        assert_eq!(sign_log.view(NODE, Height(5)), View(2));
        assert!(sign_log.signs(NodeId(4), word(Kind::Prepare, 1, 2)).is_ok(), "another node");
    }

    #[test]
    fn what_nobody_heard_may_be_forgotten() {
        let mut sign_log = SignLog::default();
        sign_log.signs(NODE, word(Kind::Prepare, 1, 1)).expect("signed, and then it crashed");
        says(&mut sign_log, word(Kind::Prepare, 1, 2));
    }

    #[test]
    fn no_vote_in_a_view_that_it_has_left() {
        let mut sign_log = SignLog::default();
        says(&mut sign_log, word(Kind::Prepare, 0, 1));
        says(&mut sign_log, word(Kind::ViewChange, 2, 0));
        assert!(sign_log.sends(NODE, word(Kind::Prepare, 0, 1)).is_ok(), "said before, said again");
        assert!(sign_log.signs(NODE, word(Kind::Commit, 1, 1)).is_err());
        assert!(sign_log.signs(NODE, word(Kind::Prepare, 2, 1)).is_ok());
        assert!(sign_log.sends(NODE, word(Kind::ViewChange, 2, 9)).is_err(), "another proof");
    }

    #[test]
    fn what_is_sent_was_signed() {
        assert!(SignLog::default().sends(NODE, word(Kind::Commit, 0, 1)).is_err());
    }
}
