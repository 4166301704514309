//! One value, many waiters: the last value is kept, waiters hear of a change, nobody hears of
//! every change.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use event_listener::Event;

struct Inner<T> {
    value: RefCell<T>,
    version: Cell<u64>,
    changed: Event,
    open: Cell<bool>,
}

/// The writing side: there is one.
pub struct Source<T>(Rc<Inner<T>>);

/// The reading side; clones each remember what they have seen.
pub struct Watch<T> {
    inner: Rc<Inner<T>>,
    seen: u64,
}

/// A value to publish and its first watcher.
#[must_use]
pub fn watch<T: Clone>(value: T) -> (Source<T>, Watch<T>) {
    let inner = Rc::new(Inner {
        value: RefCell::new(value),
        version: Cell::new(0),
        changed: Event::new(),
        open: Cell::new(true),
    });
    (Source(inner.clone()), Watch { inner, seen: 0 })
}

impl<T: Clone> Source<T> {
    /// Publishes a value and wakes every waiter.
    pub fn set(&self, value: T) {
        self.0.value.replace(value);
        self.0.version.set(self.0.version.get() + 1);
        self.0.changed.notify(usize::MAX);
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        self.0.open.set(false);
        self.0.changed.notify(usize::MAX);
    }
}

impl<T: Clone> Watch<T> {
    /// The present value.
    #[must_use]
    pub fn get(&self) -> T {
        self.inner.value.borrow().clone()
    }

    /// Waits for a value that this watcher has not seen; `None` when the source is gone.
    ///
    /// Cancel safe: a change that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Option<T> {
        loop {
            let listener = self.inner.changed.listen();
            let version = self.inner.version.get();
            if version != self.seen {
                self.seen = version;
                return Some(self.get());
            }
            if !self.inner.open.get() {
                return None;
            }
            listener.await;
        }
    }
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), seen: self.seen }
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source(version {})", self.0.version.get())
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch(seen {} of {})", self.seen, self.inner.version.get())
    }
}

#[cfg(test)]
mod tests {
    use super::watch;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn each_watcher_hears_of_the_last_value() {
        let (source, mut first) = watch(0);
        let mut second = first.clone();
        assert_eq!(block_on(poll_once(first.changed())), None);
        source.set(1);
        source.set(2);
        assert_eq!(block_on(first.changed()), Some(2));
        assert_eq!(block_on(second.changed()), Some(2));
        assert_eq!(block_on(poll_once(first.changed())), None);
    }

    #[test]
    fn a_gone_source_ends_the_wait() {
        let (source, mut reader) = watch(0);
        source.set(3);
        drop(source);
        assert_eq!(block_on(reader.changed()), Some(3));
        assert_eq!(block_on(reader.changed()), None);
    }
}
