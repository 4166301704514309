//! Ours: the view is a future inside the term's. At an election the term drops it.

use std::rc::Rc;

use quorate::scope::first::{First, first};

use super::{Block, Context, Host};

pub(super) async fn run(host: Rc<Host>) -> Block {
    let mut view = 0;
    loop {
        // Nobody cancels this context: the application has no need to look.
        let making = host.clone().make_block(view, Context::new());
        match first(host.elected(), making).await {
            First::A(next) => view = next,
            First::B(Some(block)) => return block,
            First::B(None) => view = host.elected().await,
        }
    }
}
