//! The tree against a sorted map of all revisions, in random histories.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::random::Random;

/// All changes of all keys: (revision, deleted).
type Model = BTreeMap<Vec<u8>, Vec<(Revision, bool)>>;

fn model_at(changes: &[(Revision, bool)], main: u64) -> Option<Found> {
    let seen: Vec<_> = changes.iter().take_while(|(revision, _)| revision.main <= main).collect();
    let born = seen.iter().rposition(|(_, deleted)| *deleted).map_or(0, |died| died + 1);
    let generation = &seen[born..];
    let (first, last) = (generation.first()?, generation.last()?);
    Some(Found { revision: last.0, created: first.0.main, version: generation.len() as u64 })
}

fn random_range(random: &mut Random, keys: u64) -> KeyRange {
    let start = random_key(random, keys);
    match random.below(4) {
        0 => KeyRange::single(start.into()),
        1 => KeyRange::new(start.into(), &Bytes::from_static(b"\0")),
        2 => KeyRange::all(),
        _ => KeyRange::new(start.into(), &random_key(random, keys).into()),
    }
}

fn random_key(random: &mut Random, keys: u64) -> Vec<u8> {
    let number = random.below(keys);
    // Short and long ones, so that leaves fill by bytes as well as by number.
    let mut key = format!("{number:03x}").into_bytes();
    key.truncate(1 + (number % 3) as usize);
    key.extend(std::iter::repeat_n(b'~', if number.is_multiple_of(97) { 3000 } else { (number % 7) as usize }));
    key
}

/// Everything a reader can ask at a revision, in steps of a random budget.
fn check_reads(index: &Index, model: &Model, range: &KeyRange, main: u64, budget: usize, context: &str) {
    let expected: Vec<_> = (model.iter())
        .filter(|(key, _)| range.contains(key))
        .filter_map(|(key, changes)| Some((key.clone(), model_at(changes, main)?)))
        .collect();

    let mut visited = Vec::new();
    let mut rest = Some(range.clone());
    while let Some(range) = rest {
        let position = index.visible(&range, main, budget, |key, found| {
            visited.push((key.to_vec(), found));
            ControlFlow::Continue(())
        });
        rest = position.map(|position| position.rest_of(&range));
    }
    assert_eq!(visited, expected, "{context}: {range:?} at {main}");

    let mut count = 0;
    let mut rest = Some(range.clone());
    while let Some(range) = rest {
        let (counted, position) = index.count(&range, main, budget);
        count += counted;
        rest = position.map(|position| position.rest_of(&range));
    }
    assert_eq!(count, expected.len() as u64, "{context}: count of {range:?} at {main}");
}

fn rebuilt(model: &Model, compacted: u64) -> (Index, Vec<Revision>) {
    let mut records: Vec<_> = (model.iter())
        .flat_map(|(key, changes)| changes.iter().map(move |(revision, deleted)| (*revision, key, *deleted, changes)))
        .collect();
    records.sort_by_key(|record| record.0);
    let mut builder = Builder::new(compacted);
    for (revision, key, deleted, changes) in records {
        let upto: Vec<_> = changes.iter().copied().take_while(|(r, _)| *r <= revision).collect();
        let facts = model_at(&upto, u64::MAX)
            .map(|found| PutFacts { created: found.created, version: found.version })
            .unwrap_or_default();
        builder.add(key, revision, deleted, facts);
    }
    builder.build()
}

fn run(seed: u64, keys: u64, steps: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let mut index = Index::default();
    let mut gone = BTreeSet::new();
    let (mut main, mut compacted) = (1, 0);
    for step in 0..steps {
        let context = format!("seed {seed}, step {step}");
        main += 1;
        for sub in 0..=random.below(3) {
            let key = random_key(&mut random, keys);
            let revision = Revision { main, sub };
            let changes = model.entry(key.clone()).or_default();
            let alive = model_at(changes, u64::MAX).is_some();
            if alive && random.below(3) == 0 {
                index.delete(&key, revision);
                changes.push((revision, true));
            } else {
                let facts = index.put(&key, revision);
                changes.push((revision, false));
                let found = model_at(changes, main).unwrap();
                assert_eq!((facts.created, facts.version), (found.created, found.version), "{context}");
            }
        }
        if step.is_multiple_of(16) {
            let range = random_range(&mut random, keys);
            let at = compacted.max(1) + random.below(main - compacted.max(1) + 1);
            check_reads(&index, &model, &range, at, 1 + random.below(300) as usize, &context);
        }
        if random.below(steps / 4) == 0 {
            compacted += random.below(main - compacted + 1);
            let mut dead = Vec::new();
            let mut position = Some(Position::start());
            while let Some(from) = position {
                position = index.compact(&from, compacted, 1 + random.below(200) as usize, &mut dead);
            }
            for revision in dead {
                assert!(gone.insert(revision), "{context}: {revision:?} is dead twice");
            }
            // The model forgets nothing, so built from it the index finds dead what all compactions did.
            let (built, dead) = rebuilt(&model, compacted);
            assert_eq!(dead.into_iter().collect::<BTreeSet<_>>(), gone, "{context}");
            built.root.check();
            check_reads(&built, &model, &KeyRange::all(), main, usize::MAX, &context);
            check_reads(&built, &model, &random_range(&mut random, keys), compacted.max(1), 7, &context);
        }
        if step.is_multiple_of(64) {
            index.root.check();
        }
    }
    // Delete all and compact: nothing may be left.
    main += 1;
    let mut alive = Vec::new();
    index.visible(&KeyRange::all(), main, usize::MAX, |key, _| {
        alive.push(key.to_vec());
        ControlFlow::Continue(())
    });
    for (sub, key) in alive.iter().enumerate() {
        index.delete(key, Revision { main, sub: sub as u64 });
    }
    let mut position = Some(Position::start());
    while let Some(from) = position {
        position = index.compact(&from, main + 1, 100, &mut Vec::new());
    }
    assert!(matches!(&index.root, Node::Leaf(_)), "seed {seed}");
    assert_eq!(index.root.tally(), node::Tally::default(), "seed {seed}");
}

#[test]
fn random_histories_agree_with_a_sorted_map() {
    for seed in 0..12 {
        run(seed, 40, 400);
        run(1000 + seed, 4096, 3000);
    }
}
