//! Model 1: a term loop, and a task beside it for each block that is being made.
//!
//! The loop stays free; what it started runs on until it looks at its context, so each block must
//! be asked which view it is from.

use std::rc::Rc;

use async_channel::{Sender, bounded};
use quorate::scope::first::{First, first};

use super::{Block, Context, Host};

pub(super) async fn run(host: Rc<Host>) -> Block {
    let (blocks, made) = bounded(16);
    let mut view = 0;
    loop {
        let context = Context::new();
        start(&host, view, &context, blocks.clone());
        loop {
            match first(host.elected(), made.recv()).await {
                First::A(next) => {
                    context.cancel();
                    view = next;
                    break;
                }
                First::B(Ok(Block { view: of })) if of == view => return Block { view },
                // Too late, or of nobody.
                First::B(_) => {}
            }
        }
    }
}

fn start(host: &Rc<Host>, view: u64, context: &Rc<Context>, blocks: Sender<Block>) {
    let (host, context) = (host.clone(), context.clone());
    let executor = host.executor.clone();
    let making = executor.spawn(async move {
        if let Some(block) = host.make_block(view, context).await {
            // The term may be over.
            let _ = blocks.send(block).await;
        }
    });
    #[allow(clippy::disallowed_methods)] // as a goroutine: nobody can end it from outside
    making.detach();
}
