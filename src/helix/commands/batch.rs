//! Batches: what the default blocks carry, and which of it counts.
//!
//! A block's payload is a [`Batch`]: a list of [`Command`]s. Each names the node whose client asked, a number of
//! that node's, and a height `until` which it may be applied. Its [`CommandId`] is a hash over all
//! of that, so nobody can take a request's place without being that request.
//!
//! *At most once.* A command may stand in a block of height `h` only if `until` is in
//! `h ..= h + window`, and if it stands in no block of the last `window` heights.
//! Put together: once in all, for a copy that comes later than that is expired. [`Recent`] is the
//! memory that this takes; it follows from the chain alone, so it is the same on every node, and
//! a replay of the chain makes it again.
//!
//! *Therefore a node knows.* Once a height above `until` is decided and its own request was not
//! applied, it never will be. The node asks again, with a new `until` and so as another command: a
//! request survives its leader and is applied at most once, without a session for anybody.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::helix::protocol::block::Hash;
use crate::id::{Height, NodeId};
use crate::scope::budget::Budget;

/// How many heights a command may wait unless something else is said: long enough to outlive some views, short enough that what
/// must be remembered stays small.
pub const COMMAND_WINDOW: u64 = 256;

/// Commands in one block: what [`Recent`] may cost is this times the window, 48 bytes each.
pub const COMMANDS_MAX: usize = 2048;

/// Bytes of a command besides its payload.
pub const COMMAND_HEAD: usize = 8 + 8 + 8 + 1 + 4;

/// Bytes of a batch besides its commands.
pub const BATCH_HEAD: usize = 8 + 4;

/// What an id is a hash over begins with this.
const DOMAIN: &[u8] = b"quorate helix command 1\0";

/// Work between two yields: commands, and this many bytes count as one.
const SLICE: u32 = 128;
const BYTES_PER_UNIT: usize = 4096;

/// A request, as it travels and as it stands in a block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Command {
    /// The node whose client asked, as whoever made the command says: agreement is on the command,
    /// not on its author.
    pub origin: NodeId,
    /// Which of that node's requests it is.
    pub number: u64,
    /// The last height at which it may be applied.
    pub until: Height,
    /// What the state machine is to apply; `None` for a mark, which has its place in the order and
    /// no effect.
    pub payload: Option<Bytes>,
}

/// The name of a command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub [u8; 16]);

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Command {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> CommandId {
        let payload: &[u8] = self.payload.as_deref().unwrap_or_default();
        let Hash(hash) = Hash::of(&[
            DOMAIN,
            &self.origin.0.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.until.0.to_le_bytes(),
            &[u8::from(self.payload.is_some())],
            payload,
        ]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        CommandId(id)
    }

    /// Bytes that it takes in a block, at most.
    #[must_use]
    pub fn len(&self) -> usize {
        COMMAND_HEAD + self.payload.as_ref().map_or(0, Bytes::len)
    }

    /// Never: even a mark has a head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A command and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub id: CommandId,
    /// The command.
    pub command: Command,
}

impl From<Command> for Named {
    fn from(command: Command) -> Self {
        Self { id: command.id(), command }
    }
}

/// What a block carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// A number that the maker of the block has drawn for its present life: blocks that one node
    /// made before and after it was started again can be told apart.
    pub life: u64,
    /// The commands, in order.
    pub commands: Vec<Named>,
}

/// The payload of a block.
#[must_use]
pub fn encode<'a>(life: u64, commands: impl ExactSizeIterator<Item = &'a Command>) -> Bytes {
    let mut bytes = Vec::with_capacity(BATCH_HEAD + commands.len() * 64);
    let count = u32::try_from(commands.len()).expect("few commands");
    let written = (life, count).serialize(&mut bytes);
    let mut all = commands;
    written
        .and_then(|()| all.try_for_each(|command| command.serialize(&mut bytes)))
        .expect("memory does not refuse a write");
    bytes.into()
}

/// Reads the payload of a block, in slices.
///
/// # Errors
/// What is wrong with it; nothing in such a block counts.
pub async fn decode(payload: &[u8]) -> Result<Batch, String> {
    let (mut rest, mut budget) = (payload, Budget::new(SLICE));
    let wrong = |error: std::io::Error| format!("the payload is no batch: {error}");
    let (life, count) = <(u64, u32)>::deserialize(&mut rest).map_err(wrong)?;
    let count = count as usize;
    if count > COMMANDS_MAX {
        return Err(format!("{count} commands; at most {COMMANDS_MAX} fit a block"));
    }
    let mut commands = Vec::new();
    for _ in 0..count {
        let command = Command::deserialize(&mut rest).map_err(wrong)?;
        let units = 1 + command.len() / BYTES_PER_UNIT;
        commands.push(Named::from(command));
        budget.spend(u32::try_from(units).unwrap_or(u32::MAX)).await;
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes after the last command", rest.len()));
    }
    Ok(Batch { life, commands })
}

/// The commands that stand in the last blocks, and a little more: each until it is expired.
#[derive(Debug)]
pub struct Recent {
    /// How many heights a command may wait.
    window: u64,
    /// Up to which height each could come again.
    ids: BTreeMap<CommandId, Height>,
    by_until: BTreeMap<Height, Vec<CommandId>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self::new(COMMAND_WINDOW)
    }
}

impl Recent {
    /// Remembers nothing yet; a command may wait `window` heights.
    #[must_use]
    pub fn new(window: u64) -> Self {
        Self { window, ids: BTreeMap::new(), by_until: BTreeMap::new() }
    }

    /// Whether the command may stand in the block of `height`, after what is remembered.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, height: Height, named: &Named) -> Result<(), &'static str> {
        let until = named.command.until;
        if until < height {
            return Err("it is expired");
        }
        if until.0 - height.0 > self.window {
            return Err("it would be valid for too long");
        }
        if self.remembers(named.id) {
            return Err("it was applied before");
        }
        Ok(())
    }

    /// Whether the command stands in a block that counts.
    #[must_use]
    pub fn remembers(&self, id: CommandId) -> bool {
        self.ids.contains_key(&id)
    }

    /// Remembers a command that stands in a block.
    pub fn remember(&mut self, named: &Named) {
        let until = named.command.until;
        if self.ids.insert(named.id, until).is_none() {
            self.by_until.entry(until).or_default().push(named.id);
        }
    }

    /// Forgets what can no longer come again, `height` being applied.
    pub fn forget(&mut self, height: Height) {
        while let Some(oldest) = self.by_until.first_entry()
            && *oldest.key() <= height
        {
            for id in oldest.remove() {
                self.ids.remove(&id);
            }
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Judges the batch of a block at `height`, in slices.
///
/// # Errors
/// Why a block with it is not acceptable.
pub async fn judge(
    recent: &RefCell<Recent>,
    height: Height,
    commands: &[Named],
    command_bytes_max: usize,
) -> Result<(), String> {
    let mut budget = Budget::new(SLICE);
    let mut within = BTreeSet::new();
    for named in commands {
        let wrong = |why: &str| {
            let Command { origin, number, .. } = named.command;
            Err(format!("request {number} of {origin:?}: {why}"))
        };
        if named.command.len() > COMMAND_HEAD + command_bytes_max {
            return wrong("it is too large");
        }
        if let Err(why) = recent.borrow().admits(height, named) {
            return wrong(why);
        }
        if !within.insert(named.id) {
            return wrong("it is in the block twice");
        }
        budget.spend(1).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use proptest::prelude::*;

    fn command(number: u64, until: u64) -> Named {
        let payload = Some(Bytes::from_static(b"payload"));
        Command { origin: NodeId(1), number, until: Height(until), payload }.into()
    }

    fn judged(recent: Recent, height: u64, commands: &[Named]) -> Result<(), String> {
        block_on(judge(&RefCell::new(recent), Height(height), commands, 7))
    }

    #[test]
    fn every_part_of_a_command_is_in_its_name() {
        let one = command(1, 9).command;
        let others = [
            one.clone(),
            Command { origin: NodeId(2), ..one.clone() },
            Command { number: 2, ..one.clone() },
            Command { until: Height(8), ..one.clone() },
            Command { payload: Some(Bytes::new()), ..one.clone() },
            Command { payload: None, ..one },
        ];
        let mut ids: Vec<_> = others.iter().map(Command::id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn a_command_counts_within_its_window_only() {
        let wrong = |until| judged(Recent::default(), 10, &[command(1, until)]).err();
        assert!(wrong(9).is_some_and(|why| why.contains("expired")));
        assert_eq!(wrong(10), None);
        assert_eq!(wrong(10 + COMMAND_WINDOW), None);
        assert!(wrong(11 + COMMAND_WINDOW).is_some_and(|why| why.contains("too long")));
    }

    #[test]
    fn a_block_has_no_command_twice_and_none_too_large() {
        let twice = judged(Recent::default(), 1, &[command(1, 1), command(1, 1)]);
        assert!(twice.is_err_and(|why| why.contains("twice")));
        let large = Command { payload: Some(Bytes::from(vec![0; 8])), ..command(1, 1).command };
        assert!(judged(Recent::default(), 1, &[large.into()]).is_err());
    }

    /// Whatever copies of a command are offered at whatever heights, one is taken at most, and
    /// nothing is remembered longer than the window.
    #[test]
    fn a_command_is_taken_once_however_late_a_copy_comes() {
        let mut recent = Recent::default();
        let mut taken = BTreeMap::<CommandId, u32>::new();
        for height in 1..2000u64 {
            for until in height.saturating_sub(3)..height + COMMAND_WINDOW + 3 {
                let named = command(until % 7, until);
                if recent.admits(Height(height), &named).is_ok() {
                    recent.remember(&named);
                    *taken.entry(named.id).or_default() += 1;
                }
            }
            recent.forget(Height(height));
            assert!(recent.len() as u64 <= COMMAND_WINDOW + 1);
            assert_eq!(recent.ids.len(), recent.by_until.values().map(Vec::len).sum::<usize>());
        }
        assert!(taken.values().all(|&times| times == 1));
    }

    #[test]
    fn a_batch_reads_back_and_every_cut_of_it_is_refused() {
        let mark = Command { payload: None, ..command(3, 3).command };
        let commands = [command(1, 1).command, mark, command(2, 2).command];
        let bytes = encode(7, commands.iter());
        let read = block_on(decode(&bytes)).expect("our own");
        assert_eq!(read.life, 7);
        assert!(read.commands.iter().map(|named| &named.command).eq(commands.iter()));
        for len in 0..bytes.len() {
            assert!(block_on(decode(&bytes[..len])).is_err(), "{len} bytes of it");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(block_on(decode(&longer)).is_err());
        assert_eq!(block_on(decode(&encode(0, [].iter()))), Ok(Batch::default()));
    }

    #[test]
    fn a_batch_that_claims_to_be_endless_is_refused_at_once() {
        assert!(block_on(decode(&[0xff; 12])).is_err());
        let too_many = vec![command(1, 1).command; COMMANDS_MAX + 1];
        assert!(block_on(decode(&encode(0, too_many.iter()))).is_err());
        // One command whose payload claims four gigabytes.
        let mut bytes = encode(0, [command(1, 1).command].iter()).to_vec();
        bytes[BATCH_HEAD + 25..BATCH_HEAD + 29].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(block_on(decode(&bytes)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // Whether it is a batch or not is all the same here.
            let _read = block_on(decode(&bytes));
        }
    }
}
