//! Somebody who is told what happens inside a scope, and changes nothing there.

use std::fmt;
use std::rc::Rc;

/// Somebody who is told every event, synchronously; `None` inside costs nothing.
pub struct Observer<E>(Option<Rc<dyn Fn(E)>>);

impl<E> Observer<E> {
    /// Calls `told` for each event. It must not call back into whoever tells.
    #[must_use]
    pub fn new(told: impl Fn(E) + 'static) -> Self {
        Self(Some(Rc::new(told)))
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Tells the event, which is made only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> E) {
        if let Some(told) = &self.0 {
            told(event());
        }
    }
}

impl<E> Clone for Observer<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Default for Observer<E> {
    fn default() -> Self {
        Self(None)
    }
}

impl<E> fmt::Debug for Observer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observer({})", if self.is_some() { "listening" } else { "nobody" })
    }
}
