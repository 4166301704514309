//! Where events go: to standard error, one line each, from a level that the configuration names.
//! A line that cannot be written is lost, and nothing else happens.

use quorate::env::output::Log;
use tracing::level_filters::LevelFilter;

/// Writes events of `level` and worse to standard error.
pub(crate) fn start(level: LevelFilter) {
    let format = tracing_subscriber::fmt().with_max_level(level).with_writer(|| Log);
    // The subscriber would tell of its own trouble with a macro that panics. The start can fail
    // only if it was called before.
    let _twice = format.log_internal_errors(false).try_init();
}
