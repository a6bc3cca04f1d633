//! The entries of a message. Most messages carry one, and one needs no allocation.

use std::fmt;
use std::ops::Deref;

use crate::types::Entry;

/// Some entries, in order, or none. They are read as a slice; one alone is held without an allocation.
#[derive(Clone, Default)]
pub struct Entries(Held);

#[derive(Clone)]
enum Held {
    One(Entry),
    /// None of them, or several. One is equal wherever it is held.
    Many(Vec<Entry>),
}

impl Default for Held {
    fn default() -> Held {
        Held::Many(Vec::new())
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        match &self.0 {
            Held::One(entry) => std::slice::from_ref(entry),
            Held::Many(entries) => entries,
        }
    }
}

impl Entries {
    /// The same, to be changed.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [Entry] {
        match &mut self.0 {
            Held::One(entry) => std::slice::from_mut(entry),
            Held::Many(entries) => entries,
        }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Entries {
        Entries(Held::Many(entries))
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Entries {
        let mut entries = entries.into_iter();
        let Some(first) = entries.next() else { return Entries::default() };
        let Some(second) = entries.next() else { return Entries(Held::One(first)) };
        let mut many = Vec::with_capacity(2 + entries.size_hint().0);
        many.extend([first, second]);
        many.extend(entries);
        Entries(Held::Many(many))
    }
}

impl IntoIterator for Entries {
    type Item = Entry;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Entry>, std::vec::IntoIter<Entry>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self.0 {
            Held::One(entry) => (Some(entry), Vec::new()),
            Held::Many(entries) => (None, entries),
        };
        one.into_iter().chain(many)
    }
}

impl<'e> IntoIterator for &'e Entries {
    type Item = &'e Entry;
    type IntoIter = std::slice::Iter<'e, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Entries) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Index;

    #[test]
    fn they_are_the_same_however_they_are_held() {
        for count in 0..4 {
            let list: Vec<Entry> = (0..count).map(|index| Entry { index: Index(index), ..Entry::default() }).collect();
            let collected: Entries = list.iter().cloned().collect();
            assert_eq!(collected, Entries::from(list.clone()));
            assert_eq!(*collected, *list);
            assert_eq!(format!("{collected:?}"), format!("{list:?}"));
            assert_eq!(collected.into_iter().collect::<Vec<_>>(), list);
        }
    }
}
