//! What the services of the nodes tell each other, as messages of the engine.
//!
//! Notes are not signed. Who speaks is whom the transport says, so they are as good as its word,
//! and nothing that must never go wrong depends on them alone: a command is judged when it stands
//! in a block, and a false answer to a read can delay the read, or, if the transport lets somebody
//! speak for a quorum, show an old state; the order itself it cannot touch.

use borsh::BorshDeserialize;
use bytes::Bytes;

use crate::helix::commands::batch::{self, COMMANDS_MAX, Command};
use crate::id::Height;

const COMMANDS: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppMessage {
    /// Please decide these: a batch (of no life), not read yet.
    Commands(Bytes),
    /// The question of a read, with the number of its round.
    Ask(u64),
    /// The answer: the highest height that its sender has signed a COMMIT for, or knows decided.
    Answer(u64, Height),
}

impl AppMessage {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(17);
        match self {
            Self::Commands(batch) => {
                bytes.push(COMMANDS);
                bytes.extend_from_slice(batch);
            }
            Self::Ask(number) => {
                bytes.push(ASK);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            Self::Answer(number, height) => {
                bytes.push(ANSWER);
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&height.0.to_le_bytes());
            }
        }
        bytes.into()
    }

    /// Reads one; `None` if it makes no sense. A batch is looked into later.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            COMMANDS => Some(Self::Commands(bytes.slice(1..))),
            ASK => Some(Self::Ask(u64::try_from_slice(rest).ok()?)),
            ANSWER => {
                let (number, height) = <(u64, u64)>::try_from_slice(rest).ok()?;
                Some(Self::Answer(number, Height(height)))
            }
            _ => None,
        }
    }
}

/// Notes with these commands, each of a moderate size.
pub(crate) fn with_commands(commands: &[Command], bytes_max: usize) -> Vec<Bytes> {
    let (mut messages, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, command) in commands.iter().enumerate() {
        if at > begin && (bytes + command.len() > bytes_max || at - begin == COMMANDS_MAX) {
            messages.push(&commands[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += command.len();
    }
    if begin < commands.len() {
        messages.push(&commands[begin..]);
    }
    messages
        .into_iter()
        .map(|some| AppMessage::Commands(batch::encode(0, some.iter())).encode())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use futures_lite::future::block_on;
    use proptest::prelude::*;

    #[test]
    fn notes_read_back() {
        for message in [
            AppMessage::Commands(batch::encode(0, [].iter())),
            AppMessage::Ask(7),
            AppMessage::Answer(u64::MAX, Height(3)),
        ] {
            assert_eq!(AppMessage::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn many_commands_are_several_notes_and_none_is_lost() {
        let command = |number, len| {
            let payload = Some(Bytes::from(vec![0; len]));
            Command { origin: NodeId(1), number, until: Height(1), payload }
        };
        let mut commands: Vec<_> = (0..5_000).map(|number| command(number, 10)).collect();
        commands.extend((5_000..5_003).map(|number| command(number, 256 << 10)));
        let messages = with_commands(&commands, 256 << 10);
        assert_eq!(messages.len(), 3 + 3);
        let mut numbers = Vec::new();
        for message in messages {
            let Some(AppMessage::Commands(batch)) = AppMessage::decode(&message) else {
                panic!("{message:?}")
            };
            let read = block_on(batch::decode(&batch)).expect("our own");
            numbers.extend(read.commands.iter().map(|named| named.command.number));
        }
        assert!(numbers.into_iter().eq(0..5_003));
        assert!(with_commands(&[], 256 << 10).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            // Whether it is a message or not is all the same here.
            let _read = AppMessage::decode(&bytes.into());
        }
    }
}
