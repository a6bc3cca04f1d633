//! What the state machine costs: `cargo bench -p ferrite-state`. Times are the thread's on the processor, so that a busy
//! machine does not count; memory is that of the process.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Index, Term};
use ferrite_state::command::{Caller, encode_parsed};
use ferrite_state::mvcc::KeyRange;
use ferrite_state::{Proposal, RequestId, Settings, State, Want};
use ferrite_storage::{Table, WindowWriter, in_memory};
use prost::Message;
use rustix::time::{ClockId, clock_gettime};

struct Machine {
    state: State,
    window: WindowWriter,
    index: u64,
}

impl Machine {
    fn new() -> Machine {
        let (window, revisions) = in_memory();
        let rows: [(Table, Bytes, Bytes); 0] = [];
        let (state, _) = State::load(rows, revisions, Settings::default()).expect("an empty store loads");
        Machine { state, window, index: 0 }
    }

    /// From the entry's bytes to a published revision.
    fn apply(&mut self, data: Bytes) {
        self.index += 1;
        let entry = ferrite_raft::Entry { index: Index(self.index), term: Term(1), payload: data.into() };
        let proposal = Proposal::parse(&entry).expect("a well-formed entry");
        let applied = self.state.apply(entry.index, entry.term, &proposal.command, Want::Answer).expect("no disk");
        black_box(&applied.outcome);
        self.window.append(applied.effect);
        self.window.publish();
        self.state.publish();
    }
}

fn put(id: u64, key: &[u8], value: &Bytes) -> Bytes {
    let put = pb::PutRequest { key: Bytes::copy_from_slice(key), value: value.clone(), ..Default::default() };
    encode_parsed(RequestId(id + 1), &Caller::default(), 4, &put.encode_to_vec())
}

fn key(number: u64) -> Vec<u8> {
    format!("/registry/pods/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
}

/// How long this thread has been on a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn time(what: &str, count: u64, mut operation: impl FnMut(u64)) {
    let begin = processor_time();
    (0..count).for_each(&mut operation);
    let each = (processor_time() - begin).as_nanos() as f64 / count as f64;
    println!("{what:48} {each:12.0} ns");
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for keys in [10_000, 1_000_000] {
        println!("--- {keys} keys, 256-byte values");
        let value = Bytes::from(vec![b'v'; 256]);
        let entries: Vec<_> = (0..keys).map(|number| put(number, &key(number), &value)).collect();
        let mut machine = Machine::new();
        time("put of a new key, from the entry's bytes", keys, |number| {
            machine.apply(entries[number as usize].clone())
        });
        time("put of a key that exists", keys.min(100_000), |number| {
            machine.apply(entries[(number * 7 % keys) as usize].clone());
        });
        let keyspace = machine.state.shared().keyspace().clone();
        let gets: Vec<_> = (0..keys.min(100_000))
            .map(|number| pb::RangeRequest { key: key(number * 13 % keys).into(), ..Default::default() })
            .collect();
        let header = pb::ResponseHeader { cluster_id: 1 << 60, member_id: 1 << 61, revision: 5, raft_term: 2 };
        let mut out = bytes::BytesMut::new();
        time("get, written as a response", gets.len() as u64, |number| {
            let answer = keyspace.range(&gets[number as usize]).expect("no disk");
            out.clear();
            answer.write(Some(&header), &mut out);
            black_box(&out);
        });
        let list = |limit, revision| pb::RangeRequest {
            key: "/registry/pods/".into(),
            range_end: "/registry/pods0".into(),
            limit,
            revision,
            ..Default::default()
        };
        time("list of 10,000 keys", 10, |_| {
            let answer = keyspace.range(&list(10_000, 0)).expect("no disk");
            out.clear();
            answer.write(Some(&header), &mut out);
            black_box(&out);
        });
        let all = KeyRange::new("/registry/".into(), &"/registry0".into());
        let now = keyspace.revision() as i64;
        time("count of all keys", 1000, |_| {
            black_box(keyspace.view(0).expect("not compacted").count(&all));
        });
        time("count of all keys, 1,000 births ago", 100, |_| {
            black_box(keyspace.view(now - 1000).expect("not compacted").count(&all));
        });
        time("page of 500 keys at an older revision", 100, |_| {
            black_box(keyspace.range(&list(500, now - 100)).expect("not compacted"));
        });
        time("HashKV", 1, |_| {
            black_box(keyspace.hash_kv(now).expect("not compacted"));
        });
        let compaction = pb::CompactionRequest { revision: now, physical: false };
        machine.apply(encode_parsed(RequestId(1), &Caller::default(), 7, &compaction.encode_to_vec()));
        let (mut steps, mut longest) = (0, 0);
        let begin = processor_time();
        loop {
            let step = processor_time();
            let trimmed = machine.state.trim_step(512);
            longest = longest.max((processor_time() - step).as_micros());
            steps += 1;
            if !trimmed.more {
                break;
            }
        }
        println!("trimmed in {} ms, {steps} steps, the longest {longest} us", (processor_time() - begin).as_millis());

        let revisions = keyspace.revisions().clone();
        let rows: [(Table, Bytes, Bytes); 0] = [];
        let before = resident_bytes();
        let begin = processor_time();
        let (loaded, _) = State::load(rows, revisions, Settings::default()).expect("no disk");
        let taken = (processor_time() - begin).as_millis();
        let per_key = (resident_bytes().saturating_sub(before)) as f64 / keys as f64;
        println!("loaded in {taken} ms; the index takes {per_key:.0} bytes a key (a key has {} bytes)", key(0).len());
        drop(loaded);
    }
}
