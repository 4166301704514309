//! How a command ends when it does not succeed: a text for a person and a number for a script.

use std::fmt;

/// The number that the process ends with; the table stands in `--help`, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The request was refused, or what was asked for is not there.
    Refused = 1,
    /// The command line, the environment or the configuration file makes no sense.
    Usage = 2,
    /// No endpoint answers.
    Unreachable = 3,
    /// The data directory cannot be used: locked, damaged, or another node's.
    Data = 4,
    /// The node had to stop while it ran: its disk failed, or an address cannot be listened on.
    Fatal = 5,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What, where, and what to do.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
