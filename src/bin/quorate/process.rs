//! What the operating system has counted for a process: processor time, context switches, bytes
//! written, memory. Read from `/proc`, so it works for any program, ours or not.

use std::fs;
use std::io;

/// Linux counts processor time in hundredths of a second towards programs, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters of one process since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads, also of those that have ended.
    pub(crate) cpu_seconds: f64,
    /// Voluntary and involuntary ones, of the threads that live.
    pub(crate) context_switches: u64,
    /// Bytes that it caused to be written to a device; `None` if we may not know.
    pub(crate) written_bytes: Option<u64>,
    /// Bytes of memory at present.
    pub(crate) resident_bytes: u64,
    /// The most it ever had.
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Reads the counters of process `pid`.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            cpu_seconds: cpu_seconds(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?,
            context_switches: context_switches(pid)?,
            written_bytes: fs::read_to_string(format!("/proc/{pid}/io"))
                .ok()
                .and_then(|io| field(&io, "write_bytes")),
            resident_bytes: field(&status, "VmRSS").unwrap_or(0) * 1024,
            peak_bytes: field(&status, "VmHWM").unwrap_or(0) * 1024,
        })
    }

    /// What was counted between `before` and this; the memory is this one's.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            context_switches: self.context_switches.saturating_sub(before.context_switches),
            written_bytes: self
                .written_bytes
                .zip(before.written_bytes)
                .map(|(now, then)| now.saturating_sub(then)),
            ..*self
        }
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`; the second field, a name in brackets, may hold anything.
fn cpu_seconds(stat: &str) -> io::Result<f64> {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut ticks = after_name.split_ascii_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<f64>().ok();
    match (next(), next()) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS_PER_SECOND),
        _ => Err(io::Error::other("/proc/PID/stat has an unknown form")),
    }
}

fn context_switches(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ended meanwhile takes its count with it.
        let Ok(status) = fs::read_to_string(entry?.path().join("status")) else {
            continue;
        };
        sum += field(&status, "voluntary_ctxt_switches").unwrap_or(0)
            + field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
    }
    Ok(sum)
}

/// The number behind `name:` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{Usage, cpu_seconds, field};

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text =
            "nonvoluntary_ctxt_switches:\t3\nvoluntary_ctxt_switches:\t12\nVmRSS:\t  44 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches"), Some(12));
        assert_eq!(field(text, "VmRSS"), Some(44));
        assert_eq!(field(text, "VmHWM"), None);
    }

    #[test]
    fn a_bracket_in_the_name_of_a_process_does_not_confuse() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat).expect("well formed"), 2.0);
        assert!(cpu_seconds("7 (a) S 1").is_err());
    }

    #[test]
    fn this_process_is_counted() {
        let usage = Usage::of(std::process::id()).expect("we exist");
        assert!(usage.peak_bytes >= usage.resident_bytes && usage.resident_bytes > 0);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
