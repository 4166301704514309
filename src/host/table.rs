//! Things by number, in the order in which they came.

use std::collections::VecDeque;

/// Numbers are never used again. The oldest is found at once, any other by its number.
///
/// Invariant: the front, if there is one, is occupied.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The number of the front.
    base: u64,
    slots: VecDeque<Option<T>>,
    len: usize,
}

impl<T> Table<T> {
    /// An empty table; `first` is the number of the first thing.
    pub(crate) fn new(first: u64) -> Self {
        Self { base: first, slots: VecDeque::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a thing at the end; returns its number.
    pub(crate) fn insert(&mut self, thing: T) -> u64 {
        self.slots.push_back(Some(thing));
        self.len += 1;
        self.base + self.slots.len() as u64 - 1
    }

    fn slot(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.slots.get(self.slot(number)?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let slot = self.slot(number)?;
        self.slots.get_mut(slot)?.as_mut()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let slot = self.slot(number)?;
        let thing = self.slots.get_mut(slot)?.take()?;
        self.len -= 1;
        while self.slots.pop_front_if(|slot| slot.is_none()).is_some() {
            self.base += 1;
        }
        Some(thing)
    }

    /// The oldest.
    pub(crate) fn first(&self) -> Option<(u64, &T)> {
        self.slots.front()?.as_ref().map(|thing| (self.base, thing))
    }

    /// Those from number `from` on, in the order of their numbers.
    pub(crate) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &T)> {
        let skipped = from.saturating_sub(self.base);
        let slots = self.slots.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        let numbered = (self.base.max(from)..).zip(slots);
        numbered.filter_map(|(number, slot)| slot.as_ref().map(|thing| (number, thing)))
    }

    /// All, in the order of their numbers.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let numbered = (self.base..).zip(&mut self.slots);
        numbered.filter_map(|(number, slot)| slot.as_mut().map(|thing| (number, thing)))
    }

    /// Takes out those that `which` picks, in the order of their numbers.
    pub(crate) fn extract(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let picked: Vec<_> =
            self.iter_mut().filter(|(_, thing)| which(thing)).map(|(number, _)| number).collect();
        picked.into_iter().filter_map(|number| self.remove(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_number_is_for_one_thing_and_the_oldest_is_in_front() {
        let mut table = Table::new(7);
        let numbers: Vec<_> = ["a", "b", "c"].map(|thing| table.insert(thing)).into();
        assert_eq!(numbers, [7, 8, 9]);
        assert_eq!(table.remove(8), Some("b"));
        assert_eq!((table.remove(8), table.get(6), table.get(10)), (None, None, None));
        assert_eq!((table.first(), table.len()), (Some((7, &"a")), 2));
        assert_eq!(table.remove(7), Some("a"));
        assert_eq!(table.first(), Some((9, &"c")), "past the hole");
        assert_eq!(table.insert("d"), 10);
        assert_eq!(table.extract(|thing| *thing == "d"), ["d"]);
        assert_eq!(table.remove(9), Some("c"));
        assert_eq!((table.first(), table.len()), (None, 0));
        assert_eq!(table.insert("e"), 11);
    }
}
