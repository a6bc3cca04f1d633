//! The keyspace as the history of watchers.

use std::sync::Arc;

use bytes::Bytes;
use ferrite_storage::{ReadError, Revision};

use super::history::{Change, History, Step};
use crate::mvcc::Keyspace;

/// Holds up trimming in the keyspace that it was taken from.
#[derive(Debug)]
pub struct HistoryPin {
    keyspace: Arc<Keyspace>,
    from: u64,
}

impl Drop for HistoryPin {
    fn drop(&mut self) {
        self.keyspace.unpin(self.from);
    }
}

impl History for Arc<Keyspace> {
    type Pin = HistoryPin;

    fn published(&self) -> u64 {
        self.revision()
    }

    fn compacted(&self) -> u64 {
        // -1 before the first compaction.
        Keyspace::compacted(self).try_into().unwrap_or(0)
    }

    fn pin(&self, from: u64) -> Option<HistoryPin> {
        Keyspace::pin(self, from).ok()?;
        Some(HistoryPin { keyspace: self.clone(), from })
    }

    fn is_kept_by(&self, pin: &HistoryPin) -> bool {
        Arc::ptr_eq(self, &pin.keyspace)
    }

    fn read(&self, from: u64, until: u64, step: Step, changes: &mut Vec<Change>) -> Result<u64, ReadError> {
        let mut room = Room::new(step);
        for record in self.revisions().scan(Revision { main: from, sub: 0 }, until) {
            let record = record?;
            if !room.takes(record.revision.main, record.key_value.len()) {
                return Ok(record.revision.main - 1);
            }
            changes.push(Change {
                revision: record.revision,
                tombstone: record.tombstone,
                key_value: record.key_value.into(),
            });
        }
        Ok(until)
    }

    fn read_key(
        &self,
        key: &[u8],
        from: u64,
        until: u64,
        step: Step,
        changes: &mut Vec<Change>,
    ) -> Result<u64, ReadError> {
        let (revisions, covered) = self.changes_of(key, from, until, step.changes);
        let mut room = Room::new(step);
        for (revision, tombstone) in revisions {
            let Some(key_value) = self.revisions().get(revision)? else {
                // It was compacted since we looked, and the caller will find that out.
                continue;
            };
            if !room.takes(revision.main, key_value.len()) {
                return Ok(revision.main - 1);
            }
            changes.push(Change { revision, tombstone, key_value: key_value.into() });
        }
        Ok(covered)
    }

    fn value_at(&self, key: &[u8], revision: u64) -> Result<Option<Bytes>, ReadError> {
        self.key_value_at(key, revision)
    }
}

/// What is left of a step.
struct Room {
    changes: usize,
    bytes: usize,
    last: u64,
}

impl Room {
    fn new(step: Step) -> Room {
        Room { changes: step.changes, bytes: step.bytes, last: 0 }
    }

    /// Whether a change still belongs to the step: it does if its revision has begun in it.
    fn takes(&mut self, main: u64, bytes: usize) -> bool {
        if main != self.last {
            let is_first = self.last == 0;
            if !is_first && (self.changes == 0 || self.bytes == 0) {
                return false;
            }
            self.last = main;
        }
        self.changes = self.changes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use ferrite_proto::etcdserverpb as pb;
    use ferrite_proto::etcdserverpb::request_op::Request;

    use super::super::event::key_of;
    use super::super::{Body, Config, Hub, WatcherSpec};
    use super::*;
    use crate::Want;
    use crate::clock::Millis;
    use crate::command::{Command, Txn};
    use crate::random::Random;
    use crate::testing::Machine;

    const KEYS: [&str; 3] = ["a", "b", "c"];

    /// A step that only its number of changes bounds.
    fn changes(changes: usize) -> Step {
        Step { changes, bytes: usize::MAX }
    }

    fn put(key: &str, value: String) -> Request {
        Request::RequestPut(pb::PutRequest { key: key.to_string().into(), value: value.into(), ..Default::default() })
    }

    /// A delete from a key up to the end of all keys, which may stand beside puts of them.
    fn delete_from(key: &str) -> Request {
        let range_end = "\0".into();
        Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.to_string().into(), range_end, prev_kv: false })
    }

    /// Operations that are made under one `main`.
    fn txn(requests: Vec<Request>) -> Command {
        let success = requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect();
        Command::Txn(Txn::try_from(pb::TxnRequest { success, ..Default::default() }).unwrap())
    }

    fn keyspace(machine: &Machine) -> Arc<Keyspace> {
        machine.state.shared().keyspace().clone()
    }

    /// What was written of a key, or of all, from one revision up to another.
    fn written(machine: &Machine, key: Option<&str>, from: u64, until: u64) -> Vec<Change> {
        let records = machine.effects.iter().flat_map(|effect| &effect.records).cloned();
        let changes = records.map(|record| Change {
            revision: record.revision,
            tombstone: record.tombstone,
            key_value: record.key_value,
        });
        let wanted = |change: &Change| {
            (from..=until).contains(&change.revision.main)
                && key.is_none_or(|key| key_of(&change.key_value) == key.as_bytes())
        };
        changes.filter(wanted).collect()
    }

    /// Goes through a piece of history in steps: each tells all up to where it says, and ends as soon as it may.
    fn check(machine: &Machine, key: Option<&str>, from: u64, until: u64, step: Step) {
        let history = keyspace(machine);
        let mut next = from;
        while next <= until {
            let mut told = Vec::new();
            let covered = match key {
                Some(key) => history.read_key(key.as_bytes(), next, until, step, &mut told),
                None => history.read(next, until, step, &mut told),
            };
            let covered = covered.unwrap();
            let of = format!("{key:?} from {next} up to {covered} of {until}, {step:?}");
            assert!((next..=until).contains(&covered), "{of}");
            let expected = written(machine, key, next, covered);
            assert!(told == expected, "{of}: {} changes of {}", told.len(), expected.len());
            let last = told.last().map_or(0, |change| change.revision.main);
            let before: Vec<_> = told.iter().filter(|change| change.revision.main < last).collect();
            assert!(before.is_empty() || before.len() < step.changes, "{of}: {} changes", told.len());
            let bytes: usize = before.iter().map(|change| change.key_value.len()).sum();
            assert!(before.is_empty() || bytes < step.bytes, "{of}: {bytes} bytes");
            next = covered + 1;
        }
    }

    #[test]
    fn a_step_may_end_at_any_change_of_a_key() {
        // A key put again by each of many transactions, behind so many plain puts.
        for (puts, changes_of_each) in [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 40)] {
            let mut machine = Machine::new(Want::Effect);
            for at in 0..puts {
                machine.apply(&txn(vec![put("a", format!("plain {at}"))])).unwrap();
            }
            for at in 0..20 {
                let change = |sub: usize| match sub % 2 {
                    0 => put("a", format!("{at} {sub}")),
                    _ => delete_from("a"),
                };
                machine.apply(&txn((0..changes_of_each).map(change).collect())).unwrap();
            }
            let until = keyspace(&machine).revision();
            for bound in 0..50 {
                check(&machine, Some("a"), 1, until, changes(bound));
                check(&machine, None, 1, until, changes(bound));
            }
        }
    }
    /// One step of a random history: few keys, which a transaction changes again and again.
    fn act(machine: &mut Machine, random: &mut Random) {
        let keyspace = keyspace(machine);
        match random.below(12) {
            0 => {
                let revision = keyspace.revision() - random.below(keyspace.revision().min(20));
                // It may be compacted already.
                let _ = machine
                    .apply(&Command::Compaction(pb::CompactionRequest { revision: revision as i64, physical: false }));
            }
            1 => machine.trim(3),
            2 => {
                machine.publish();
                machine.restart();
            }
            3 => machine.publish(),
            _ => {
                let count = [1, 2, 3, 12][random.below(4) as usize];
                let operation = |_| match (KEYS[random.below(3) as usize], random.below(3)) {
                    (key, 0) => delete_from(key),
                    (key, _) => put(key, "v".repeat(random.below(30) as usize)),
                };
                let command = txn((0..count).map(operation).collect());
                machine.apply_unpublished(&command).unwrap();
            }
        }
    }

    fn run(seed: u64) {
        let mut random = Random::new(seed);
        let mut machine = Machine::new(Want::Effect);
        for _ in 0..60 {
            act(&mut machine, &mut random);
            let keyspace = keyspace(&machine);
            let (oldest, newest) = (History::compacted(&keyspace), keyspace.published());
            // What is compacted may be there or not.
            let from = oldest + 1 + random.below(newest - oldest + 1);
            let until = newest - random.below(newest.min(3));
            let bytes = if random.below(2) == 0 { usize::MAX } else { random.below(200) as usize };
            let step = Step { changes: random.below(16) as usize, bytes };
            for key in KEYS.map(Some).into_iter().chain([None]) {
                check(&machine, key, from, until, step);
            }
        }
    }

    #[test]
    fn steps_tell_all_of_random_histories() {
        for seed in 0..if cfg!(debug_assertions) { 200 } else { 10_000 } {
            let failed = std::panic::catch_unwind(|| run(seed));
            assert!(failed.is_ok(), "failed with seed {seed}");
        }
    }
    #[test]
    fn watchers_of_a_key_and_of_all_keys_are_told_the_same() {
        // More than one step of a single key, which ends between two changes of a transaction or behind them.
        for puts in [0, 1] {
            let mut machine = Machine::new(Want::Effect);
            for _ in 0..puts {
                machine.apply(&txn(vec![put("a", "plain".to_string())])).unwrap();
            }
            for _ in 0..1200 {
                machine.apply(&txn(vec![put("a", "v".to_string()), delete_from("a")])).unwrap();
            }
            let history = keyspace(&machine);
            let mut hub = Hub::new(Config::default(), &history);
            let stream = hub.open(Millis(0));
            for range_end in ["", "\0"] {
                let (key, range_end) = ("a".into(), range_end.into());
                let request = pb::WatchCreateRequest { key, range_end, start_revision: 1, ..Default::default() };
                hub.create(stream, WatcherSpec::parse(&request).unwrap(), &history).unwrap();
            }
            let mut told = [Vec::new(), Vec::new()];
            loop {
                let more = hub.step(Millis(0), &history).unwrap();
                while let Some(message) = hub.take(stream) {
                    if let Body::Events { events, .. } = message.body {
                        told[message.watch_id as usize].extend(events);
                    }
                }
                if !more && !hub.wants_step(stream) {
                    break;
                }
            }
            assert_eq!(hub.counts().lagging, 0);
            assert_eq!(told.each_ref().map(Vec::len), [puts + 2400; 2], "{puts} plain puts");
            assert!(told[0] == told[1]);
        }
    }
}
