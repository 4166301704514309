//! Is there an order? The search of Wing and Gong, with the memory of Lowe.
//!
//! The calls and answers stand in one list by time. Any call before the first answer may be the next
//! of the order; it is taken out with its answer, and the search goes on with what is left. If an
//! answer comes up whose call could not be taken, the last choice was wrong and is undone. A set of
//! taken calls and a state that were met before need not be looked at again.
//!
//! A call without an answer may be taken at any time after its beginning, or never. So it is taken
//! only where the next call of the order needs it: if that could come to the same state without it,
//! the order without it is as good, and if it could come before it, it does. Of unanswered calls
//! that do the same one is tried. Without these rules a hundred unanswered writes would make two to
//! the power of a hundred sets.

use std::collections::BTreeSet;

/// What the calls are made on.
pub trait Model {
    /// A state of it.
    type State: Clone + Ord;
    /// What a call does, with what was answered to it.
    type Act: PartialEq;

    /// The state before the first call.
    fn first(&self) -> Self::State;

    /// The states that `act` may lead to, with the answer that it got; none if it cannot have got it
    /// here.
    fn step(&self, state: &Self::State, act: &Self::Act) -> Vec<Self::State>;
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call<A> {
    /// When it began.
    pub called: u64,
    /// When it was answered; `None` if it may take effect at any later time, or never.
    pub ended: Option<u64>,
    /// What it did.
    pub act: A,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An order of all answered calls, with those of the others that it needs.
    Order(Vec<usize>),
    /// There is none: this call fits nowhere behind the longest order that was found, which has so
    /// many calls.
    Nothing {
        /// The call whose answer came too early.
        stuck: usize,
        /// How many calls could be placed before.
        placed: usize,
    },
    /// So many sets and states were looked at that the search gave up.
    GaveUp,
}

const END: usize = usize::MAX;

/// The calls and answers that are not taken yet, by time.
struct List {
    /// For each entry its call, and whether it is the answer.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    before: Vec<usize>,
    /// For each call where it and its answer stand.
    places: Vec<(usize, Option<usize>)>,
}

impl List {
    fn new<A>(calls: &[Call<A>]) -> Self {
        let mut moments: Vec<_> = Vec::with_capacity(2 * calls.len());
        for (id, call) in calls.iter().enumerate() {
            moments.push((call.called, false, id));
            moments.extend(call.ended.map(|ended| (ended, true, id)));
        }
        // At one moment calls come first: then neither is before the other.
        moments.sort_unstable();
        let mut places = vec![(0, None); calls.len()];
        for (at, &(_, is_answer, id)) in moments.iter().enumerate() {
            match is_answer {
                false => places[id].0 = at + 1,
                true => places[id].1 = Some(at + 1),
            }
        }
        // Entry 0 is the head.
        let entries: Vec<_> = std::iter::once((END, false))
            .chain(moments.iter().map(|&(_, is_answer, id)| (id, is_answer)))
            .collect();
        let count = entries.len();
        let next = (1..=count).map(|at| if at == count { END } else { at }).collect();
        let before = (0..count).map(|at| at.saturating_sub(1)).collect();
        Self { entries, next, before, places }
    }

    fn unlink(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        self.next[before] = next;
        if next != END {
            self.before[next] = before;
        }
    }

    fn link(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        self.next[before] = at;
        if next != END {
            self.before[next] = at;
        }
    }

    fn take(&mut self, call: usize) {
        let (at, answer) = self.places[call];
        self.unlink(at);
        answer.into_iter().for_each(|answer| self.unlink(answer));
    }

    fn put_back(&mut self, call: usize) {
        let (at, answer) = self.places[call];
        answer.into_iter().for_each(|answer| self.link(answer));
        self.link(at);
    }
}

/// A choice that was made, with the state before it.
struct Choice<S> {
    call: usize,
    state: S,
    /// The unanswered call that was the choice before, if it was one, and the state before it.
    without: Option<(usize, S)>,
    /// Whether unanswered calls were being tried.
    late: bool,
}

/// A set of taken calls, one bit each, with what it led to.
type Known<S> = (Vec<u64>, S, Option<(usize, S)>);

/// One search under way.
struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Call<M::Act>],
    list: List,
    taken: Vec<u64>,
    state: M::State,
    /// If the last of the order is an unanswered call: which, and the state without it.
    without: Option<(usize, M::State)>,
    choices: Vec<Choice<M::State>>,
    known: BTreeSet<Known<M::State>>,
}

/// Looks for an order of `calls`; gives up after `steps_max` different sets and states.
pub fn search<M: Model>(model: &M, calls: &[Call<M::Act>], steps_max: usize) -> Found {
    let mut search = Search {
        model,
        calls,
        list: List::new(calls),
        taken: vec![0; calls.len().div_ceil(64)],
        state: model.first(),
        without: None,
        choices: Vec::new(),
        known: BTreeSet::new(),
    };
    search.run(steps_max)
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, steps_max: usize) -> Found {
        let mut left = self.calls.iter().filter(|call| call.ended.is_some()).count();
        let (mut at, mut late) = (self.list.next[0], false);
        let (mut stuck, mut placed) = (0, 0);
        while left > 0 {
            if self.known.len() > steps_max {
                return Found::GaveUp;
            }
            // Some answered call is left, so an answer comes up before the end.
            let (call, is_answer) = self.list.entries[at];
            if !is_answer {
                let answered = self.calls[call].ended.is_some();
                if answered != late && self.choose(call, late) {
                    left -= usize::from(answered);
                    (at, late) = (self.list.next[0], false);
                } else {
                    at = self.list.next[at];
                }
            } else if !late {
                (at, late) = (self.list.next[0], true);
            } else {
                if self.choices.len() >= placed {
                    (stuck, placed) = (call, self.choices.len());
                }
                let Some(choice) = self.choices.pop() else {
                    return Found::Nothing { stuck, placed };
                };
                left += usize::from(self.calls[choice.call].ended.is_some());
                self.list.put_back(choice.call);
                self.taken[choice.call / 64] ^= 1 << (choice.call % 64);
                // Again at the same call: what it led to is known now, another state may be left.
                (at, late) = (self.list.places[choice.call].0, choice.late);
                (self.state, self.without) = (choice.state, choice.without);
            }
        }
        Found::Order(self.choices.iter().map(|choice| choice.call).collect())
    }

    /// Takes a call as the next of the order, unless it cannot be or leads to nothing new.
    fn choose(&mut self, call: usize, late: bool) -> bool {
        let states = self.model.step(&self.state, &self.calls[call].act);
        if states.is_empty() || (late && self.is_double(call)) {
            return false;
        }
        let without = late.then(|| (call, self.state.clone()));
        self.taken[call / 64] ^= 1 << (call % 64);
        for state in states {
            if self.is_idle(call, late, &state) {
                continue;
            }
            let known = (self.taken.clone(), state.clone(), without.clone());
            if self.known.insert(known) {
                let state = std::mem::replace(&mut self.state, state);
                let without = std::mem::replace(&mut self.without, without);
                self.choices.push(Choice { call, state, without, late });
                self.list.take(call);
                return true;
            }
        }
        self.taken[call / 64] ^= 1 << (call % 64);
        false
    }

    /// Whether another unanswered call that is left, and began before, does the same.
    fn is_double(&self, call: usize) -> bool {
        let mut at = self.list.next[0];
        while at != self.list.places[call].0 {
            let (other, is_answer) = self.list.entries[at];
            let other = &self.calls[other];
            if !is_answer && other.ended.is_none() && other.act == self.calls[call].act {
                return true;
            }
            at = self.list.next[at];
        }
        false
    }

    /// Whether a call that comes to `state` makes an unanswered call idle: itself, or the one that
    /// was taken just before.
    fn is_idle(&self, call: usize, late: bool, state: &M::State) -> bool {
        if late && *state == self.state {
            return true;
        }
        let Some((unanswered, without)) = &self.without else { return false };
        let mut before = self.model.step(without, &self.calls[call].act);
        if before.contains(state) {
            return true;
        }
        before.retain(|_| !late);
        let act = &self.calls[*unanswered].act;
        before.iter().any(|before| self.model.step(before, act).contains(state))
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Found, Model, search};

    /// One number.
    struct Cell;

    #[derive(PartialEq)]
    enum Act {
        Write(u8),
        Read(u8),
        /// If the first, then the second; says whether it was.
        Swap(u8, u8, Option<bool>),
    }
    use Act::{Read, Swap, Write};

    impl Model for Cell {
        type State = u8;
        type Act = Act;

        fn first(&self) -> u8 {
            0
        }

        fn step(&self, &state: &u8, act: &Act) -> Vec<u8> {
            match *act {
                Write(value) => vec![value],
                Read(value) => {
                    if value == state {
                        vec![state]
                    } else {
                        vec![]
                    }
                }
                Swap(from, to, done) => match done {
                    Some(done) if done != (state == from) => vec![],
                    _ => vec![if state == from { to } else { state }],
                },
            }
        }
    }

    fn found(calls: Vec<(u64, u64, Act)>) -> Found {
        let call = |(called, ended, act)| {
            let ended = (ended > 0).then_some(ended);
            Call { called, ended, act }
        };
        let calls: Vec<_> = calls.into_iter().map(call).collect();
        search(&Cell, &calls, 100_000)
    }

    fn is_fine(calls: Vec<(u64, u64, Act)>) -> bool {
        matches!(found(calls), Found::Order(_))
    }

    #[test]
    fn what_overlaps_may_stand_in_either_order() {
        let read = |value| vec![(1, 4, Write(1)), (2, 5, Write(2)), (6, 7, Read(value))];
        assert!(is_fine(read(1)) && is_fine(read(2)) && !is_fine(read(0)));
        let two = |a, b| vec![(1, 9, Write(1)), (2, 3, Read(a)), (4, 5, Read(b))];
        assert!(is_fine(two(0, 1)) && is_fine(two(1, 1)) && is_fine(two(0, 0)));
        assert!(!is_fine(two(1, 0)), "new, then old");
    }

    #[test]
    fn a_stale_read_fits_nowhere() {
        let calls = vec![(1, 2, Write(1)), (3, 4, Write(2)), (5, 6, Read(1))];
        assert_eq!(found(calls), Found::Nothing { stuck: 2, placed: 2 });
    }

    #[test]
    fn a_value_that_nobody_wrote_fits_nowhere() {
        assert!(!is_fine(vec![(1, 9, Write(1)), (2, 3, Read(7)), (4, 0, Write(6))]));
    }

    #[test]
    fn a_write_without_an_answer_may_come_late_or_never_but_once() {
        let calls = |values: &[u8]| {
            let read = |(at, &value): (u64, &u8)| (at, at + 1, Read(value));
            let mut calls = vec![(1, 0, Write(1)), (2, 3, Write(2))];
            calls.extend((10..).step_by(2).zip(values).map(read));
            calls
        };
        assert!(is_fine(calls(&[2, 2])) && is_fine(calls(&[2, 1])) && is_fine(calls(&[1])));
        assert!(!is_fine(calls(&[1, 2])), "the other was answered before");
        let mut twice = calls(&[1]);
        twice.extend([(20, 21, Write(3)), (22, 23, Read(1))]);
        assert!(!is_fine(twice));
        assert!(!is_fine(vec![(1, 2, Read(1)), (3, 0, Write(1))]), "seen before it was asked for");
    }

    #[test]
    fn unanswered_calls_may_build_on_each_other() {
        let calls = |swap| vec![(1, 0, Write(1)), (2, 0, Swap(1, 2, None)), (3, 4, swap)];
        assert!(is_fine(calls(Swap(2, 3, Some(true)))));
        assert!(is_fine(calls(Swap(2, 3, Some(false)))));
        assert!(!is_fine(calls(Swap(3, 4, Some(true)))));
    }

    #[test]
    fn many_unanswered_writes_do_not_make_it_long() {
        let writes = (1..=100).map(|at| (at, 0, Write(if at == 50 { 9 } else { 100 })));
        let reads =
            (0..100u64).map(|n| (200 + 2 * n, 201 + 2 * n, Read(if n < 60 { 0 } else { 9 })));
        assert!(is_fine(writes.clone().chain(reads.clone()).collect()));
        let wrong = writes.chain(reads).chain([(900, 901, Read(8))]);
        assert!(matches!(found(wrong.collect()), Found::Nothing { stuck: 200, .. }));
    }
}
