//! Where events go: to standard error, one line each, from a level that the configuration names.

use tracing::level_filters::LevelFilter;

/// Writes events of `level` and worse to standard error.
pub(crate) fn start(level: LevelFilter) {
    // It can fail only if it was called before.
    let _twice =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).try_init();
}
