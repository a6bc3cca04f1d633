//! How much has been done since the start, for metrics: counted where it is done, each an addition without a lock.

use ferrite_observe::metrics::{Counter, Gauge, Histogram, Registry, families};

/// Operations of this member. What is applied has one writer; ranges are counted by all who read.
#[derive(Debug)]
pub struct Counts {
    pub ranges: Counter,
    pub puts: Counter,
    /// Operations, not keys.
    pub deletes: Counter,
    /// Requests of more than one operation, those that etcd makes of its own accord included.
    pub txns: Counter,
    /// Bytes of keys and values put.
    pub put_bytes: Gauge,
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    /// Renewals here, while this member leads.
    pub leases_renewed: Counter,
    /// Seconds for which leases were granted.
    pub lease_ttl: Histogram,
}

/// The operations of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Compares and the reading of previous values included.
    pub ranges: u64,
    pub puts: u64,
    pub deletes: u64,
    /// Bytes of keys and values.
    pub put_bytes: u64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            ranges: families::ETCD_MVCC_RANGE_TOTAL.create(),
            puts: families::ETCD_MVCC_PUT_TOTAL.create(),
            deletes: families::ETCD_MVCC_DELETE_TOTAL.create(),
            txns: families::ETCD_MVCC_TXN_TOTAL.create(),
            put_bytes: families::ETCD_DEBUGGING_MVCC_TOTAL_PUT_SIZE_IN_BYTES.create(),
            leases_granted: families::ETCD_DEBUGGING_LEASE_GRANTED_TOTAL.create(),
            leases_revoked: families::ETCD_DEBUGGING_LEASE_REVOKED_TOTAL.create(),
            leases_renewed: families::ETCD_DEBUGGING_LEASE_RENEWED_TOTAL.create(),
            lease_ttl: families::ETCD_DEBUGGING_LEASE_TTL_TOTAL.create(),
        }
    }
}

impl Counts {
    /// Shows all of them.
    pub fn register(&self, registry: &Registry) {
        registry.adopt(&families::ETCD_MVCC_RANGE_TOTAL, &self.ranges);
        registry.adopt(&families::ETCD_MVCC_PUT_TOTAL, &self.puts);
        registry.adopt(&families::ETCD_MVCC_DELETE_TOTAL, &self.deletes);
        registry.adopt(&families::ETCD_MVCC_TXN_TOTAL, &self.txns);
        registry.adopt(&families::ETCD_DEBUGGING_MVCC_TOTAL_PUT_SIZE_IN_BYTES, &self.put_bytes);
        registry.adopt(&families::ETCD_DEBUGGING_LEASE_GRANTED_TOTAL, &self.leases_granted);
        registry.adopt(&families::ETCD_DEBUGGING_LEASE_REVOKED_TOTAL, &self.leases_revoked);
        registry.adopt(&families::ETCD_DEBUGGING_LEASE_RENEWED_TOTAL, &self.leases_renewed);
        registry.adopt(&families::ETCD_DEBUGGING_LEASE_TTL_TOTAL, &self.lease_ttl);
    }

    /// A request has been carried out.
    pub fn executed(&self, executed: Executed) {
        let Executed { ranges, puts, deletes, put_bytes } = executed;
        for (counter, count) in [(&self.ranges, ranges), (&self.puts, puts), (&self.deletes, deletes)] {
            if count > 0 {
                counter.add(count);
            }
        }
        if put_bytes > 0 {
            self.put_bytes.add(put_bytes as f64);
        }
        if ranges + puts + deletes > 1 {
            self.txns.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_several_operations_is_a_transaction() {
        let counts = Counts::default();
        counts.executed(Executed { puts: 1, put_bytes: 7, ..Executed::default() });
        counts.executed(Executed { ranges: 1, ..Executed::default() });
        assert_eq!(counts.txns.value(), 0);
        counts.executed(Executed { ranges: 1, puts: 1, put_bytes: 3, ..Executed::default() });
        counts.executed(Executed { deletes: 2, ..Executed::default() });
        let seen = [&counts.ranges, &counts.puts, &counts.deletes, &counts.txns].map(|counter| counter.value());
        assert_eq!((seen, counts.put_bytes.value()), ([2, 2, 2, 2], 10.0));
    }
}
