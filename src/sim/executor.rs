//! The simulator's executor: one thread, and the seed chooses which ready task runs next.
//!
//! Production runs ready tasks first in, first out. That is one of many legal orders, and a race
//! that shows only in another one would sleep there until a release changes the timing. Here every
//! order can come up, and the same seed always brings the same one.
//!
//! Tasks belong to a [`Group`]: one life of one node, or the clients. A group can be frozen (its
//! tasks are woken, but not polled) and killed (its futures are dropped before the next statement,
//! which is what `kill -9` does to a process). The census counts the futures of a group that still
//! exist, so that a task that outlives its scope is seen.
//!
//! A panic inside a task goes up through [`Executor::step`]: nothing is swallowed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use async_channel::{Receiver, Sender};
use async_task::{Builder, Runnable};

use crate::env::Rng;
use crate::env::spawn::{LocalFuture, Spawner, Task};

/// Ready tasks that may wait. A task waits at most once, so this bounds the live tasks of a world;
/// a simulation of five nodes and their clients has some dozens.
pub const TASKS_MAX: usize = 4096;

/// Tasks that live and die together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(u64);

/// Which of the ready tasks runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any of them, chosen by the seed.
    Seeded,
    /// The one that has waited longest, as in production.
    Fifo,
}

#[derive(Default)]
struct Members {
    live: Rc<Cell<usize>>,
    polls: u64,
    /// Why it is not polled.
    held: BTreeSet<Why>,
    dead: bool,
}

/// Why a group is not polled at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Somebody stopped its process.
    Frozen,
    /// It is at work: what it did last takes this long.
    Busy,
}

/// An executor of one world.
pub struct Executor {
    // A channel, because a waker must be able to leave its thread by its type. It never does.
    sender: Sender<(Group, Runnable)>,
    woken: Receiver<(Group, Runnable)>,
    ready: RefCell<Vec<(Group, Runnable)>>,
    held: RefCell<Vec<(Group, Runnable)>>,
    groups: RefCell<BTreeMap<Group, Members>>,
    order: Order,
    rng: Rng,
}

impl Executor {
    /// An executor without tasks.
    #[must_use]
    pub fn new(order: Order, rng: Rng) -> Rc<Self> {
        let (sender, woken) = async_channel::bounded(TASKS_MAX);
        Rc::new(Self {
            sender,
            woken,
            ready: RefCell::default(),
            held: RefCell::default(),
            groups: RefCell::default(),
            order,
            rng,
        })
    }

    /// A new group, without tasks.
    #[must_use]
    pub fn group(&self) -> Group {
        let mut groups = self.groups.borrow_mut();
        let group = Group(groups.len() as u64);
        groups.insert(group, Members::default());
        group
    }

    /// The handle through which a node of `group` spawns.
    #[must_use]
    pub fn spawner(self: &Rc<Self>, group: Group) -> Spawner {
        let executor = self.clone();
        Spawner::with(move |future| executor.spawn_boxed(group, future))
    }

    /// Starts `future` as a task of `group`; dropping the task cancels it.
    pub fn spawn(&self, group: Group, future: impl Future<Output = ()> + 'static) -> Task {
        Task::start(future, |future| self.spawn_boxed(group, future))
    }

    fn spawn_boxed(&self, group: Group, future: LocalFuture) -> async_task::Task<()> {
        let live = self.change(group, |members| members.live.clone());
        let total: usize = self.groups.borrow().values().map(|m| m.live.get()).sum();
        assert!(total < TASKS_MAX, "a simulated world has at most {TASKS_MAX} tasks");
        let guard = Counted::new(live);
        let counted = async move {
            future.await;
            drop(guard);
        };
        let sender = self.sender.clone();
        // The channel has room for every task that may exist; after the end of the world it is
        // closed, and the task is dropped here.
        let schedule = move |runnable| drop(sender.try_send((group, runnable)));
        let (runnable, task) = Builder::new().spawn_local(|()| counted, schedule);
        runnable.schedule();
        task
    }

    /// Runs one ready task until it waits again, and says whose it was; `None` when nothing that
    /// may run is ready.
    ///
    /// # Panics
    /// If the task panics.
    pub fn step(&self) -> Option<Group> {
        self.collect();
        let (group, runnable) = {
            let mut ready = self.ready.borrow_mut();
            match (ready.len(), self.order) {
                (0, _) => return None,
                (_, Order::Fifo) => ready.remove(0),
                (1, Order::Seeded) => ready.remove(0),
                (len, Order::Seeded) => ready.swap_remove(self.rng.below(len)),
            }
        };
        self.change(group, |members| members.polls += 1);
        runnable.run();
        Some(group)
    }

    /// Takes what was woken into the ready list, or aside if its group is frozen or dead.
    fn collect(&self) {
        while let Ok((group, runnable)) = self.woken.try_recv() {
            let (held, dead) =
                self.change(group, |members| (!members.held.is_empty(), members.dead));
            if dead {
                drop(runnable);
            } else if held {
                self.held.borrow_mut().push((group, runnable));
            } else {
                self.ready.borrow_mut().push((group, runnable));
            }
        }
    }

    /// Stops polling `group`; what wakes it meanwhile is remembered.
    pub fn hold(&self, group: Group, why: Why) {
        self.collect();
        self.change(group, |members| members.held.insert(why));
        let mut ready = self.ready.borrow_mut();
        self.held.borrow_mut().extend(ready.extract_if(.., |(of, _)| *of == group));
    }

    /// Polls `group` again, unless it is held for another reason.
    pub fn release(&self, group: Group, why: Why) {
        self.collect();
        let held = self.change(group, |members| {
            members.held.remove(&why);
            !members.held.is_empty()
        });
        if held {
            return;
        }
        let mut held = self.held.borrow_mut();
        self.ready.borrow_mut().extend(held.extract_if(.., |(of, _)| *of == group));
    }

    /// Drops every future of `group`, now. `root` is the task that owns the others.
    ///
    /// Returns how many futures are still alive afterwards: more than zero means that a task was
    /// detached from its scope.
    pub fn kill(&self, group: Group, root: Option<Task>) -> usize {
        // A dropped task is scheduled once more and destroyed then: destroy it here and now, and
        // what its destructor cancels in turn.
        drop(root);
        self.change(group, |members| members.dead = true);
        loop {
            let doomed: Vec<_> = {
                let mut ready = self.ready.borrow_mut();
                let mut held = self.held.borrow_mut();
                let of_group = |(of, _): &mut (Group, Runnable)| *of == group;
                let ready = ready.extract_if(.., of_group);
                ready.chain(held.extract_if(.., of_group)).collect()
            };
            let woken = !self.woken.is_empty();
            if doomed.is_empty() && !woken {
                break;
            }
            drop(doomed);
            self.collect();
        }
        self.census(group)
    }

    /// The futures of `group` that exist.
    #[must_use]
    pub fn census(&self, group: Group) -> usize {
        self.change(group, |members| members.live.get())
    }

    /// How often tasks of `group` have been polled: a fine-grained clock for planned crashes.
    #[must_use]
    pub fn polls(&self, group: Group) -> u64 {
        self.change(group, |members| members.polls)
    }

    fn change<T>(&self, group: Group, change: impl FnOnce(&mut Members) -> T) -> T {
        change(self.groups.borrow_mut().entry(group).or_default())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.sender.close();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Executor({} ready)", self.ready.borrow().len())
    }
}

/// Counts a future as long as it exists.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(live: Rc<Cell<usize>>) -> Self {
        live.set(live.get() + 1);
        Self(live)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{Executor, Order, Why};
    use crate::env::Rng;
    use crate::scope::notify::Notify;
    use futures_lite::future::{pending, yield_now};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    fn order_of_five(order: Order, seed: u64) -> Vec<u32> {
        let executor = Executor::new(order, Rng::seeded(seed));
        let group = executor.group();
        let seen = Rc::new(RefCell::new(vec![]));
        let tasks: Vec<_> = (0..5)
            .map(|n| {
                let seen = seen.clone();
                executor.spawn(group, async move {
                    seen.borrow_mut().push(n);
                    yield_now().await;
                    seen.borrow_mut().push(n);
                })
            })
            .collect();
        while executor.step().is_some() {}
        assert_eq!(executor.census(group), 0);
        drop(tasks);
        seen.take()
    }

    #[test]
    fn the_seed_chooses_the_order_and_fifo_is_one_of_them() {
        assert_eq!(order_of_five(Order::Fifo, 1), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
        assert_eq!(order_of_five(Order::Seeded, 7), order_of_five(Order::Seeded, 7));
        let differing = (0..20)
            .filter(|&s| order_of_five(Order::Seeded, s) != order_of_five(Order::Seeded, s + 1));
        assert!(differing.count() > 15);
    }

    #[test]
    fn a_killed_group_is_gone_before_the_next_statement() {
        struct Gone(Rc<Cell<u32>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let executor = Executor::new(Order::Seeded, Rng::seeded(1));
        let group = executor.group();
        let gone = Rc::new(Cell::new(0));
        let (inner, outer) = (Gone(gone.clone()), Gone(gone.clone()));
        let spawner = executor.spawner(group);
        let root = executor.spawn(group, async move {
            let child = spawner.spawn(async move {
                pending::<()>().await;
                drop(inner);
            });
            child.await;
            drop(outer);
        });
        while executor.step().is_some() {}
        assert_eq!(executor.census(group), 2);
        assert_eq!(executor.kill(group, Some(root)), 0, "a child that its parent holds is dropped");
        assert_eq!(gone.get(), 2);
    }

    #[test]
    fn the_census_sees_a_detached_task() {
        let executor = Executor::new(Order::Seeded, Rng::seeded(1));
        let group = executor.group();
        std::mem::forget(executor.spawn(group, pending()));
        while executor.step().is_some() {}
        assert_eq!(executor.kill(group, None), 1);
    }

    #[test]
    fn a_frozen_group_is_woken_but_not_polled() {
        let executor = Executor::new(Order::Seeded, Rng::seeded(1));
        let group = executor.group();
        let wake = Notify::new();
        let heard = Rc::new(Cell::new(false));
        let (notify, flag) = (wake.clone(), heard.clone());
        let _task = executor.spawn(group, async move {
            wake.notified().await;
            flag.set(true);
        });
        while executor.step().is_some() {}
        executor.hold(group, Why::Frozen);
        notify.notify();
        assert_eq!(executor.step(), None);
        executor.release(group, Why::Frozen);
        assert_eq!(executor.step(), Some(group));
        assert!(heard.get());
    }

    #[test]
    #[should_panic(expected = "a task went wrong")]
    fn a_panic_of_a_task_is_not_swallowed() {
        let executor = Executor::new(Order::Seeded, Rng::seeded(1));
        let group = executor.group();
        let _task = executor.spawn(group, async { panic!("a task went wrong") });
        executor.step();
    }
}
