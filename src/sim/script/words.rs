//! The small words of scripts: numbers, spans, nodes.

use std::str::FromStr;
use std::time::Duration;

use crate::id::NodeId;

/// A number without a unit.
///
/// # Errors
/// It is none.
pub fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

/// A number with its unit before it, as `i3`, `h1`, `v0`.
///
/// # Errors
/// It is none of that unit.
pub(crate) fn counted<T: FromStr>(unit: char, word: &str) -> Result<T, String> {
    let digits = word.strip_prefix(unit).and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| format!("expected `{unit}` and a number, found `{word}`"))
}

/// One node, as `n2`.
///
/// # Errors
/// It is none.
pub fn one_node(word: &str) -> Result<NodeId, String> {
    match word.strip_prefix('n').and_then(|digits| digits.parse().ok()) {
        Some(id @ 1..=9) => Ok(NodeId(id)),
        _ => Err(format!("nodes are n1 to n9, not `{word}`")),
    }
}

/// A list of nodes, as `n1,n3`; `None` for `*`.
///
/// # Errors
/// It is none.
pub fn nodes(word: &str) -> Result<Option<Vec<NodeId>>, String> {
    if word == "*" {
        return Ok(None);
    }
    word.split(',').map(one_node).collect::<Result<Vec<_>, _>>().map(Some)
}

/// A span of time, as `150ms` or `2s`.
///
/// # Errors
/// It is none.
pub fn span(word: &str) -> Result<Duration, String> {
    if let Some(millis) = word.strip_suffix("ms") {
        return number(millis).map(Duration::from_millis);
    }
    let seconds = word.strip_suffix('s').ok_or("a span is like 150ms or 2s")?;
    number(seconds).map(Duration::from_secs)
}
