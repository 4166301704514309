//! The simulator's network: takes the frames out of every node's [`Wire`], decides their fate by
//! the seed, and delivers them at their virtual instant.
//!
//! Frames are delayed, lost, duplicated, reordered and corrupted ([`Weather`]); links are cut in
//! one direction at a time; and a [`Gate`] decides the fate of single frames for scripted
//! scenarios, which may also hold frames and release them in an order of their own.

mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::env::net::Wire;
use crate::env::{Rng, Time};
use crate::id::NodeId;

use stream::{Damage, Stream};

/// Frames that may be on their way at once in a whole world; more are lost and counted. Five
/// nodes with full pipelines have a few thousand.
pub const FLIGHTS_MAX: usize = 65_536;

/// How badly the network behaves. Chances are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// The shortest delay of a frame.
    pub delay_min: Duration,
    /// The longest ordinary delay.
    pub delay_max: Duration,
    /// How often a frame takes ten times as long as it should.
    pub slow: u32,
    /// How often a frame is lost.
    pub loss: u32,
    /// How often a frame arrives twice.
    pub duplicate: u32,
    /// How often a bit of a frame flips, of its header or its payload, or its bytes stop in the
    /// middle: the connection breaks then.
    pub corrupt: u32,
    /// Whether a damaged frame is handed on, past the transport's checks. This shows that decoding
    /// survives anything, and promises nothing about the rest.
    pub deliver_corrupt: bool,
    /// Whether frames of one link may overtake each other.
    pub reorder: bool,
}

impl Weather {
    /// A quiet rack: a tenth to half a millisecond, in order, nothing lost.
    pub const CALM: Self = Self {
        delay_min: Duration::from_micros(100),
        delay_max: Duration::from_micros(500),
        slow: 0,
        loss: 0,
        duplicate: 0,
        corrupt: 0,
        deliver_corrupt: false,
        reorder: false,
    };

    /// Everything at once: one to thirty milliseconds, a twentieth lost, doubled, or very late.
    pub const FOUL: Self = Self {
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(30),
        slow: 50,
        loss: 50,
        duplicate: 50,
        corrupt: 5,
        deliver_corrupt: false,
        reorder: true,
    };
}

/// What becomes of a frame at a [`Gate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on its way.
    Pass,
    /// It is lost.
    Drop,
    /// It goes on its way twice.
    Twice,
    /// It waits until it is released.
    Hold,
}

/// A frame between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// Its bytes.
    pub frame: Bytes,
}

/// How a frame travels.
#[derive(Debug, Clone, Copy)]
struct Carriage {
    sent: Time,
    damage: Option<Damage>,
}

/// What happened to a frame; told to the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It left its sender.
    Sent,
    /// It was handed to its receiver.
    Delivered,
    /// It was lost on the way.
    Lost,
    /// It is held.
    Held,
}

/// Decides the fate of each frame as it leaves.
pub type Gate = Box<dyn FnMut(&Flight) -> Fate>;

/// The network of one world.
pub struct Network {
    rng: Rng,
    weather: Weather,
    wires: BTreeMap<NodeId, Wire>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    flights: BTreeMap<(Time, u64), (Flight, Carriage)>,
    /// The links whose bytes have been damaged.
    streams: BTreeMap<(NodeId, NodeId), Stream>,
    sent: u64,
    last: BTreeMap<(NodeId, NodeId), Time>,
    held: Vec<Flight>,
    gate: Option<Gate>,
}

impl Network {
    /// A calm network without nodes.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            weather: Weather::CALM,
            wires: BTreeMap::new(),
            cuts: BTreeSet::new(),
            flights: BTreeMap::new(),
            streams: BTreeMap::new(),
            sent: 0,
            last: BTreeMap::new(),
            held: vec![],
            gate: None,
        }
    }

    /// Connects a node.
    pub fn plug(&mut self, wire: Wire) {
        self.wires.insert(wire.id(), wire);
    }

    /// Disconnects a node that has died: what is on its way to it is lost, what it sent arrives.
    pub fn unplug(&mut self, node: NodeId) {
        self.wires.remove(&node);
        let of_it = self.streams.iter_mut().filter(|((from, to), _)| *from == node || *to == node);
        of_it.for_each(|(_, stream)| stream.reset());
    }

    /// Changes the weather for frames that leave from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Whether nothing is lost, doubled, late, damaged or out of order.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.weather == Weather::CALM && self.gate.is_none()
    }

    /// Sets or removes the gate.
    pub fn set_gate(&mut self, gate: Option<Gate>) {
        self.gate = gate;
    }

    /// Cuts the link in this direction, also for what is on its way.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    /// Mends the link in this direction.
    pub fn mend(&mut self, from: NodeId, to: NodeId) {
        self.cuts.remove(&(from, to));
    }

    /// Mends every link.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// Whether frames pass in this direction.
    #[must_use]
    pub fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// Whether frames come through in this direction: it is open, and no connection is broken or
    /// has stopped.
    #[must_use]
    pub fn is_well(&self, from: NodeId, to: NodeId, now: Time) -> bool {
        let well = self.streams.get(&(from, to)).is_none_or(|stream| stream.is_well(now));
        well && self.is_open(from, to)
    }

    /// Takes everything that `node` has put on its wire and sends it on its way.
    pub fn collect(&mut self, node: NodeId, now: Time, told: &mut impl FnMut(Passage, &Flight)) {
        let Some(wire) = self.wires.get(&node).cloned() else {
            return;
        };
        for to in wire.peers() {
            while let Some(frame) = wire.take(to) {
                self.send(Flight { from: node, to, frame }, now, told);
            }
        }
    }

    /// Sends one frame on its way. Its sender is who the flight says, so this is also how somebody
    /// in the middle speaks for another.
    pub fn send(&mut self, flight: Flight, now: Time, told: &mut impl FnMut(Passage, &Flight)) {
        told(Passage::Sent, &flight);
        let open = self.is_open(flight.from, flight.to);
        let fate = match &mut self.gate {
            _ if !open => Fate::Drop,
            Some(gate) => gate(&flight),
            None => Fate::Pass,
        };
        match fate {
            Fate::Drop => told(Passage::Lost, &flight),
            Fate::Hold if self.held.len() >= FLIGHTS_MAX => told(Passage::Lost, &flight),
            Fate::Hold => {
                told(Passage::Held, &flight);
                self.held.push(flight);
            }
            Fate::Twice => {
                self.fly(flight.clone(), now, None);
                self.fly(flight, now, None);
            }
            Fate::Pass => self.expose(flight, now, told),
        }
    }

    /// Lets the weather decide.
    fn expose(&mut self, flight: Flight, now: Time, told: &mut impl FnMut(Passage, &Flight)) {
        let weather = self.weather;
        if weather.loss > 0 && self.rng.chance(weather.loss) {
            return told(Passage::Lost, &flight);
        }
        let mut damage = None;
        let flight = if weather.corrupt > 0 && self.rng.chance(weather.corrupt) {
            if weather.deliver_corrupt {
                self.corrupted(flight)
            } else {
                damage = Some(Damage::any(&self.rng));
                flight
            }
        } else {
            flight
        };
        if weather.duplicate > 0 && self.rng.chance(weather.duplicate) {
            self.fly(flight.clone(), now, None);
        }
        self.fly(flight, now, damage);
    }

    fn corrupted(&self, flight: Flight) -> Flight {
        let mut frame = flight.frame.to_vec();
        if !frame.is_empty() {
            let at = self.rng.below(frame.len());
            frame[at] ^= 1 << self.rng.below(8);
        }
        Flight { frame: frame.into(), ..flight }
    }

    fn fly(&mut self, flight: Flight, now: Time, damage: Option<Damage>) {
        if self.flights.len() >= FLIGHTS_MAX {
            return;
        }
        let weather = self.weather;
        let mut delay = self.rng.between(weather.delay_min, weather.delay_max);
        if weather.slow > 0 && self.rng.chance(weather.slow) {
            delay *= 10;
        }
        let mut at = now + delay;
        if !weather.reorder {
            let last = self.last.entry((flight.from, flight.to)).or_default();
            at = at.max(*last);
            *last = at;
        }
        self.sent += 1;
        self.flights.insert((at, self.sent), (flight, Carriage { sent: now, damage }));
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Time> {
        let next = self.flights.keys().next().map(|&(at, _)| at);
        let due = self.streams.values().filter_map(|stream| stream.due);
        next.into_iter().chain(due).min()
    }

    /// Hands over what has arrived by `now`, in the order of arrival.
    pub fn deliver_due(&mut self, now: Time, told: &mut impl FnMut(Passage, &Flight)) {
        self.give_up(now);
        while let Some(entry) = self.flights.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (flight, carriage) = entry.remove();
            match self.wires.get(&flight.to).cloned() {
                Some(wire) if self.is_open(flight.from, flight.to) => {
                    self.arrive(flight, carriage, now, &wire, told);
                }
                _ => told(Passage::Lost, &flight),
            }
        }
    }

    /// A frame comes to the end of its link.
    fn arrive(
        &mut self,
        flight: Flight,
        carriage: Carriage,
        now: Time,
        wire: &Wire,
        told: &mut impl FnMut(Passage, &Flight),
    ) {
        let Carriage { sent, damage } = carriage;
        let link = (flight.from, flight.to);
        let well = self.streams.get(&link).is_none_or(|stream| stream.is_well(sent));
        if well && damage.is_none() {
            told(Passage::Delivered, &flight);
            return wire.deliver(flight.from, flight.frame);
        }
        let stream = self.streams.entry(link).or_default();
        let frames = stream.receive(&flight.frame, damage, (sent, now), &self.rng);
        if stream.is_new(now) {
            self.streams.remove(&link);
        }
        if frames.is_empty() {
            told(Passage::Lost, &flight);
        }
        for frame in frames {
            let flight = Flight { frame, ..flight };
            told(Passage::Delivered, &flight);
            wire.deliver(flight.from, flight.frame);
        }
    }

    /// Breaks the connections whose receivers have waited too long for the rest of a frame.
    fn give_up(&mut self, now: Time) {
        for stream in self.streams.values_mut() {
            if stream.due.is_some_and(|due| due <= now) {
                stream.break_off(now, &self.rng);
            }
        }
    }

    /// Hands a frame over at once, past weather, cuts and gate: a word that nobody may have said.
    pub fn hand_over(&mut self, flight: Flight) {
        if let Some(wire) = self.wires.get(&flight.to) {
            wire.deliver(flight.from, flight.frame);
        }
    }

    /// The held frames, oldest first.
    #[must_use]
    pub fn held(&self) -> &[Flight] {
        &self.held
    }

    /// Sends the held frames that `chosen` picks on their way, in the order given by `held`, and
    /// says how many.
    pub fn release(&mut self, now: Time, chosen: impl Fn(&Flight) -> bool) -> usize {
        let released: Vec<_> = self.held.extract_if(.., |flight| chosen(flight)).collect();
        let count = released.len();
        for flight in released {
            self.fly(flight, now, None);
        }
        count
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({} in flight, {} cuts)", self.flights.len(), self.cuts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Network, Passage, Weather};
    use crate::env::net::{Net, NetLimits, net};
    use crate::env::{Rng, Time};
    use crate::id::NodeId;
    use bytes::Bytes;

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    fn pair(seed: u64) -> (Network, Net, Net) {
        let mut network = Network::new(Rng::seeded(seed));
        let (one, wire_one) = net(ONE, [TWO], NetLimits::default());
        let (two, wire_two) = net(TWO, [ONE], NetLimits::default());
        network.plug(wire_one);
        network.plug(wire_two);
        (network, one, two)
    }

    fn send_hundred(network: &mut Network, one: &Net) {
        for n in 0..100_u8 {
            one.send(TWO, Bytes::from(vec![n]));
        }
        network.collect(ONE, Time::ZERO, &mut |_, _| {});
    }

    fn arrive(network: &mut Network, two: &Net) -> Vec<u8> {
        network.deliver_due(Time(10_000_000_000), &mut |_, _| {});
        std::iter::from_fn(|| two.receive()).map(|(_, frame)| frame[0]).collect()
    }

    #[test]
    fn calm_weather_keeps_every_frame_in_order() {
        let (mut network, one, two) = pair(1);
        send_hundred(&mut network, &one);
        assert!(network.next_arrival() >= Some(Time(100_000)));
        assert_eq!(arrive(&mut network, &two), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn foul_weather_loses_doubles_and_reorders() {
        let (mut network, one, two) = pair(1);
        network.set_weather(Weather { loss: 200, duplicate: 200, ..Weather::FOUL });
        send_hundred(&mut network, &one);
        let got = arrive(&mut network, &two);
        let mut distinct = got.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() < 100, "some are lost");
        assert!(distinct.len() < got.len(), "some come twice");
        assert!(!got.is_sorted(), "some overtake others");
    }

    #[test]
    fn a_cut_stops_one_direction_also_for_frames_on_their_way() {
        let (mut network, one, two) = pair(1);
        send_hundred(&mut network, &one);
        network.cut(ONE, TWO);
        two.send(ONE, Bytes::from_static(b"x"));
        network.collect(TWO, Time::ZERO, &mut |_, _| {});
        assert!(arrive(&mut network, &two).is_empty());
        assert!(one.receive().is_some(), "the other direction is open");
    }

    #[test]
    fn held_frames_are_released_in_the_chosen_order() {
        let (mut network, one, two) = pair(1);
        network.set_gate(Some(Box::new(|_| Fate::Hold)));
        send_hundred(&mut network, &one);
        assert!(arrive(&mut network, &two).is_empty());
        assert_eq!(network.release(Time::ZERO, |flight| flight.frame[0] == 9), 1);
        assert_eq!(network.release(Time::ZERO, |flight| flight.frame[0] < 2), 2);
        assert_eq!(arrive(&mut network, &two), [9, 0, 1]);
        assert_eq!(network.held().len(), 97);
    }

    #[test]
    fn a_damaged_frame_breaks_its_connection_unless_it_is_to_be_handed_on() {
        let (mut network, one, two) = pair(1);
        let foul = Weather { corrupt: 1000, ..Weather::CALM };
        network.set_weather(foul);
        send_hundred(&mut network, &one);
        assert!(arrive(&mut network, &two).is_empty());
        let (mut network, one, two) = pair(1);
        network.set_weather(Weather { deliver_corrupt: true, ..foul });
        send_hundred(&mut network, &one);
        let got = arrive(&mut network, &two);
        assert_eq!(got.len(), 100);
        assert_ne!(got, (0..100).collect::<Vec<_>>(), "one bit of each is wrong");
    }

    #[test]
    fn the_passage_of_each_frame_is_told() {
        let (mut network, one, _two) = pair(1);
        let mut told = vec![];
        one.send(TWO, Bytes::from_static(b"x"));
        network.collect(ONE, Time::ZERO, &mut |passage, _| told.push(passage));
        network.deliver_due(Time(1_000_000), &mut |passage, _| told.push(passage));
        assert_eq!(told, [Passage::Sent, Passage::Delivered]);
    }
}
