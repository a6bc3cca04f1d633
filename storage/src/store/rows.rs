//! Rows: the tables as of the last frame, and their dump, which makes older changes of rows dead.
//!
//! What holds: a dump is taken at the end of a synced frame, so rows are never ahead of records.

use bytes::Bytes;
use ferrite_raft::Index;

use super::format::{Bad, FileHeader, FileKind, HEADER_BYTES};
use super::frame::{push_row, read_rows, row_bytes};
use super::table_rows::TableRows;
use crate::{RowChange, Table};

#[derive(Debug, Default)]
pub(super) struct Rows {
    pub rows: TableRows,
    /// What the rows would take up in a dump.
    pub alive_bytes: u64,
    /// What was written of row changes since the last dump.
    pub changed_bytes: u64,
    /// Length of the last dump's file.
    pub dump_bytes: u64,
}

impl Rows {
    pub(super) fn apply(&mut self, change: RowChange) {
        let RowChange { table, key, value } = change;
        let bytes = |key: &Bytes, value: &Bytes| row_bytes(key.len(), value.len()) as u64;
        self.changed_bytes += row_bytes(key.len(), value.as_ref().map_or(0, Bytes::len)) as u64;
        let before = match value {
            Some(value) => {
                self.alive_bytes += bytes(&key, &value);
                self.rows.insert(table, key.clone(), value)
            }
            None => self.rows.remove(table, &key),
        };
        self.alive_bytes -= before.map_or(0, |before| bytes(&key, &before));
    }

    /// All rows, in order.
    pub(super) fn list(&self) -> Vec<(Table, Bytes, Bytes)> {
        self.rows.iter().map(|(table, key, value)| (table, key.clone(), value.clone())).collect()
    }

    /// The dump's file.
    pub(super) fn encode(&self, id: u64, index: Index) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.alive_bytes as usize);
        for (table, key, value) in self.rows.iter() {
            push_row(&mut body, &RowChange { table, key: key.clone(), value: Some(value.clone()) });
        }
        FileHeader::seal(FileKind::Rows, id, index.0, &body)
    }

    pub(super) fn decode(bytes: &[u8], id: u64, index: Index) -> Result<Rows, Bad> {
        let (header, body) = FileHeader::open(FileKind::Rows, bytes)?;
        if header.id != id || header.index != index.0 {
            return Err(Bad::Damaged(0, "this is another file than the manifest means"));
        }
        let mut rows = Rows::default();
        for row in read_rows(body) {
            rows.apply(row.map_err(|what| Bad::Damaged(HEADER_BYTES as u64, what))?);
        }
        Ok(Rows { changed_bytes: 0, dump_bytes: bytes.len() as u64, ..rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(table: Table, key: &'static str, value: Option<&'static str>) -> RowChange {
        RowChange { table, key: key.into(), value: value.map(Bytes::from) }
    }

    #[test]
    fn a_dump_holds_the_last_value_of_each_row() {
        let mut rows = Rows::default();
        for (table, key, value) in [
            (Table::Meta, "a", Some("1")),
            (Table::Lease, "a", Some("a longer value")),
            (Table::Meta, "b", None),
            (Table::Meta, "a", Some("")),
            (Table::Alarm, "gone", Some("x")),
            (Table::Alarm, "gone", None),
            (Table::Alarm, "", Some("")),
        ] {
            rows.apply(change(table, key, value));
        }
        let bytes = rows.encode(3, Index(9));
        assert_eq!(bytes.len() as u64, HEADER_BYTES as u64 + rows.alive_bytes);
        let read = Rows::decode(&bytes, 3, Index(9)).unwrap();
        assert_eq!(
            read.list(),
            [(Table::Alarm, "", ""), (Table::Lease, "a", "a longer value"), (Table::Meta, "a", "")]
                .map(|(table, key, value)| (table, Bytes::from(key), Bytes::from(value)))
        );
        assert_eq!((read.alive_bytes, read.changed_bytes), (rows.alive_bytes, 0));
        Rows::decode(&bytes, 4, Index(9)).unwrap_err();
        Rows::decode(&bytes, 3, Index(8)).unwrap_err();
    }
}
