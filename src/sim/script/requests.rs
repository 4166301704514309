//! The requests of a script's clients, by name, and what has become of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fortune {
    Waits,
    Answered,
    Refused,
}

/// All requests so far; clones are handles on the same list.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    list: Rc<RefCell<BTreeMap<String, Fortune>>>,
    writes: Rc<Cell<u32>>,
    reads: Rc<Cell<u32>>,
}

impl Requests {
    /// The numbers of the next `count` writes.
    pub fn next_writes(&self, count: u32) -> std::ops::RangeInclusive<u32> {
        let first = self.writes.get() + 1;
        self.writes.set(self.writes.get() + count);
        first..=self.writes.get()
    }

    /// The number of the next read.
    pub fn next_read(&self) -> u32 {
        self.reads.set(self.reads.get() + 1);
        self.reads.get()
    }

    /// How many writes there were.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.writes.get()
    }

    pub(super) fn begun(&self, request: &str) {
        self.list.borrow_mut().insert(request.into(), Fortune::Waits);
    }

    pub(super) fn ended(&self, request: &str, well: bool) {
        let fortune = if well { Fortune::Answered } else { Fortune::Refused };
        self.list.borrow_mut().insert(request.into(), fortune);
    }

    /// What has become of a request; `None` if nobody has made it.
    pub(super) fn fortune(&self, request: &str) -> Option<Fortune> {
        self.list.borrow().get(request).copied()
    }
}
