//! What is said and counted of snapshots between members, with etcd's words and names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, Value, lines};
use ferrite_observe::metrics::{Counter, Gauge, Histogram, Registry, families};
use ferrite_raft::{Index, NodeId};
use parking_lot::Mutex;

use crate::config::human;

/// Snapshots on their way out and in.
#[derive(Debug)]
pub struct Transfers {
    own: NodeId,
    logger: Logger,
    registry: Arc<Registry>,
    /// Those that are being sent, by receiver: one each, since Raft sends no other meanwhile.
    sending: Mutex<HashMap<NodeId, Sending>>,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    index: Index,
    bytes: u64,
    since: Instant,
}

/// The numbers of one direction, for one other member.
struct Numbers {
    success: Counter,
    failures: Counter,
    under_way: Gauge,
    duration: Histogram,
}

/// A snapshot that is being received. Dropped before its end, it has failed.
#[derive(Debug)]
pub struct Receiving {
    transfers: Arc<Transfers>,
    from: NodeId,
    index: Index,
    since: Instant,
    is_over: bool,
}

impl Transfers {
    pub fn new(own: NodeId, logger: Logger, registry: Arc<Registry>) -> Arc<Transfers> {
        Arc::new(Transfers { own, logger, registry, sending: Mutex::default() })
    }

    /// A database of so many bytes goes out.
    pub fn sending(&self, to: NodeId, index: Index, bytes: u64) {
        let before = self.sending.lock().insert(to, Sending { index, bytes, since: Instant::now() });
        if before.is_none() {
            self.of_sending(to).under_way.add(1.0);
        }
        let (to, size) = (Value::Id(Id(to.0)), human(bytes));
        log!(self.logger, lines::SENDING_SNAPSHOT, index.0, to, bytes, &size);
    }

    /// It has got there, or it has not.
    pub fn sent(&self, to: NodeId, arrived: bool) {
        let Some(Sending { index, bytes, since }) = self.sending.lock().remove(&to) else { return };
        let numbers = self.of_sending(to);
        numbers.end(arrived, since.elapsed());
        let (to, size) = (Value::Id(Id(to.0)), human(bytes));
        match arrived {
            true => log!(self.logger, lines::SENT_SNAPSHOT, index.0, to, bytes, &size),
            false => log!(self.logger, lines::SNAPSHOT_NOT_SENT, index.0, to, bytes, &size),
        }
    }

    /// A database comes in.
    pub fn receiving(self: &Arc<Self>, from: NodeId, index: Index) -> Receiving {
        self.of_receiving(from).under_way.add(1.0);
        let (own, sender) = (Value::Id(Id(self.own.0)), Value::Id(Id(from.0)));
        log!(self.logger, lines::RECEIVING_SNAPSHOT, own, sender, index.0);
        Receiving { transfers: self.clone(), from, index, since: Instant::now(), is_over: false }
    }

    fn of_sending(&self, to: NodeId) -> Numbers {
        let to = format!("{:x}", to.0);
        let labels = &[&*to];
        Numbers {
            success: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_SEND_SUCCESS, labels),
            failures: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_SEND_FAILURES, labels),
            under_way: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_SEND_INFLIGHTS_TOTAL, labels),
            duration: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_SEND_TOTAL_DURATION_SECONDS, labels),
        }
    }

    fn of_receiving(&self, from: NodeId) -> Numbers {
        let from = format!("{:x}", from.0);
        let labels = &[&*from];
        Numbers {
            success: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_RECEIVE_SUCCESS, labels),
            failures: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_RECEIVE_FAILURES, labels),
            under_way: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_RECEIVE_INFLIGHTS_TOTAL, labels),
            duration: self.registry.metric(&families::ETCD_NETWORK_SNAPSHOT_RECEIVE_TOTAL_DURATION_SECONDS, labels),
        }
    }
}

impl Numbers {
    fn end(&self, success: bool, took: Duration) {
        self.under_way.add(-1.0);
        match success {
            true => {
                self.success.increment();
                self.duration.observe_seconds(took);
            }
            false => self.failures.increment(),
        }
    }
}

impl Receiving {
    /// All of its bytes are here and made use of.
    pub fn received(mut self, bytes: u64) {
        self.is_over = true;
        let (Transfers { own, logger, .. }, took) = (&*self.transfers, self.since.elapsed());
        self.transfers.of_receiving(self.from).end(true, took);
        let (own, sender) = (Value::Id(Id(own.0)), Value::Id(Id(self.from.0)));
        log!(logger, lines::RECEIVED_SNAPSHOT, own, sender, self.index.0, bytes, &human(bytes), took);
    }

    /// It could not be taken.
    pub fn failed(&self, why: &str) {
        let Transfers { own, logger, .. } = &*self.transfers;
        let (own, sender) = (Value::Id(Id(own.0)), Value::Id(Id(self.from.0)));
        log!(logger, lines::SNAPSHOT_NOT_RECEIVED, own, sender, self.index.0, why);
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.is_over {
            self.transfers.of_receiving(self.from).end(false, self.since.elapsed());
        }
    }
}
