//! The commands that wait to be decided: those of this node's clients, and those that peers have
//! handed over.
//!
//! A node tells its own commands to the leader of the present view, and to the next one when the
//! view changes. If one has waited for a while it is told to everybody: then no leader can ignore
//! it unseen. Who is told a command by a peer hands it on to the leader if it has waited, so that
//! an honest leader has what it is held responsible for; and if it has waited for long *since the
//! leader was told*, it is neglected, which is a reason to leave the view. That is so of commands
//! that are *due*: one that may not stand in a block yet waits here, and nobody is told of it, for no
//! leader could do anything about it.
//!
//! What peers hand over is bounded, peer by peer, in number and bytes, and a block takes from each
//! in turn: whoever floods the pool has its own part of it flooded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::env::Time;
use crate::helix::commands::batch::{BATCH_HEAD, COMMANDS_MAX, Command, CommandId, Named, Recent};
use crate::id::{Height, NodeId};

/// Old commands of peers that are handed on to a leader at a time: enough to show that it ignores
/// somebody, too few to fill what it keeps for this node.
const RELAYED_MAX: usize = 64;

/// What the pool takes of each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) commands_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) command_bytes_max: usize,
    /// How many heights a command may wait.
    pub(crate) window: u64,
}

impl Bounds {
    /// Whether a block at `height` may have a command that is valid for so long; it may be expired.
    fn is_due(&self, until: Height, height: Height) -> bool {
        until.0 <= height.0 + self.window
    }
}

/// How patient a node is with a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// A command of this node that has waited so long is told to everybody.
    pub(crate) spread: Duration,
    /// A command of a peer that has waited so long is told to the leader.
    pub(crate) relay: Duration,
    /// A command that has waited so long since the leader was told is neglected.
    pub(crate) neglect: Duration,
}

impl Patience {
    /// What follows from the length of the first view.
    pub(crate) fn of(base: Duration) -> Self {
        Self { spread: base / 2, relay: base, neglect: base * 2 }
    }
}

#[derive(Debug)]
struct Entry {
    command: Command,
    source: NodeId,
    place: u64,
    since: Time,
    /// When it was told to everybody.
    spread: Option<Time>,
    /// Which leader was told, and when.
    told: Option<(NodeId, Time)>,
}

/// The commands of one source, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    order: BTreeMap<u64, CommandId>,
    bytes: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Pool {
    me: NodeId,
    bounds: Bounds,
    patience: Patience,
    entries: BTreeMap<CommandId, Entry>,
    queues: BTreeMap<NodeId, Queue>,
    by_until: BTreeSet<(Height, CommandId)>,
    next_place: u64,
    leader: Option<NodeId>,
    /// Own commands that the present leader was not told yet.
    untold: VecDeque<CommandId>,
    /// The source that a block begins with: the one after the last one's.
    turn: NodeId,
    dropped: u64,
}

impl Pool {
    pub(crate) fn new(me: NodeId, bounds: Bounds, patience: Patience) -> Self {
        Self {
            me,
            bounds,
            patience,
            entries: BTreeMap::new(),
            queues: BTreeMap::new(),
            by_until: BTreeSet::new(),
            next_place: 0,
            leader: None,
            untold: VecDeque::new(),
            turn: NodeId::ZERO,
            dropped: 0,
        }
    }

    /// Whether no command waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Commands of peers that were not taken in.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes in a command of `source`, after `applied`. One that cannot be applied any more, or only
    /// in a far future, or is too much, is dropped and counted. Whether it is new.
    pub(crate) fn insert(
        &mut self,
        source: NodeId,
        named: Named,
        applied: Height,
        recent: &Recent,
        now: Time,
    ) -> bool {
        let Named { id, command } = named;
        if self.entries.contains_key(&id) || recent.remembers(id) {
            return false;
        }
        let queue = self.queues.entry(source).or_default();
        let len = command.payload.as_ref().map_or(0, bytes::Bytes::len);
        // A peer may be as far ahead as a command may wait.
        let in_time =
            command.until > applied && command.until.0 - applied.0 <= 2 * self.bounds.window;
        let fits = queue.order.len() < self.bounds.commands_max
            && queue.bytes + command.len() <= self.bounds.bytes_max;
        if !in_time || len > self.bounds.command_bytes_max || (source != self.me && !fits) {
            self.dropped += 1;
            return false;
        }
        let place = self.next_place;
        self.next_place += 1;
        queue.bytes += command.len();
        queue.order.insert(place, id);
        self.by_until.insert((command.until, id));
        if source == self.me {
            self.untold.push_back(id);
        }
        let entry = Entry { command, source, place, since: now, spread: None, told: None };
        self.entries.insert(id, entry);
        true
    }

    /// Forgets a command.
    pub(crate) fn remove(&mut self, id: CommandId) -> Option<Command> {
        let entry = self.entries.remove(&id)?;
        self.by_until.remove(&(entry.command.until, id));
        if let Some(queue) = self.queues.get_mut(&entry.source) {
            queue.order.remove(&entry.place);
            queue.bytes -= entry.command.len();
        }
        Some(entry.command)
    }

    /// Forgets what can no longer be applied after `applied`; returns what was this node's own.
    pub(crate) fn expire(&mut self, applied: Height) -> Vec<Command> {
        let mut own = Vec::new();
        while let Some(&(until, id)) = self.by_until.first()
            && until <= applied
        {
            let source = self.entries.get(&id).map(|entry| entry.source);
            let command = self.remove(id);
            own.extend(command.filter(|_| source == Some(self.me)));
        }
        own
    }

    /// Whether a block at `height` would have a command.
    pub(crate) fn has_for(&self, height: Height) -> bool {
        self.by_until.first().is_some_and(|(until, _)| self.bounds.is_due(*until, height))
    }

    /// What goes into a block at `height`: from each source in turn, up to `bytes_max` of payload,
    /// one command at least if there is one.
    pub(crate) fn choose(&mut self, height: Height, bytes_max: usize) -> Vec<Named> {
        let fits = |id: &CommandId| {
            let until = self.entries[id].command.until;
            until >= height && self.bounds.is_due(until, height)
        };
        let later = self.queues.range(self.turn..).map(|(&source, _)| source);
        let earlier = self.queues.range(..self.turn).map(|(&source, _)| source);
        let sources: Vec<_> = later.chain(earlier).collect();
        let mut rows: VecDeque<_> = sources
            .iter()
            .map(|source| self.queues[source].order.values().filter(|id| fits(id)))
            .collect();
        let (mut chosen, mut bytes) = (Vec::new(), BATCH_HEAD);
        while let Some(mut row) = rows.pop_front()
            && chosen.len() < COMMANDS_MAX
        {
            let Some(id) = row.next() else { continue };
            let len = self.entries[id].command.len();
            if !chosen.is_empty() && bytes + len > bytes_max {
                break;
            }
            bytes += len;
            chosen.push(*id);
            rows.push_back(row);
        }
        drop(rows);
        self.turn = sources.first().map_or(NodeId::ZERO, |source| source.next());
        let named = |id| Named { id, command: self.entries[&id].command.clone() };
        chosen.into_iter().map(named).collect()
    }

    // ---- what others are told ----

    /// A view has begun.
    pub(crate) fn led_by(&mut self, leader: NodeId) {
        if self.leader == Some(leader) {
            return;
        }
        self.leader = Some(leader);
        self.untold.clear();
        if let Some(own) = self.queues.get(&self.me) {
            self.untold.extend(own.order.values());
        }
    }

    /// Own commands that the leader was not told: it is, now. Nothing if this node leads.
    pub(crate) fn for_leader(&mut self, now: Time) -> Vec<Command> {
        let Some(leader) = self.leader else { return Vec::new() };
        let untold = std::mem::take(&mut self.untold);
        if leader == self.me {
            return Vec::new();
        }
        let mut commands = Vec::new();
        for id in untold {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.told = Some((leader, now));
                commands.push(entry.command.clone());
            }
        }
        commands
    }

    /// Own commands that everybody is to be told now: each after a while, and again now and then,
    /// for messages may be lost.
    pub(crate) fn spread_due(&mut self, now: Time) -> Vec<Command> {
        let (leader, patience) = (self.leader.filter(|&leader| leader != self.me), self.patience);
        let mut commands = Vec::new();
        for id in self.queues.get(&self.me).into_iter().flat_map(|queue| queue.order.values()) {
            let entry = self.entries.get_mut(id).expect("what is queued is there");
            let due = match entry.spread {
                None => now.since(entry.since) >= patience.spread,
                Some(at) => now.since(at) >= patience.neglect,
            };
            if due {
                entry.spread = Some(now);
                let told = entry.told.filter(|(to, _)| Some(*to) == leader);
                entry.told = told.or(leader.map(|leader| (leader, now)));
                commands.push(entry.command.clone());
            }
        }
        commands
    }

    /// Old commands of peers that a block at `height` may have, and that the leader is to be told
    /// now.
    pub(crate) fn relay_due(&mut self, height: Height, now: Time) -> Vec<Command> {
        let Some(leader) = self.leader.filter(|&leader| leader != self.me) else {
            return Vec::new();
        };
        let (me, bounds, patience) = (self.me, self.bounds, self.patience);
        let is_old = |entry: &&mut Entry| {
            let known = entry.told.is_some_and(|(to, _)| to == leader);
            let told = known || entry.source == me || entry.source == leader;
            !told && now.since(entry.since) >= patience.relay
        };
        let is_due = |entry: &&mut Entry| bounds.is_due(entry.command.until, height);
        let mut due: Vec<_> = self.entries.values_mut().filter(is_due).filter(is_old).collect();
        due.sort_unstable_by_key(|entry| entry.place);
        let tell = |entry: &mut Entry| {
            entry.told = Some((leader, now));
            entry.command.clone()
        };
        due.into_iter().take(RELAYED_MAX).map(tell).collect()
    }

    /// When the present leader will have neglected a command that a block at `height` may have, if
    /// nothing happens. Never if this node leads.
    pub(crate) fn neglected_at(&self, height: Height) -> Option<Time> {
        let leader = self.leader.filter(|&leader| leader != self.me)?;
        let due =
            self.entries.values().filter(|entry| self.bounds.is_due(entry.command.until, height));
        let told = due.filter_map(|entry| entry.told);
        let oldest = told.filter(|(to, _)| *to == leader).map(|(_, at)| at).min()?;
        Some(oldest + self.patience.neglect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const ME: NodeId = NodeId(1);
    const LEADER: NodeId = NodeId(2);
    const PEER: NodeId = NodeId(3);
    const NEXT: Height = Height(1);
    const SECOND: u64 = 1_000_000_000;

    fn pool() -> Pool {
        let bounds =
            Bounds { commands_max: 3, bytes_max: 400, command_bytes_max: 100, window: 256 };
        Pool::new(ME, bounds, Patience::of(Duration::from_secs(1)))
    }

    fn command(origin: NodeId, number: u64, len: usize) -> Named {
        let payload = Some(Bytes::from(vec![0; len]));
        Command { origin, number, until: Height(100), payload }.into()
    }

    fn offer(pool: &mut Pool, source: NodeId, named: Named, now: u64) -> bool {
        pool.insert(source, named, Height(0), &Recent::default(), Time(now))
    }

    fn numbers(commands: &[Command]) -> Vec<u64> {
        commands.iter().map(|command| command.number).collect()
    }

    #[test]
    fn a_peer_fills_its_own_part_only() {
        let mut pool = pool();
        for number in 0..9 {
            offer(&mut pool, PEER, command(PEER, number, 10), 0);
        }
        assert_eq!(pool.dropped(), 6, "three fit");
        assert!(offer(&mut pool, LEADER, command(PEER, 7, 10), 0), "another peer's part");
        assert!(!offer(&mut pool, ME, command(ME, 1, 101), 0), "too large for anybody");
        for number in 0..9 {
            assert!(offer(&mut pool, ME, command(ME, number, 10), 0), "own requests have replies");
        }
        for (number, len) in [(20, 100), (21, 100), (22, 100), (23, 100)] {
            offer(&mut pool, NodeId(4), command(PEER, number, len), 0);
        }
        assert_eq!(pool.queues[&NodeId(4)].order.len(), 3, "400 bytes and heads");
    }

    #[test]
    fn what_cannot_be_applied_is_not_kept() {
        let mut pool = pool();
        let until = |until| Command { until: Height(until), ..command(PEER, until, 1).command };
        let mut recent = Recent::default();
        let applied = Height(50);
        assert!(!pool.insert(PEER, until(50).into(), applied, &recent, Time(0)), "expired");
        assert!(!pool.insert(PEER, until(563).into(), applied, &recent, Time(0)), "far future");
        recent.remember(&until(60).into());
        assert!(!pool.insert(PEER, until(60).into(), applied, &recent, Time(0)), "done");
        assert!(pool.insert(PEER, until(562).into(), applied, &recent, Time(0)));
        assert!(!pool.has_for(Height(51)), "not yet");
        assert!(pool.choose(Height(51), 1000).is_empty());
        assert_eq!(pool.choose(Height(306), 1000).len(), 1);
        assert!(pool.expire(Height(562)).is_empty(), "a peer's is the peer's to ask again");
        assert!(pool.is_empty());
    }

    #[test]
    fn a_block_takes_from_each_in_turn() {
        let mut pool = pool();
        for number in 0..3 {
            offer(&mut pool, PEER, command(PEER, number, 10), 0);
            offer(&mut pool, ME, command(ME, number, 10), 0);
        }
        let origins = |chosen: Vec<Named>| -> Vec<u64> {
            chosen.iter().map(|named| named.command.origin.0).collect()
        };
        let room = BATCH_HEAD + 3 * command(ME, 1, 10).command.len();
        assert_eq!(origins(pool.choose(Height(1), room)), [1, 3, 1]);
        assert_eq!(origins(pool.choose(Height(1), room)), [3, 1, 3]);
        assert_eq!(pool.choose(Height(1), 1).len(), 1, "one at least");
        assert_eq!(pool.choose(Height(1), 10_000).len(), 6);
    }

    #[test]
    fn what_leaves_takes_everything_with_it() {
        let mut pool = pool();
        let named = command(ME, 1, 10);
        assert!(offer(&mut pool, ME, named.clone(), 0));
        assert!(!offer(&mut pool, PEER, named.clone(), 0), "it is there");
        assert!(pool.remove(named.id).is_some());
        assert!(pool.is_empty() && pool.by_until.is_empty());
        assert_eq!((pool.queues[&ME].bytes, pool.queues[&ME].order.len()), (0, 0));
        assert!(offer(&mut pool, ME, named, 0));
        assert_eq!(numbers(&pool.expire(Height(100))), [1]);
        assert!(pool.is_empty());
    }

    #[test]
    fn each_leader_is_told_once_and_everybody_after_a_while() {
        let mut pool = pool();
        offer(&mut pool, ME, command(ME, 1, 10), 0);
        assert!(pool.for_leader(Time(0)).is_empty(), "nobody leads");
        pool.led_by(LEADER);
        assert_eq!(numbers(&pool.for_leader(Time(0))), [1]);
        assert!(pool.for_leader(Time(0)).is_empty());
        pool.led_by(LEADER);
        assert!(pool.for_leader(Time(1)).is_empty(), "the same leader");
        pool.led_by(PEER);
        assert_eq!(numbers(&pool.for_leader(Time(2))), [1]);
        assert!(pool.spread_due(Time(SECOND / 2 - 1)).is_empty());
        assert_eq!(numbers(&pool.spread_due(Time(SECOND / 2))), [1]);
        assert!(pool.spread_due(Time(SECOND)).is_empty());
        assert_eq!(numbers(&pool.spread_due(Time(SECOND * 5 / 2))), [1], "messages may be lost");
        pool.led_by(ME);
        assert!(pool.for_leader(Time(3)).is_empty());
    }

    /// The rule against censorship: who is told of a command sees to it that the leader knows, and
    /// counts from then on.
    #[test]
    fn a_leader_is_held_responsible_for_what_it_was_told() {
        let mut pool = pool();
        pool.led_by(LEADER);
        offer(&mut pool, PEER, command(PEER, 1, 10), 0);
        offer(&mut pool, LEADER, command(LEADER, 2, 10), 0);
        assert_eq!(pool.neglected_at(NEXT), None, "the leader may not know it");
        assert!(pool.relay_due(NEXT, Time(SECOND - 1)).is_empty());
        assert_eq!(numbers(&pool.relay_due(NEXT, Time(SECOND))), [1], "its own it knows");
        assert!(pool.relay_due(NEXT, Time(2 * SECOND)).is_empty());
        assert_eq!(pool.neglected_at(NEXT), Some(Time(3 * SECOND)));
        pool.led_by(NodeId(4));
        assert_eq!(pool.neglected_at(NEXT), None, "the next one has its own time");
        assert_eq!(numbers(&pool.relay_due(NEXT, Time(4 * SECOND))), [1, 2]);
        pool.remove(command(PEER, 1, 10).id);
        pool.remove(command(LEADER, 2, 10).id);
        assert_eq!(pool.neglected_at(NEXT), None);
    }

    /// Else whoever offers commands of a later time would depose every leader.
    #[test]
    fn commands_that_are_not_due_depose_nobody() {
        let mut pool = pool();
        pool.led_by(LEADER);
        let early = Command { until: Height(300), ..command(PEER, 1, 10).command };
        assert!(offer(&mut pool, PEER, early.into(), 0), "this node may be behind");
        assert!(pool.relay_due(Height(43), Time(9 * SECOND)).is_empty());
        assert_eq!(pool.neglected_at(Height(43)), None);
        assert!(pool.choose(Height(43), 1000).is_empty(), "no leader could decide it");
        assert_eq!(numbers(&pool.relay_due(Height(44), Time(10 * SECOND))), [1]);
        assert_eq!(pool.neglected_at(Height(44)), Some(Time(12 * SECOND)), "from then on");
        assert_eq!(pool.neglected_at(Height(43)), None, "what was told too early does not count");
    }
}
