//! What a node's status says, and how that is compared with what a script says.

use std::cmp::Ordering;
use std::fmt;

/// A value of a node's status, in the notation of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number and its unit: `i3`, `t1`, `n2`; a space stands for none.
    Number(char, u64),
    /// Anything else: `none`, `leader`.
    Word(String),
}

impl Value {
    /// What a script says. Whatever it is, it is a value.
    pub(super) fn parse(word: &str) -> Self {
        let (unit, digits) = match word.chars().next() {
            Some(unit) if unit.is_ascii_alphabetic() => (unit, &word[1..]),
            _ => (' ', word),
        };
        let number = digits.parse().ok();
        number.map_or_else(|| Self::Word(word.into()), |number| Self::Number(unit, number))
    }

    /// A number, or `none`.
    #[must_use]
    pub fn perhaps(unit: char, number: Option<u64>) -> Self {
        number.map_or_else(|| Self::Word("none".into()), |number| Self::Number(unit, number))
    }

    /// Numbers of one unit have an order; anything else is equal or not.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(unit, a), Self::Number(other, b)) if unit == other => Some(a.cmp(b)),
            _ => (self == other).then_some(Ordering::Equal),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(' ', number) => write!(f, "{number}"),
            Self::Number(unit, number) => write!(f, "{unit}{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Relation {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "=" => Self::Equal,
            "!=" => Self::Unequal,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    pub(super) fn holds(self, found: &Value, said: &Value) -> bool {
        let order = found.compare(said);
        match self {
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Equal => order == Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => order.is_some_and(Ordering::is_le),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => order.is_some_and(Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Relation, Value};

    fn holds(found: &str, relation: &str, said: &str) -> bool {
        let relation = Relation::parse(relation).expect("a relation");
        relation.holds(&Value::parse(found), &Value::parse(said))
    }

    #[test]
    fn numbers_of_one_unit_have_an_order_and_nothing_else_has() {
        assert!(holds("i10", ">", "i9") && holds("i9", ">=", "i9") && holds("v0", "<", "v1"));
        assert!(holds("none", "=", "none") && holds("n1", "!=", "none"));
        assert!(!holds("i9", ">=", "t1") && !holds("none", "<", "n1"), "not the same unit");
        assert!(holds("9", "<=", "9") && !holds("10", "<=", "9"));
    }

    #[test]
    fn values_read_as_they_are_written() {
        for word in ["i3", "none", "12", "n1,n2", ""] {
            assert_eq!(Value::parse(word).to_string(), word);
        }
    }
}
