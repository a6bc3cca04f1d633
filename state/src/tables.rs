//! Rows of etcd's own buckets, as effects carry them.

use bytes::Bytes;
use ferrite_storage::{RowChange, Table};

/// A row that is to hold a value.
pub fn row(table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) -> RowChange {
    RowChange { table, key: key.into(), value: Some(value.into()) }
}
