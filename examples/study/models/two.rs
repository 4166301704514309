//! Model 2: a main loop that never waits for long, and a worker that makes blocks in place.
//!
//! The main loop cancels the worker's context and leaves word of the election; the worker finds it
//! when the application has returned.

use std::cell::RefCell;
use std::rc::Rc;

use async_channel::{Receiver, bounded};
use quorate::scope::first::{First, first};

use super::{Block, Context, Host};

pub(super) async fn run(host: Rc<Host>) -> Block {
    let (words, inbox) = bounded(16);
    let current = Rc::new(RefCell::new(Context::new()));
    let mut worker = host.executor.spawn(work(host.clone(), current.clone(), inbox));
    loop {
        match first(host.elected(), &mut worker).await {
            First::A(next) => {
                current.borrow().cancel();
                // The worker may be gone.
                let _ = words.send(next).await;
            }
            First::B(block) => return block,
        }
    }
}

async fn work(host: Rc<Host>, current: Rc<RefCell<Rc<Context>>>, inbox: Receiver<u64>) -> Block {
    let mut view = 0;
    loop {
        let context = Context::new();
        current.replace(context.clone());
        let block = host.clone().make_block(view, context.clone()).await;
        if let Some(block) = block
            && !context.cancelled.get()
        {
            return block;
        }
        view = inbox.recv().await.unwrap_or(u64::MAX);
    }
}
