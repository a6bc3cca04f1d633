//! The state machine against the naive model, in random histories.

mod restart;
mod room;

use std::ops::ControlFlow;

use ferrite_proto::etcdserverpb as pb;
use ferrite_storage::Table;

use super::Want;
use crate::lease::LeaseId;
use crate::testing::{Answer, Generator, Machine, Model, Step, Validity, write_history};

/// Histories of a run; `FERRITE_HISTORIES` sets another number.
fn histories() -> u64 {
    std::env::var("FERRITE_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(1500)
}

/// Takes a machine through a history, with restarts and trimming at any moment, and asks everything after each step.
fn run(seed: u64, validity: Validity, steps: usize) -> Vec<(Step, Answer)> {
    let mut generator = Generator::new(seed, validity);
    let (mut machine, mut model) = (Machine::new(Want::Answer), Model::new());
    // The same log on a member where nobody waits.
    let mut follower = Machine::new(Want::Effect);
    let mut history = Vec::new();
    let mut held = Vec::new();
    for number in 0..steps {
        let context = format!("seed {seed} {validity:?}, step {number}");
        let step = generator.step(model.current());
        let expected = model.step(&step);
        if matches!(step, Step::HashKv(_)) && generator.random().below(2) == 0 {
            held.clear();
            machine.trim(5);
        }
        let answer = machine.step(&step);
        // What a compaction hashes is known when it is trimmed.
        if !(is_from_compaction(&expected, &model) && machine.state.next_trim().is_some()) {
            assert_eq!(answer, expected, "{context}: {step:?}");
        }
        follower.step(&step);
        history.push((step, expected));

        let keyspace = machine.state.shared().keyspace().clone();
        assert_eq!(
            (keyspace.revision() as i64, keyspace.compacted()),
            (model.current(), model.compacted()),
            "{context}"
        );
        for lease in model.leases() {
            let keys = machine.state.shared().lessor.lock().keys(LeaseId::new(lease).unwrap()).unwrap();
            assert!(keys.iter().map(|key| &key[..]).eq(model.keys_of(lease).iter().map(|key| &key[..])), "{context}");
        }
        // Ranges in parts are ranges.
        let mut plain = match generator.step(model.current()) {
            Step::Range(range) => range,
            _ => pb::RangeRequest { key: "a".into(), range_end: "\0".into(), ..Default::default() },
        };
        plain = pb::RangeRequest { sort_order: 0, sort_target: 0, count_only: false, ..plain };
        (plain.min_mod_revision, plain.max_mod_revision) = (0, 0);
        (plain.min_create_revision, plain.max_create_revision) = (0, 0);
        let most_keys = 1 + generator.random().below(4);
        assert_eq!(
            machine.streamed(&plain, most_keys),
            model.step(&Step::Range(plain.clone())),
            "{context}: {plain:?}"
        );

        // A part is sorted by the target, so that one part is the sorted range.
        let sorted = pb::RangeRequest { limit: 0, sort_target: generator.random().below(5) as i32, ..plain };
        assert_eq!(machine.streamed(&sorted, 1000), model.step(&Step::Range(sorted.clone())), "{context}: {sorted:?}");

        // A view that was begun sees the same to its end.
        if generator.random().below(10) == 0 && held.len() < 3 {
            let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
            let back = generator.random().below(1 + (model.current() - model.compacted().max(1)) as u64);
            if let Ok(view) = keyspace.view_owned(model.current() - back as i64) {
                let expected = view.range(&all).unwrap();
                held.push((view, all, expected));
            }
        }
        for (view, all, expected) in &held {
            assert_eq!(&view.range(all).unwrap(), expected, "{context}: view at {}", view.main());
        }
        match generator.random().below(30) {
            0 => held.clear(),
            1 => drop(machine.state.trim_step(1 + generator.random().below(8) as usize)),
            2 => machine.trim(3),
            3 => {
                held.clear();
                machine.restart();
                model.restart();
            }
            4 => follower.trim(usize::MAX),
            _ => {}
        }
    }
    drop(held);
    agree(&mut machine, &mut follower, seed);
    history
}

fn is_from_compaction(answer: &Answer, model: &Model) -> bool {
    matches!(answer, Answer::HashKv(response) if response.compact_revision < model.compacted())
}

/// Two machines that applied one log hold the same.
fn agree(one: &mut Machine, two: &mut Machine, seed: u64) {
    for machine in [&mut *one, &mut *two] {
        machine.trim(100);
        machine.restart();
        machine.apply(&crate::Command::Noop).unwrap();
    }
    assert_eq!(one.rows, two.rows, "seed {seed}");
    one.check_rows();
    let records = |machine: &Machine| machine.effects.iter().flat_map(|e| e.records.clone()).collect::<Vec<_>>();
    assert_eq!(records(one), records(two), "seed {seed}");
    let current = one.state.shared().keyspace().revision() as i64;
    assert_eq!(one.hash(current), two.hash(current), "seed {seed}");
    let finished = one.rows.get(&(Table::Meta, "finishedCompactRev".into()));
    assert_eq!(finished, one.rows.get(&(Table::Meta, "scheduledCompactRev".into())), "seed {seed}");
}

#[test]
fn random_histories_agree_with_the_model() {
    for seed in 0..histories() {
        let validity = if seed.is_multiple_of(2) { Validity::Valid } else { Validity::Any };
        run(seed, validity, 40);
    }
    for seed in 0..histories() / 100 {
        run(1_000_000 + seed, Validity::Any, 500);
    }
}

/// Writes histories for a real etcd into the directory that `FERRITE_HISTORY_DIR` names; without it, makes sure that what
/// would be written says what happened.
#[test]
fn histories_can_be_written_down() {
    let directory = std::env::var_os("FERRITE_HISTORY_DIR");
    let (directory, count) = match &directory {
        Some(directory) => (directory.into(), 200),
        None => (std::env::temp_dir(), 1),
    };
    for seed in 0..count {
        let path = directory.join(format!("ferrite-history-{}-{seed}.txt", std::process::id()));
        let history = run_plain(seed, 100);
        write_history(&path, &history);
        if count == 1 {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(text.lines().count(), history.len());
            assert!(text.lines().all(|line| line.starts_with("/etcdserverpb.") && line.split(' ').count() == 3));
        }
    }
}

/// A history without restarts, which a client could not time.
fn run_plain(seed: u64, steps: usize) -> Vec<(Step, Answer)> {
    let mut generator = Generator::new(seed, Validity::Valid);
    let (mut machine, mut model) = (Machine::new(Want::Answer), Model::new());
    let mut history = Vec::new();
    for _ in 0..steps {
        let step = generator.step(model.current());
        let expected = model.step(&step);
        assert_eq!(machine.step(&step), expected, "seed {seed}: {step:?}");
        machine.trim(1000);
        history.push((step, expected));
    }
    history
}

#[test]
fn readers_see_only_what_is_published() {
    let mut machine = Machine::new(Want::Answer);
    let put = |key: &'static str| crate::Command::Put(pb::PutRequest { key: key.into(), ..Default::default() });
    machine.apply(&put("a")).unwrap();
    machine.apply_unpublished(&put("b")).unwrap();
    machine
        .apply_unpublished(&crate::Command::Compaction(pb::CompactionRequest { revision: 3, physical: false }))
        .unwrap();
    let keyspace = machine.state.shared().keyspace().clone();
    assert_eq!((keyspace.revision(), keyspace.compacted()), (2, -1));
    let view = keyspace.view(0).unwrap();
    let mut keys = Vec::new();
    view.reader().visit(&crate::mvcc::KeyRange::all(), |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!((keys, view.count(&crate::mvcc::KeyRange::all())), (vec![b"a".to_vec()], 1));
    drop(view);
    machine.publish();
    assert_eq!((keyspace.revision(), keyspace.compacted()), (3, 3));
}

/// The bytes of a transaction that nests so deep, with a put in the innermost.
fn deep_txn(levels: usize) -> Vec<u8> {
    // `success { request_put { key: "a" } }`, then from the inside outwards, written from behind.
    let mut reversed: Vec<u8> = b"\x12\x05\x12\x03\x0a\x01a".iter().rev().copied().collect();
    for _ in 1..levels {
        for tag in [0x22, 0x12] {
            let mut length = Vec::new();
            prost::encoding::encode_varint(reversed.len() as u64, &mut length);
            reversed.extend(length.iter().rev());
            reversed.push(tag);
        }
    }
    reversed.reverse();
    reversed
}

/// An entry that is committed has to be applied, however deep it nests: Go's limit is 10,000 messages.
#[test]
fn a_deep_transaction_is_applied_on_a_small_stack() {
    let apply = || {
        let mut machine = Machine::new(Want::Answer);
        let txn = crate::command::Txn::parse(deep_txn(10_000).into()).unwrap();
        let outcome = machine.apply(&crate::Command::Txn(txn));
        let Ok(crate::Response::Txn(answer)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((answer.revision, answer.levels.len()), (2, 10_000));
        let header = pb::ResponseHeader { revision: answer.revision, ..Default::default() };
        let mut out = bytes::BytesMut::new();
        answer.write(&header, &mut out);
        assert_eq!(out.len(), answer.encoded_len(&header));
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(apply).unwrap().join().unwrap();
}

#[test]
fn alarms_forbid_what_etcd_forbids() {
    use crate::ApplyError::{Corrupt, NoSpace};
    use crate::Command;
    use pb::request_op::Request;

    let txn = |success: Vec<Request>, failure: Vec<Request>| {
        let ops = |requests: Vec<Request>| {
            requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
        };
        let txn = pb::TxnRequest { compare: vec![], success: ops(success), failure: ops(failure) };
        Command::Txn(crate::command::Txn::try_from(txn).unwrap())
    };
    let put = || pb::PutRequest { key: "a".into(), ..Default::default() };
    let delete = || pb::DeleteRangeRequest { key: "a".into(), ..Default::default() };
    let range = pb::RangeRequest { key: "a".into(), ..Default::default() };
    let alarm = |action, alarm| Command::Alarm(pb::AlarmRequest { action, member_id: 9, alarm });
    let commands = [
        // What it does            under NOSPACE   under CORRUPT
        (Command::Put(put()), Some(NoSpace), Some(Corrupt)),
        (txn(vec![Request::RequestPut(put())], vec![]), Some(NoSpace), Some(Corrupt)),
        (txn(vec![], vec![Request::RequestPut(put())]), Some(NoSpace), Some(Corrupt)),
        (txn(vec![Request::RequestDeleteRange(delete())], vec![]), None, Some(Corrupt)),
        (Command::DeleteRange(delete()), None, Some(Corrupt)),
        (Command::Range(range), None, Some(Corrupt)),
        (Command::Compaction(pb::CompactionRequest { revision: 1, physical: false }), None, Some(Corrupt)),
        (Command::LeaseGrant(pb::LeaseGrantRequest { id: 7, ttl: 10 }), Some(NoSpace), Some(Corrupt)),
        (Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 5 }), None, Some(Corrupt)),
        (Command::LeaseCheckpoint(pb::LeaseCheckpointRequest::default()), None, None),
        (alarm(0, 0), None, None),
    ];
    let (nospace, corrupt) = (1, 2);
    for (command, under_nospace, under_corrupt) in &commands {
        for (raised, expected) in [
            (vec![], &None),
            (vec![nospace], under_nospace),
            (vec![corrupt], under_corrupt),
            (vec![nospace, corrupt], under_corrupt),
        ] {
            let mut machine = Machine::new(Want::Answer);
            machine.apply(&Command::Put(put())).unwrap();
            machine.apply(&Command::LeaseGrant(pb::LeaseGrantRequest { id: 5, ttl: 10 })).unwrap();
            for kind in &raised {
                machine.apply(&alarm(1, *kind)).unwrap();
            }
            let refused = machine.apply(command).err();
            assert_eq!(&refused, expected, "{command:?} under {raised:?}");
            if refused.is_some() {
                let effect = machine.effects.last().unwrap();
                assert_eq!((effect.records.len(), effect.rows.len()), (0, 0), "{command:?} was refused");
            }
            // The gate is looked at anew for each entry.
            for kind in &raised {
                machine.apply(&alarm(2, *kind)).unwrap();
            }
            assert!(refused.is_none() || machine.apply(command).is_ok(), "{command:?} after {raised:?}");
        }
    }
}

#[test]
fn what_would_make_this_member_another_than_the_rest_halts_it() {
    use crate::command::AuthCommand;
    use crate::{ApplyError, Command, Halt};
    use ferrite_proto::membershippb;
    use ferrite_raft::{Index, Term};

    let version = |ver: &str| Command::ClusterVersionSet(membershippb::ClusterVersionSetRequest { ver: ver.into() });
    let stranger = membershippb::ClusterMemberAttrSetRequest { member_id: 0xbad, member_attributes: None };
    let mut state = Machine::new(Want::Answer).state;
    let mut index = 0;
    let mut apply = |command: Command| {
        index += 1;
        state.apply(Index(index), Term(1), &command, Want::Answer)
    };
    assert!(!apply(version("3.7.0")).unwrap().wants_snapshot);
    assert!(apply(version("3.6.0")).unwrap().wants_snapshot, "an older version wants a log without anything newer");
    assert!(!apply(version("3.6.0")).unwrap().wants_snapshot);
    assert!(matches!(apply(version("3.8.0")), Err(Halt::TooOld { .. })));
    assert!(matches!(apply(version("three")), Err(Halt::NoVersion { .. })));
    assert!(matches!(apply(Command::MemberAttributesSet(stranger)), Err(Halt::UnknownMember(0xbad, _))));
    // These are answers, the same on every member.
    let authenticate = AuthCommand::Authenticate(pb::InternalAuthenticateRequest::default());
    assert_eq!(apply(Command::Auth(authenticate)).unwrap().outcome, Err(ApplyError::AuthNotEnabled));
    assert_eq!(apply(Command::Auth(AuthCommand::UserList)).unwrap().outcome, Err(ApplyError::AuthNotBuilt));
    let user = AuthCommand::UserAdd(pb::AuthUserAddRequest::default());
    for changes in [AuthCommand::Enable, AuthCommand::Disable, user] {
        assert!(matches!(apply(Command::Auth(changes)), Err(Halt::Auth(_))));
    }
}
