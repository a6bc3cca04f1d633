//! Rows of the tables in order, of which a copy costs next to nothing.
//!
//!   runs: [ a b c ] [ d e f g ] [ h i ]     each shared by all copies until one of them changes it
//!
//! A million leases are a million rows. Whoever wants the store as it is takes a copy: a pointer for each run. A change
//! after that copies the one run that it falls into, if somebody still holds it.
//!
//! What holds: no run is empty, none is longer than [`RUN_ROWS`], and two neighbours are together longer than half of that.

use std::sync::Arc;

use bytes::Bytes;

use crate::Table;

/// Rows of a run. A longer one would make a copy cheaper, and a change dearer.
const RUN_ROWS: usize = 256;

type Row = (Table, Bytes, Bytes);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct TableRows {
    runs: Vec<Arc<Vec<Row>>>,
}

/// A place among rows: before one of them, or behind the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowCursor {
    run: usize,
    at: usize,
}

impl TableRows {
    /// All rows, by table and key.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &Bytes, &Bytes)> {
        self.runs.iter().flat_map(|run| run.iter()).map(|(table, key, value)| (*table, key, value))
    }

    /// The rows of a table, by key.
    pub fn of(&self, table: Table) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let mut cursor = self.first(table);
        std::iter::from_fn(move || self.next_of(table, &mut cursor))
    }

    /// Before the first row of a table.
    pub(super) fn first(&self, table: Table) -> RowCursor {
        self.place(table, b"").unwrap_or_else(|place| place)
    }

    /// The row of the table that comes next.
    pub(super) fn next_of(&self, table: Table, cursor: &mut RowCursor) -> Option<(&Bytes, &Bytes)> {
        let mut run = self.runs.get(cursor.run)?;
        if cursor.at == run.len() {
            *cursor = RowCursor { run: cursor.run + 1, at: 0 };
            run = self.runs.get(cursor.run)?;
        }
        let (of, key, value) = &run[cursor.at];
        (*of == table).then(|| {
            cursor.at += 1;
            (key, value)
        })
    }

    /// Sets a row; what it was before.
    pub(super) fn insert(&mut self, table: Table, key: Bytes, value: Bytes) -> Option<Bytes> {
        let RowCursor { run, at } = match self.place(table, &key) {
            Ok(found) => {
                let row = &mut Arc::make_mut(&mut self.runs[found.run])[found.at];
                return Some(std::mem::replace(&mut row.2, value));
            }
            Err(place) => place,
        };
        if self.runs.is_empty() {
            self.runs.push(Arc::default());
        }
        let rows = Arc::make_mut(&mut self.runs[run]);
        rows.insert(at, (table, key, value));
        if rows.len() > RUN_ROWS {
            // Rows that come in order, as most do, leave full runs behind them.
            let middle = if at + 1 == rows.len() { at } else { rows.len() / 2 };
            let rest = rows.split_off(middle);
            self.runs.insert(run + 1, Arc::new(rest));
            self.join(run + 1);
        }
        None
    }

    /// Takes a row away; what it was.
    pub(super) fn remove(&mut self, table: Table, key: &[u8]) -> Option<Bytes> {
        let RowCursor { run, at } = self.place(table, key).ok()?;
        let rows = Arc::make_mut(&mut self.runs[run]);
        let (.., value) = rows.remove(at);
        if rows.is_empty() {
            // Its neighbours are long, or they would have been joined with it.
            self.runs.remove(run);
            return Some(value);
        }
        self.join(run);
        if run > 0 {
            self.join(run - 1);
        }
        Some(value)
    }

    /// Makes one run of this and the next if both are short.
    fn join(&mut self, run: usize) {
        let Some(next) = self.runs.get(run + 1) else { return };
        if self.runs[run].len() + next.len() <= RUN_ROWS / 2 {
            let next = self.runs.remove(run + 1);
            Arc::make_mut(&mut self.runs[run]).extend_from_slice(&next);
        }
    }

    /// Where a row is, or where it would come.
    fn place(&self, table: Table, key: &[u8]) -> Result<RowCursor, RowCursor> {
        let wanted = (table, key);
        // The last run that begins at or before it.
        let behind = self.runs.partition_point(|run| run.first().is_some_and(|(of, key, _)| (*of, &key[..]) <= wanted));
        let run = behind.saturating_sub(1);
        let Some(rows) = self.runs.get(run) else { return Err(RowCursor { run: 0, at: 0 }) };
        match rows.binary_search_by(|(of, key, _)| (*of, &key[..]).cmp(&wanted)) {
            Ok(at) => Ok(RowCursor { run, at }),
            Err(at) => Err(RowCursor { run, at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vfs::lying::Dice;

    type Model = BTreeMap<(Table, Bytes), Bytes>;

    fn check(rows: &TableRows, model: &Model) {
        let all = || model.iter().map(|((table, key), value)| (*table, key, value));
        assert!(rows.iter().eq(all()));
        for table in Table::ALL {
            let of_table = all().filter(|(of, ..)| *of == table).map(|(_, key, value)| (key, value));
            assert!(rows.of(table).eq(of_table), "{table:?}");
        }
        assert!(rows.runs.iter().all(|run| (1..=RUN_ROWS).contains(&run.len())));
        for two in rows.runs.windows(2) {
            assert!(two[0].len() + two[1].len() > RUN_ROWS / 2, "{} and {}", two[0].len(), two[1].len());
        }
    }

    #[test]
    fn they_are_as_in_a_map_and_copies_do_not_change() {
        for seed in 0..20 {
            let mut dice = Dice::new(seed);
            let (mut rows, mut model) = (TableRows::default(), Model::default());
            let mut copies = Vec::new();
            // It grows, then shrinks to nothing.
            for step in 0..6000u64 {
                let table = Table::ALL[dice.below(9) as usize];
                let key = Bytes::from(dice.below(300).to_be_bytes().to_vec());
                if dice.below(100) < if step < 3000 { 80 } else { 5 } {
                    let value = Bytes::from(step.to_string());
                    assert_eq!(rows.insert(table, key.clone(), value.clone()), model.insert((table, key), value));
                } else {
                    assert_eq!(rows.remove(table, &key), model.remove(&(table, key)));
                }
                if step % 500 == 0 {
                    copies.push((rows.clone(), model.clone()));
                    check(&rows, &model);
                }
            }
            for round in 0.. {
                let last = if seed % 2 == 0 { model.pop_last() } else { model.pop_first() };
                let Some(((table, key), value)) = last else { break };
                assert_eq!(rows.remove(table, &key), Some(value));
                if round % 7 == 0 {
                    check(&rows, &model);
                }
            }
            assert!(rows.runs.is_empty());
            copies.iter().for_each(|(rows, model)| check(rows, model));
        }
    }

    #[test]
    fn a_short_run_between_full_ones_goes_when_it_is_empty() {
        let (mut rows, mut model) = (TableRows::default(), Model::default());
        let key = |number: u64| Bytes::from(number.to_be_bytes().to_vec());
        let in_order = (0..3 * RUN_ROWS as u64).map(key);
        for key in in_order {
            rows.insert(Table::Lease, key.clone(), Bytes::new());
            model.insert((Table::Lease, key), Bytes::new());
        }
        for number in RUN_ROWS as u64..2 * RUN_ROWS as u64 {
            rows.remove(Table::Lease, &key(number));
            model.remove(&(Table::Lease, key(number)));
            check(&rows, &model);
        }
        assert_eq!(rows.runs.len(), 2);
    }

    #[test]
    fn a_copy_shares_everything_and_a_change_copies_one_run() {
        let mut rows = TableRows::default();
        for lease in 0..100_000u64 {
            rows.insert(Table::Lease, lease.to_be_bytes().to_vec().into(), Bytes::new());
        }
        assert!(rows.runs.len() <= 100_000 / RUN_ROWS + 1, "{} runs of rows that came in order", rows.runs.len());
        let copy = rows.clone();
        rows.insert(Table::Lease, 5000u64.to_be_bytes().to_vec().into(), "x".into());
        rows.remove(Table::Lease, &70_000u64.to_be_bytes());
        let shared = copy.runs.iter().zip(&rows.runs).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!(shared, copy.runs.len() - 2);
    }
}
