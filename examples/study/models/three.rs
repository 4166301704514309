//! Model 3: a term loop and a view loop; the view loop makes blocks in place.
//!
//! The term loop cancels the view's context and waits until its loop has ended, so that there are
//! never two.

use std::rc::Rc;

use quorate::scope::first::{First, first};
use smol::Task;

use super::{Block, Context, Host};

pub(super) async fn run(host: Rc<Host>) -> Block {
    let mut view = 0;
    loop {
        let context = Context::new();
        let mut viewing = start(&host, view, &context);
        match first(host.elected(), &mut viewing).await {
            First::A(next) => {
                context.cancel();
                viewing.await;
                view = next;
            }
            First::B(Some(block)) => return block,
            First::B(None) => view = host.elected().await,
        }
    }
}

fn start(host: &Rc<Host>, view: u64, context: &Rc<Context>) -> Task<Option<Block>> {
    let (host, context) = (host.clone(), context.clone());
    let executor = host.executor.clone();
    executor.spawn(async move { host.make_block(view, context).await })
}
