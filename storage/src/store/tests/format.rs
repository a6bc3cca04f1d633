//! The example bytes of `FORMAT.md` are what is written, and can be read.

use super::*;
use crate::store::buried::{Bits, Burial, Buried};
use crate::vfs::File;

const FORMAT: &str = include_str!("../../../FORMAT.md");

/// The bytes of an example: the block of hexadecimal numbers behind its heading.
fn example(name: &str) -> Vec<u8> {
    let (_, behind) = FORMAT.split_once(&format!("### Example: {name}\n")).expect("an example of this name");
    let block = behind.split("```").nth(1).expect("a block of bytes");
    let digits: Vec<u8> = block
        .lines()
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, bytes)| bytes.bytes())
        .filter_map(|digit| (digit as char).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn effects() -> [Effect; 2] {
    let key_value = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let row = |key, value: Option<&'static str>| RowChange {
        table: Table::Meta,
        key: Bytes::from_static(key),
        value: value.map(Bytes::from),
    };
    [
        Effect {
            index: Index(1),
            term: Term(2),
            // The key `a` with the value `b`.
            records: vec![Record::new(
                Revision { main: 2, sub: 0 },
                false,
                key_value(b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x01b"),
            )],
            rows: vec![row(b"x", Some("y"))],
        },
        Effect {
            index: Index(2),
            term: Term(2),
            records: vec![Record::new(Revision { main: 3, sub: 0 }, true, key_value(b"\x0a\x01a"))],
            rows: vec![row(b"z", None)],
        },
    ]
}

/// The files of the example: made by a store, or given.
fn files(disk: &LyingDisk) -> [(&'static str, Vec<u8>); 3] {
    let read = |name: &str, length: usize| {
        let mut bytes = disk.read(&Path::new(DIR).join(name)).unwrap();
        bytes.truncate(length);
        bytes
    };
    let segment = example("segment").len();
    [
        ("MANIFEST", read("MANIFEST", usize::MAX)),
        ("segment", read(&segment_name(1), segment)),
        ("rows", read(&rows_name(2), usize::MAX)),
    ]
}

fn dump(bytes: &[u8]) -> String {
    let line = |(at, line): (usize, &[u8])| {
        let words = line.chunks(8).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        format!("{:04x}: {}\n", at * 16, words.collect::<Vec<_>>().join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

#[test]
fn the_examples_are_what_is_written() {
    let disk = disk();
    let (mut store, mut opened) = create(&disk, SMALL).unwrap();
    effects().into_iter().for_each(|effect| opened.window.append(effect));
    store.write(u64::MAX).unwrap();
    store.dump().unwrap();
    for (name, bytes) in files(&disk) {
        assert!(example(name) == bytes, "{name} is now\n{}", dump(&bytes));
    }
}

#[test]
fn the_examples_can_be_read() {
    let disk = disk();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in [
        ("MANIFEST".to_owned(), example("MANIFEST")),
        (segment_name(1), example("segment")),
        (rows_name(2), example("rows")),
    ] {
        disk.open(&Path::new(DIR).join(name), Mode::CreateNew).unwrap().write_at(&bytes, 0).unwrap();
    }
    let (_, opened) = open(&disk, Index(2)).unwrap();
    Model { effects: effects().to_vec() }.check(&opened, &BTreeSet::new());
    assert_eq!((opened.applied, opened.term, opened.warnings.len()), (Index(2), Term(2), 0));
}

#[test]
fn the_example_of_buried_records_is_what_is_written_and_can_be_read() {
    let bytes = example("dead");
    let mut buried = Buried::decode(&bytes, 3).unwrap();
    assert!(bytes == buried.encode(3), "it is now\n{}", dump(&buried.encode(3)));
    let mut dead = Bits::default();
    dead.set(0);
    assert_eq!((buried.take(1), buried.is_empty()), (Some(Burial { records: 2, dead }), true));
}
