//! Leases, the keys attached to them, and their rows: what the log decides, the same on every member. Beside it what this
//! member knows by its own clock, so that it can go on as a leader: since when the log has had the rest of a lease. What only
//! a leader knows (deadlines) is in `expiry`, and exists only while this member leads.

use std::collections::HashMap;

use bytes::Bytes;
use ferrite_proto::leasepb;
use prost::Message;

use super::attached::Attached;
use super::expiry::{Checkpoint, Expiry, Inherited, Renewal};
use super::{Key, LeaseError, LeaseId, MAX_TTL_SECONDS, NotPrimary};
use crate::clock::Millis;

/// All leases of a member.
#[derive(Debug)]
pub struct Lessor {
    /// Shorter TTLs are raised to this. It follows from local flags, as in etcd: members configured alike decide alike.
    min_ttl_seconds: i64,
    leases: HashMap<LeaseId, Lease>,
    /// The way back: which lease a key is attached to.
    attached: HashMap<Key, LeaseId>,
    /// Leases whose rest came from the log since the last look at the clock; more than once if it was cleared between. There
    /// is a look at each tick, so there are no more of them than entries in between.
    unseen: Vec<LeaseId>,
    /// Deadlines; only while this member leads.
    expiry: Option<Expiry>,
}

#[derive(Debug)]
struct Lease {
    ttl_seconds: i64,
    /// The rest at the last checkpoint; 0 = none since it was granted or renewed.
    remaining_seconds: i64,
    /// What it was promised ends by then, on this member's clock. It is known only while the log has a rest: then a renewal
    /// would have cleared it before it was answered.
    ends_by: Option<Millis>,
    keys: Attached,
}

impl Lease {
    fn new(ttl_seconds: i64, remaining_seconds: i64) -> Lease {
        Lease { ttl_seconds, remaining_seconds, ends_by: None, keys: Attached::default() }
    }

    /// Its rest was in the log before `now`: what was promised ends a rest later at the latest.
    fn see(&mut self, now: Millis) {
        if self.remaining_seconds > 0 {
            let ends_by = now.plus_seconds(self.remaining_seconds);
            self.ends_by = Some(self.ends_by.map_or(ends_by, |before| before.min(ends_by)));
        }
    }

    /// When it ends for a leader that begins at `now`. The other two as in [`Lessor::promote`].
    fn deadline(&self, now: Millis, outage_millis: u64, unseen_millis: u64) -> Millis {
        match self.ends_by {
            // Nobody could renew it in the meantime. A rest from now on is always enough.
            Some(ends_by) => (ends_by + outage_millis).min(now.plus_seconds(self.remaining_seconds)),
            // It may have been renewed a moment ago.
            None => now.plus_seconds(self.ttl_seconds) + unseen_millis,
        }
    }
}

/// What LeaseTimeToLive tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    pub granted_seconds: i64,
    /// Whole seconds, cut off; zero or negative between the deadline and the revocation.
    pub remaining_seconds: i64,
    /// In ascending order.
    pub keys: Vec<Key>,
}

/// A row of the lease table that cannot be read: the store is damaged, or was written by something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("lease table: the row {key:02x?} is not a lease: {source}")]
    Malformed { key: Vec<u8>, source: prost::DecodeError },
    #[error("lease table: the row {key:02x?} holds the lease {id}")]
    WrongKey { key: Vec<u8>, id: i64 },
}

/// The key of a lease's row: its id, big-endian.
pub fn row_key(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&id.get().to_be_bytes())
}

/// What the log decides.
impl Lessor {
    /// A lessor without leases. `min_ttl_seconds`: see [`Lessor::min_ttl_seconds`].
    pub fn new(min_ttl_seconds: i64) -> Lessor {
        Lessor { min_ttl_seconds, leases: HashMap::new(), attached: HashMap::new(), unseen: Vec::new(), expiry: None }
    }

    /// Takes in the rows of the lease table. The keys come with the keyspace, by [`Lessor::attach`].
    pub fn load<K, V>(min_ttl_seconds: i64, rows: impl IntoIterator<Item = (K, V)>) -> Result<Lessor, RowError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut lessor = Lessor::new(min_ttl_seconds);
        for (key, value) in rows {
            let key = key.as_ref();
            let row = leasepb::Lease::decode(value.as_ref())
                .map_err(|source| RowError::Malformed { key: key.to_vec(), source })?;
            let id = LeaseId::new(row.id)
                .filter(|id| key == id.get().to_be_bytes())
                .ok_or_else(|| RowError::WrongKey { key: key.to_vec(), id: row.id })?;
            lessor.leases.insert(id, Lease::new(row.ttl.max(min_ttl_seconds), row.remaining_ttl));
            lessor.unseen.push(id);
        }
        Ok(lessor)
    }

    /// The TTL to which shorter ones are raised, before proposing and again when applied.
    pub fn min_ttl_seconds(&self) -> i64 {
        self.min_ttl_seconds
    }

    /// Grants a lease and returns its effective TTL. (An id of 0 is [`LeaseError::NotFound`], tested first: [`LeaseId::new`].)
    pub fn grant(&mut self, id: LeaseId, ttl_seconds: i64) -> Result<i64, LeaseError> {
        if ttl_seconds > MAX_TTL_SECONDS {
            return Err(LeaseError::TtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(LeaseError::Exists);
        }
        let ttl_seconds = ttl_seconds.max(self.min_ttl_seconds);
        self.leases.insert(id, Lease::new(ttl_seconds, 0));
        if let Some(expiry) = &mut self.expiry {
            expiry.granted(id, ttl_seconds);
        }
        Ok(ttl_seconds)
    }

    /// Ends a lease and returns the keys that go with it, in the ascending order in which they are to be deleted. The row
    /// goes too. They are detached already: detaching them again, as a delete does, is harmless.
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Key>, LeaseError> {
        let lease = self.leases.remove(&id).ok_or(LeaseError::NotFound)?;
        if let Some(expiry) = &mut self.expiry {
            expiry.revoked(id);
        }
        let keys = lease.keys.into_vec();
        for key in &keys {
            self.attached.remove(key);
        }
        Ok(keys)
    }

    /// Attaches a key, which leaves the lease it was attached to before, if any.
    pub fn attach(&mut self, key: &[u8], id: LeaseId) -> Result<(), LeaseError> {
        if self.lease_of(key) == Some(id) {
            return Ok(());
        }
        if !self.leases.contains_key(&id) {
            return Err(LeaseError::NotFound);
        }
        self.detach(key);
        let lease = self.leases.get_mut(&id).expect("looked up above");
        let key: Key = key.into();
        lease.keys.insert(key.clone());
        self.attached.insert(key, id);
        Ok(())
    }

    /// Detaches a key from its lease, if it has one.
    pub fn detach(&mut self, key: &[u8]) {
        if let Some((_, id)) = self.attached.remove_entry(key) {
            self.leases.get_mut(&id).expect("a key is attached to a lease that exists").keys.remove(key);
        }
    }

    /// Sets what is left of a lease, 0 = its whole TTL. Returns whether there is such a lease: if not, nothing happens, and
    /// that is no error.
    pub fn checkpoint(&mut self, id: LeaseId, remaining_seconds: i64) -> bool {
        match self.leases.get_mut(&id) {
            None => false,
            Some(lease) => {
                lease.remaining_seconds = remaining_seconds;
                if remaining_seconds > 0 {
                    self.unseen.push(id);
                } else {
                    lease.ends_by = None;
                }
                true
            }
        }
    }

    /// The row of a lease as it is now, to be written after a grant and (as the cluster version allows) after a checkpoint.
    pub fn row(&self, id: LeaseId) -> Option<Bytes> {
        let lease = self.leases.get(&id)?;
        let row = leasepb::Lease { id: id.get(), ttl: lease.ttl_seconds, remaining_ttl: lease.remaining_seconds };
        Some(row.encode_to_vec().into())
    }

    pub fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.leases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub fn lease_of(&self, key: &[u8]) -> Option<LeaseId> {
        self.attached.get(key).copied()
    }

    /// The keys attached to a lease, in ascending order.
    pub fn keys(&self, id: LeaseId) -> Option<Vec<Key>> {
        Some(self.leases.get(&id)?.keys.to_vec())
    }

    /// The leases that have a checkpoint, by id: what has to be reset when a cluster stops using them.
    pub fn checkpointed(&self) -> Vec<LeaseId> {
        let with_rest = self.leases.iter().filter(|(_, lease)| lease.remaining_seconds > 0);
        let mut ids: Vec<LeaseId> = with_rest.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

/// What a member knows by its clock. `now` must not go back.
impl Lessor {
    /// A look at the clock, which every member takes at each tick: what came from the log since the last one has been there
    /// since now at the latest.
    pub fn look(&mut self, now: Millis) {
        for id in self.unseen.drain(..) {
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.see(now);
            }
        }
    }

    /// A member has been started, and knows of no rest how long it has been in the log. A leader tells it.
    pub fn tell_again(&mut self) {
        if let Some(expiry) = &mut self.expiry {
            expiry.tell_again();
        }
    }
}

/// What only the leader decides. Each call but `demote` is a look at the clock, too.
impl Lessor {
    pub fn is_primary(&self) -> bool {
        self.expiry.is_some()
    }

    /// This member leads, and has applied all that its predecessors committed: every lease gets what is left of it, and the
    /// time in which nobody led and could have renewed it. `unseen_millis`: for how long a leader before may have gone on
    /// renewing ([`UNSEEN_MILLIS`](super::UNSEEN_MILLIS), or an election timeout beside members of etcd).
    pub fn promote(&mut self, now: Millis, outage_millis: u64, unseen_millis: u64) {
        self.look(now);
        let leases = self.leases.iter().map(|(id, lease)| Inherited {
            id: *id,
            ttl_seconds: lease.ttl_seconds,
            deadline: lease.deadline(now, outage_millis, unseen_millis),
            is_told: lease.remaining_seconds > 0,
        });
        self.expiry = Some(Expiry::new(now, leases));
    }

    /// This member does not lead any more: it forgets all deadlines.
    pub fn demote(&mut self) {
        self.expiry = None;
    }

    /// Gives a lease its whole TTL again. Read [`Renewal`]: not every outcome may be answered yet.
    pub fn renew(&mut self, id: LeaseId, now: Millis) -> Result<Renewal, NotPrimary> {
        let expiry = self.expiry.as_mut().ok_or(NotPrimary)?;
        let Some(lease) = self.leases.get(&id) else {
            return Ok(Renewal::NotFound);
        };
        Ok(expiry.renew(id, lease.ttl_seconds, lease.remaining_seconds > 0, now))
    }

    /// Leases past their deadline, in order if asked in time, to be revoked through the log. Each is handed out once, and then is unanswered until it is revoked or given back by [`Lessor::revoke_failed`]; at most `limit` are unanswered
    /// ([`MAX_UNANSWERED_REVOKES`](super::MAX_UNANSWERED_REVOKES), fewer beside members of etcd).
    pub fn due(&mut self, now: Millis, limit: usize) -> Vec<LeaseId> {
        self.expiry.as_mut().map_or_else(Vec::new, |expiry| expiry.due(now, limit))
    }

    /// When [`Lessor::due`] may have something to hand out; `None` = not before a grant or a promotion.
    pub fn next_due(&mut self, now: Millis) -> Option<Millis> {
        self.expiry.as_mut()?.next_due(now)
    }

    /// The revocation of a lease that was due has failed or timed out: if the lease is still there, it is due again.
    pub fn revoke_failed(&mut self, id: LeaseId) {
        if let Some(expiry) = &mut self.expiry {
            expiry.revoke_failed(id);
        }
    }

    /// Checkpoints to be proposed, at most `max` of them in one entry. Until [`Lessor::checkpoints_answered`] they are under
    /// way, and renewals of their leases cannot be answered.
    pub fn checkpoints_due(&mut self, now: Millis, max: usize) -> Vec<Checkpoint> {
        self.expiry.as_mut().map_or_else(Vec::new, |expiry| expiry.checkpoints_due(now, max))
    }

    /// The entry with these checkpoints has been applied.
    pub fn checkpoints_answered(&mut self, checkpoints: &[Checkpoint]) {
        if let Some(expiry) = &mut self.expiry {
            expiry.checkpoints_answered(checkpoints);
        }
    }

    /// The entry with these checkpoints was refused, and will never be in the log.
    pub fn checkpoints_failed(&mut self, checkpoints: &[Checkpoint], now: Millis) {
        if let Some(expiry) = &mut self.expiry {
            expiry.checkpoints_failed(checkpoints, now);
        }
    }

    /// What is known of a lease; `None` = there is no such lease.
    pub fn time_to_live(&mut self, id: LeaseId, now: Millis) -> Result<Option<TimeToLive>, NotPrimary> {
        let expiry = self.expiry.as_mut().ok_or(NotPrimary)?;
        let Some(lease) = self.leases.get(&id) else {
            return Ok(None);
        };
        let remaining_millis = expiry.deadline(id, now).since(now);
        Ok(Some(TimeToLive {
            granted_seconds: lease.ttl_seconds,
            remaining_seconds: remaining_millis / 1000,
            keys: lease.keys.to_vec(),
        }))
    }

    /// Until when a lease lives.
    #[cfg(test)]
    pub(super) fn expiry_of(&mut self, id: LeaseId, now: Millis) -> Millis {
        self.expiry.as_mut().expect("a leader").deadline(id, now)
    }

    /// All leases with their deadlines, in no order; without a deadline if this member does not lead.
    pub(super) fn deadlines(&mut self, now: Millis) -> Vec<(Option<Millis>, LeaseId)> {
        match &mut self.expiry {
            None => self.leases.keys().map(|id| (None, *id)).collect(),
            Some(expiry) => self.leases.keys().map(|id| (Some(expiry.deadline(*id, now)), *id)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: i64) -> LeaseId {
        LeaseId::new(id).expect("not 0")
    }

    fn text(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|key| str::from_utf8(key).expect("test keys are text")).collect()
    }

    #[test]
    fn grants() {
        let mut lessor = Lessor::new(2);
        let mut check = |lease, ttl, outcome| assert_eq!(lessor.grant(id(lease), ttl), outcome, "{lease} {ttl}");
        //    id  TTL                  outcome
        check(1, 10, Ok(10));
        check(1, 10, Err(LeaseError::Exists));
        check(1, MAX_TTL_SECONDS + 1, Err(LeaseError::TtlTooLarge)); // tested before existence
        check(2, MAX_TTL_SECONDS, Ok(MAX_TTL_SECONDS));
        check(3, 1, Ok(2));
        check(4, 0, Ok(2));
        check(-5, -7, Ok(2));
        assert_eq!(LeaseId::new(0), None);
    }

    #[test]
    fn keys_follow_their_last_lease() {
        let mut lessor = Lessor::new(1);
        lessor.grant(id(1), 10).unwrap();
        lessor.grant(id(2), 10).unwrap();
        for key in ["c", "a", "b", "a"] {
            lessor.attach(key.as_bytes(), id(1)).unwrap();
        }
        assert_eq!(lessor.attach(b"a", id(9)), Err(LeaseError::NotFound));
        assert_eq!(lessor.lease_of(b"a"), Some(id(1)), "a refused attachment changes nothing");
        lessor.attach(b"b", id(2)).unwrap();
        lessor.attach(b"d", id(1)).unwrap();
        lessor.detach(b"c");
        lessor.detach(b"nothing");
        assert_eq!(text(&lessor.keys(id(1)).unwrap()), ["a", "d"]);
        assert_eq!(text(&lessor.revoke(id(1)).unwrap()), ["a", "d"]);
        assert_eq!(lessor.revoke(id(1)), Err(LeaseError::NotFound));
        assert_eq!((lessor.lease_of(b"a"), lessor.lease_of(b"b")), (None, Some(id(2))));
        lessor.detach(b"a");
        assert_eq!(lessor.keys(id(1)), None);
    }

    /// The bytes are those that etcd writes: proto3, fields in order, zeros left out, the id big-endian as the key.
    #[test]
    fn rows_are_those_of_etcd() {
        let mut lessor = Lessor::new(1);
        lessor.grant(id(0x1234), 60).unwrap();
        assert_eq!(row_key(id(0x1234)).as_ref(), [0, 0, 0, 0, 0, 0, 0x12, 0x34]);
        assert_eq!(lessor.row(id(0x1234)).unwrap().as_ref(), [0x08, 0xb4, 0x24, 0x10, 60]);
        assert!(lessor.checkpoint(id(0x1234), 5));
        assert!(!lessor.checkpoint(id(1), 5));
        assert_eq!(lessor.row(id(0x1234)).unwrap().as_ref(), [0x08, 0xb4, 0x24, 0x10, 60, 0x18, 5]);
        assert_eq!(lessor.checkpointed(), [id(0x1234)]);
        assert_eq!(row_key(id(-1)).as_ref(), [0xff; 8]);
    }

    #[test]
    fn loads_rows_and_refuses_damaged_ones() {
        let row = |id, ttl, remaining_ttl| leasepb::Lease { id, ttl, remaining_ttl }.encode_to_vec();
        let key = |id: i64| id.to_be_bytes();
        let mut lessor = Lessor::load(5, [(key(1), row(1, 60, 7)), (key(-2), row(-2, 3, 0))]).unwrap();
        assert_eq!(lessor.len(), 2);
        lessor.promote(Millis(0), 0, 0);
        let mut remaining = |lease| lessor.time_to_live(id(lease), Millis(0)).unwrap().map(|t| t.remaining_seconds);
        assert_eq!(remaining(1), Some(7));
        assert_eq!(remaining(-2), Some(5), "a TTL below the minimum is raised");
        assert_eq!(remaining(3), None);

        let refused = |key: [u8; 8], value: Vec<u8>| Lessor::load(5, [(key, value)]).unwrap_err();
        assert!(matches!(refused(key(1), vec![0xff]), RowError::Malformed { .. }));
        assert!(matches!(refused(key(1), row(2, 60, 0)), RowError::WrongKey { id: 2, .. }));
        assert!(matches!(refused(key(0), row(0, 60, 0)), RowError::WrongKey { id: 0, .. }));
    }
}
