//! How large this engine's futures are. A scope's future is all the memory that the scope takes
//! before it waits for its first message, so it is bounded here, and a change that makes one grow
//! says so.
//!
//! ```console
//! $ cargo test --lib helix::protocol::sizes -- --nocapture
//! ```

use std::rc::Rc;

use crate::helix::commands;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::election::Ticket;
use crate::helix::protocol::term::Term;
use crate::helix::protocol::{node, term, view};
use crate::machine::{Committed, StateMachine};

struct Nothing;

impl StateMachine for Nothing {
    type Response = ();

    fn apply(&mut self, _: Committed<'_>) {}

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn of_node<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

fn of_life<F>(_: impl FnOnce(Rc<Core>) -> F) -> usize {
    size_of::<F>()
}

fn of_term<'a, F>(_: impl FnOnce(&'a Core) -> F) -> usize {
    size_of::<F>()
}

fn of_view<'a, F>(_: impl FnOnce(&'a Term<'a>, Ticket) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn no_future_grows_beyond_its_limit() {
    // The limit of each is about a fifth above what it is at present.
    let futures = [
        ("life of a node with its service", of_node(commands::node::live::<Nothing>), 424),
        ("life of the engine", of_life(node::live), 5424),
        ("term", of_term(term::run), 3680),
        ("view", of_view(view::run), 2128),
    ];
    let mut large = Vec::new();
    for (name, bytes, bytes_max) in futures {
        println!("helix, {name}: {bytes} bytes of {bytes_max}");
        if bytes > bytes_max {
            large.push(name);
        }
    }
    assert!(large.is_empty(), "larger than their limits: {large:?}");
}
