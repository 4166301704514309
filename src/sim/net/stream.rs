//! What a damaged link does to the frames on it: the receiver's end of one connection, with the very
//! decoder of the real transport.
//!
//! A link that is well hands whole frames over, which is what its bytes would come to. Once a bit on
//! it has flipped or its bytes have stopped in the middle of a frame, it is a stream of bytes: the
//! decoder refuses them, or waits for the rest of a frame until its patience is over; either way the
//! connection breaks, what is on its way is lost, and another one is made after a pause.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::env::{Rng, Time};
use crate::tcp::TcpLimits;
use crate::tcp::frame::{Inlet, Outlet};

/// What happens to the bytes of a frame on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// A bit flips, of the header or the payload: the byte in thousandths of all.
    Flip { at: u64, bit: u8 },
    /// They stop, and nothing comes after them: after so many thousandths.
    Stop { at: u64 },
}

impl Damage {
    /// Any bit, or any place to stop.
    pub(super) fn any(rng: &Rng) -> Self {
        let at = rng.within(0..=999);
        if rng.chance(200) {
            Self::Stop { at }
        } else {
            Self::Flip { at, bit: rng.within(0..=7) as u8 }
        }
    }
}

/// The receiver's end of a connection.
#[derive(Default)]
pub(super) struct Stream {
    /// What has arrived and is no frame yet; none while the connection is well.
    inlet: Option<Inlet>,
    /// Nothing more comes.
    stopped: bool,
    /// When the receiver's patience with a frame is over.
    pub(super) due: Option<Time>,
    /// When the next connection will have been made, if the last one broke.
    broken_until: Time,
}

impl Stream {
    /// Whether frames that were sent at `sent` arrive at `now` whole, as they were sent.
    pub(super) fn is_well(&self, sent: Time) -> bool {
        self.inlet.is_none() && sent >= self.broken_until
    }

    /// A frame arrives, damaged or behind a damaged one; returns the frames that come out.
    pub(super) fn receive(
        &mut self,
        frame: &Bytes,
        damage: Option<Damage>,
        (sent, now): (Time, Time),
        rng: &Rng,
    ) -> Vec<Bytes> {
        let limits = TcpLimits::default();
        if sent < self.broken_until || self.stopped {
            return vec![];
        }
        let mut outlet = Outlet::new(limits.frame_bytes_max);
        if !outlet.push(frame) {
            return vec![];
        }
        let mut bytes = outlet.bytes().to_vec();
        let place = |at: u64| (bytes.len() as u64 * at / 1000) as usize;
        match damage {
            Some(Damage::Flip { at, bit }) => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Some(Damage::Stop { at }) => {
                bytes.truncate(place(at));
                self.stopped = true;
            }
            None => {}
        }
        let inlet = self.inlet.get_or_insert_with(|| Inlet::new(limits.frame_bytes_max));
        let mut frames = vec![];
        let mut rest = &bytes[..];
        loop {
            match inlet.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) if rest.is_empty() => break,
                Ok(None) => rest = &rest[inlet.feed(rest)..],
                Err(_) => {
                    self.break_off(now, rng);
                    return frames;
                }
            }
        }
        self.wait(now, &limits);
        frames
    }

    /// Sets the time at which the receiver gives a frame up that is not there as a whole.
    fn wait(&mut self, now: Time, limits: &TcpLimits) {
        match self.inlet.as_ref().and_then(Inlet::partial) {
            Some(bytes) => {
                let due = now + limits.patience_with(bytes);
                self.due = Some(self.due.map_or(due, |before| before.min(due)));
            }
            // It stopped between two frames: that is seen when the sender hears nothing of it.
            None if self.stopped => self.due = Some(now + limits.dead_after),
            None => self.reset(),
        }
    }

    /// Ends the connection; another one is made after a pause.
    pub(super) fn break_off(&mut self, now: Time, rng: &Rng) {
        let limits = TcpLimits::default();
        let pause = rng.between(limits.retry_min, limits.retry_min * 8);
        *self = Self { broken_until: now + pause, ..Self::default() };
    }

    /// It ends as its ends do: one of them has died.
    pub(super) fn reset(&mut self) {
        *self = Self { broken_until: self.broken_until, ..Self::default() };
    }

    /// Whether nothing is to be remembered of it.
    pub(super) fn is_new(&self, now: Time) -> bool {
        self.inlet.is_none() && !self.stopped && now >= self.broken_until + Duration::from_secs(60)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream(stopped: {}, until {:?})", self.stopped, self.broken_until)
    }
}

#[cfg(test)]
mod tests {
    use super::{Damage, Stream};
    use crate::env::{Rng, Time};
    use crate::tcp::TcpLimits;
    use bytes::Bytes;
    use std::time::Duration;

    const FRAME: usize = 40;
    /// Between two frames; each takes half of it.
    const STEP: Duration = Duration::from_millis(20);

    fn frame(number: u16) -> Bytes {
        let mut bytes = vec![7; FRAME];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        bytes.into()
    }

    /// What comes out of a link on which one frame is damaged and many follow, one after the other;
    /// and when the first one came.
    fn told(seed: u64, damage: Damage) -> (Vec<Bytes>, Option<Duration>) {
        let rng = Rng::seeded(seed);
        let (mut stream, mut now) = (Stream::default(), Time::ZERO);
        let (mut frames, mut first) = (vec![], None);
        for number in 0..500 {
            if stream.due.is_some_and(|due| due <= now) {
                stream.break_off(now, &rng);
            }
            let damage = (number == 0).then_some(damage);
            let arrived = now + STEP / 2;
            let came = if stream.is_well(now) && damage.is_none() {
                vec![frame(number)]
            } else {
                stream.receive(&frame(number), damage, (now, arrived), &rng)
            };
            if !came.is_empty() {
                first.get_or_insert(arrived.since(Time::ZERO));
            }
            frames.extend(came);
            now = now + STEP;
        }
        (frames, first)
    }

    #[test]
    fn whatever_is_damaged_the_link_carries_again_and_has_told_no_lie() {
        let limits = TcpLimits::default();
        let longest = limits.dead_after + limits.retry_min * 8 + 2 * STEP;
        let flips = (0..1000).flat_map(|at| (0..8).map(move |bit| Damage::Flip { at, bit }));
        let stops = (0..1000).map(|at| Damage::Stop { at });
        for (damage, seed) in flips.chain(stops).zip(0..) {
            let (frames, first) = told(seed, damage);
            assert!(first.is_some_and(|first| first <= longest), "{damage:?}: {first:?}");
            let numbers = frames.iter().map(|frame| u16::from_le_bytes([frame[0], frame[1]]));
            let numbers: Vec<_> = numbers.collect();
            assert!(numbers.is_sorted() && numbers[0] > 0, "{damage:?}: {numbers:?}");
            assert!(
                frames.iter().zip(numbers).all(|(bytes, of)| *bytes == frame(of)),
                "{damage:?}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_is_found_at_once_and_a_stop_takes_patience() {
        let quick = Duration::from_secs(1);
        for at in 0..1000 {
            let (_, first) = told(at, Damage::Flip { at, bit: (at % 8) as u8 });
            assert!(first < Some(quick), "at {at}: {first:?}");
            let (_, first) = told(at, Damage::Stop { at });
            assert!(first > Some(TcpLimits::default().frame_patience), "at {at}: {first:?}");
        }
    }
}
