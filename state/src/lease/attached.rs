//! The keys attached to one lease.

use std::collections::BTreeSet;
use std::sync::Arc;

/// A key, held once by the lease it is attached to and by the way back.
pub type Key = Arc<[u8]>;

/// Up to so many keys are a plain list: almost every lease has one or two keys, and there may be a million leases.
const FEW: usize = 16;

/// Keys in ascending order, the order in which a revocation deletes them.
#[derive(Debug)]
pub enum Attached {
    Few(Vec<Key>),
    Many(BTreeSet<Key>),
}

impl Default for Attached {
    fn default() -> Self {
        Attached::Few(Vec::new())
    }
}

impl Attached {
    pub fn insert(&mut self, key: Key) {
        match self {
            Attached::Many(keys) => {
                keys.insert(key);
            }
            Attached::Few(keys) => {
                if let Err(place) = keys.binary_search(&key) {
                    if keys.len() == FEW {
                        let mut many: BTreeSet<Key> = keys.drain(..).collect();
                        many.insert(key);
                        *self = Attached::Many(many);
                    } else {
                        keys.reserve_exact(1);
                        keys.insert(place, key);
                    }
                }
            }
        }
    }

    pub fn remove(&mut self, key: &[u8]) {
        match self {
            Attached::Many(keys) => {
                keys.remove(key);
            }
            Attached::Few(keys) => {
                if let Ok(place) = keys.binary_search_by(|held| held.as_ref().cmp(key)) {
                    keys.remove(place);
                }
            }
        }
    }

    /// All keys, in ascending order.
    pub fn to_vec(&self) -> Vec<Key> {
        match self {
            Attached::Few(keys) => keys.clone(),
            Attached::Many(keys) => keys.iter().cloned().collect(),
        }
    }

    pub fn into_vec(self) -> Vec<Key> {
        match self {
            Attached::Few(keys) => keys,
            Attached::Many(keys) => keys.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few or many, the keys stay a sorted set.
    #[test]
    fn stays_sorted_while_it_grows_and_shrinks() {
        for count in [0, 1, FEW, FEW + 1, 5 * FEW] {
            let mut attached = Attached::default();
            let mut model = BTreeSet::new();
            for i in 0..count {
                let key = format!("{:03}", i * 37 % 101).into_bytes();
                attached.insert(key.as_slice().into());
                attached.insert(key.as_slice().into());
                model.insert(key);
            }
            for i in (0..count).step_by(3) {
                let key = format!("{:03}", i * 37 % 101).into_bytes();
                attached.remove(&key);
                model.remove(&key);
            }
            let keys: Vec<Vec<u8>> = attached.to_vec().iter().map(|key| key.to_vec()).collect();
            assert_eq!(keys, model.into_iter().collect::<Vec<_>>(), "{count} keys");
            assert_eq!(attached.to_vec(), attached.into_vec());
        }
    }
}
