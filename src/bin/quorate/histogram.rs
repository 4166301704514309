//! Latencies in a fixed number of buckets: exact below 64 ns, above that each power of two is cut
//! into 64 equal parts, so a reported value is at most 1.6 % above the true one. Recording is an
//! addition in an array, whatever the range.

use std::fmt;
use std::time::Duration;

/// Each power of two is cut into 2^6 parts.
const PART_BITS: u32 = 6;
const PARTS: usize = 1 << PART_BITS;
/// 64 exact values, then 64 parts for each of the powers 2^6..2^63.
const BUCKETS: usize = PARTS * (64 - PART_BITS as usize + 1);

/// Counts of durations, in nanoseconds up to 2^64.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The longest one, exactly.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The span that `per_mille` thousandths of all did not exceed; zero if there are none.
    pub(crate) fn percentile(&self, per_mille: u64) -> Duration {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(highest(index).min(self.max));
            }
        }
        Duration::ZERO
    }
}

/// The bucket that holds `nanos`.
fn bucket(nanos: u64) -> usize {
    let bits = 64 - nanos.leading_zeros();
    let shift = bits.saturating_sub(PART_BITS + 1);
    shift as usize * PARTS + (nanos >> shift) as usize
}

/// The greatest value that falls into bucket `index`.
fn highest(index: usize) -> u64 {
    let shift = (index / PARTS).saturating_sub(1);
    let part = (index - shift * PARTS) as u64;
    (part << shift) | ((1 << shift) - 1)
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} spans)", self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, bucket, highest};
    use std::time::Duration;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_in_order() {
        let mut previous = None;
        for index in 0..BUCKETS {
            let top = highest(index);
            assert_eq!(bucket(top), index);
            if let Some(previous) = previous {
                assert!(top > previous);
                assert_eq!(bucket(previous + 1), index, "no gap below bucket {index}");
            }
            previous = Some(top);
        }
        assert_eq!(previous, Some(u64::MAX));
    }

    #[test]
    fn percentiles_are_at_most_a_part_too_high() {
        let mut spans = Histogram::new();
        for micros in 1..=1000 {
            spans.record(Duration::from_micros(micros));
        }
        assert_eq!(spans.count(), 1000);
        assert_eq!(spans.max(), Duration::from_millis(1));
        for (per_mille, micros) in [(500, 500.0), (900, 900.0), (990, 990.0), (999, 999.0)] {
            let got = spans.percentile(per_mille).as_secs_f64() * 1e6;
            assert!(got >= micros && got <= micros * 1.017, "{per_mille}: {got}");
        }
        assert_eq!(Histogram::new().percentile(500), Duration::ZERO);
    }
}
