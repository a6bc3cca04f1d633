//! How much may be out to be applied: a slow state machine must not make the member read the whole log into memory.

use std::collections::VecDeque;

use crate::types::{Entry, Index};

#[derive(Debug)]
pub struct ApplyBudget {
    max_size: u64,
    out_size: u64,
    /// The budget was reached, or the next entry did not fit: nothing more goes out until something is applied.
    spent: bool,
    /// What is out, oldest first. Bounded by the budget: each batch but the last takes part of it.
    batches: VecDeque<Batch>,
}

/// What one `Ready` handed out.
#[derive(Debug)]
struct Batch {
    last: Index,
    size: u64,
    /// The length of the data alone.
    data_len: u64,
}

impl ApplyBudget {
    pub fn new(max_size: u64) -> ApplyBudget {
        ApplyBudget { max_size, out_size: 0, spent: false, batches: VecDeque::new() }
    }

    pub fn is_spent(&self) -> bool {
        self.spent
    }

    pub fn left(&self) -> u64 {
        self.max_size - self.out_size
    }

    /// Hands out `entries`, while those up to `until` could have gone.
    pub fn take(&mut self, entries: &[Entry], until: Index) {
        let Some(last) = entries.last() else { return };
        let size = entries.iter().map(Entry::encoded_len).sum();
        let data_len = entries.iter().map(|entry| entry.payload.encoded_len()).sum();
        self.batches.push_back(Batch { last: last.index, size, data_len });
        self.out_size += size;
        self.spent = self.out_size >= self.max_size || last.index < until;
    }

    /// Takes back what was applied up to `applied`, and returns how much data it held.
    pub fn give_back(&mut self, applied: Index) -> u64 {
        let mut data_len = 0;
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.last <= applied) {
            self.out_size -= batch.size;
            data_len += batch.data_len;
        }
        self.spent = self.out_size >= self.max_size;
        data_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(index: u64) -> Entry {
        Entry { index: Index(index), payload: Bytes::from_static(b"0123456789").into(), ..Entry::default() }
    }

    #[test]
    fn what_is_out_stays_within_the_budget() {
        let size = entry(1).encoded_len();
        let mut budget = ApplyBudget::new(2 * size);
        budget.take(&[entry(1)], Index(1));
        assert!(!budget.is_spent());
        assert_eq!(budget.left(), size);
        budget.take(&[entry(2)], Index(2));
        assert!(budget.is_spent());
        assert_eq!(budget.give_back(Index(1)), 10);
        assert!(!budget.is_spent());
        assert_eq!(budget.give_back(Index(2)), 10);
        assert_eq!(budget.left(), 2 * size);
    }

    #[test]
    fn an_entry_that_did_not_fit_waits_for_something_to_be_applied() {
        let mut budget = ApplyBudget::new(10 * entry(1).encoded_len());
        budget.take(&[entry(1)], Index(2));
        assert!(budget.is_spent());
        budget.give_back(Index(1));
        assert!(!budget.is_spent());
    }

    #[test]
    fn a_batch_that_is_applied_in_parts_counts_until_its_end() {
        let mut budget = ApplyBudget::new(u64::MAX);
        budget.take(&[entry(1), entry(2)], Index(2));
        assert_eq!(budget.give_back(Index(1)), 0);
        assert_eq!(budget.give_back(Index(2)), 20);
    }
}
