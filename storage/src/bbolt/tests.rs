//! What is written is read again, and whatever is done to it ends in an error or in pairs, never in a panic.

use std::collections::BTreeMap;
use std::path::Path;

use super::page::PAGE_BYTES;
use super::*;
use crate::vfs::lying::Dice;
use crate::vfs::{File, LyingDisk, Mode, Vfs};

type Bucket = BTreeMap<Vec<u8>, Vec<u8>>;
type Buckets = BTreeMap<&'static str, Bucket>;

const NAMES: [&str; 4] = ["alarm", "auth", "key", "meta"];

fn path() -> &'static Path {
    Path::new("/db")
}

fn write(buckets: &Buckets) -> Vec<u8> {
    let mut planner = Planner::default();
    for (name, pairs) in buckets {
        pairs.iter().for_each(|(key, value)| planner.put(key, value.len()));
        planner.end_bucket(name);
    }
    let layout = planner.finish();
    let length = layout.bytes();
    let mut writer = Writer::new(layout);
    let mut bytes = Vec::new();
    for pairs in buckets.values() {
        for (key, value) in pairs {
            writer.put(key, value);
            if writer.ready() > 10_000 {
                bytes.extend(writer.take());
            }
        }
        writer.end_bucket();
    }
    writer.finish();
    bytes.extend(writer.take());
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn open(bytes: &[u8]) -> Result<Database<<LyingDisk as Vfs>::File>, DatabaseError> {
    let disk = LyingDisk::new();
    disk.open(path(), Mode::CreateNew).unwrap().write_at(bytes, 0).unwrap();
    Database::open(&disk, path())
}

fn read(bytes: &[u8]) -> Result<Buckets, DatabaseError> {
    let database = open(bytes)?;
    let mut buckets = Buckets::new();
    for name in NAMES {
        let mut bucket = Bucket::new();
        for pair in database.pairs(name)? {
            let (key, value) = pair?;
            assert!(bucket.insert(key.to_vec(), value.to_vec()).is_none(), "a key comes once");
        }
        buckets.insert(name, bucket);
    }
    Ok(buckets)
}

/// Reads a file as it arrives, in pieces of this length; `None` if it does not say that it stands in order.
fn stream(bytes: &[u8], piece: usize) -> Option<Result<Buckets, DatabaseError>> {
    let mut arriving = InOrder::begin(&bytes[..bytes.len().min(InOrder::FIRST_BYTES)], path())?;
    let mut buckets: Buckets = NAMES.into_iter().map(|name| (name, Bucket::new())).collect();
    let mut put = |bucket: &[u8], key: &[u8], value: &[u8]| {
        if let Some(bucket) = NAMES.iter().find(|name| name.as_bytes() == bucket).and_then(|name| buckets.get_mut(name))
        {
            assert!(bucket.insert(key.to_vec(), value.to_vec()).is_none(), "a key comes once");
        }
        Ok::<(), DatabaseError>(())
    };
    let taken = bytes.chunks(piece).try_for_each(|piece| arriving.take(piece, &mut put));
    Some(taken.and_then(|()| arriving.finish()).map(|()| buckets))
}

/// Buckets whose pairs have lengths around all the limits there are.
fn some_buckets(seed: u64, pairs: u64) -> Buckets {
    let mut dice = Dice::new(seed);
    let mut buckets: Buckets = NAMES.into_iter().map(|name| (name, Bucket::new())).collect();
    for number in 0..pairs {
        let name = NAMES[dice.below(4).max(dice.below(4)) as usize];
        let mut key = number.wrapping_mul(0x9e37_79b9).to_be_bytes().to_vec();
        if dice.below(50) == 0 {
            key.resize(1 + dice.below(6000) as usize, b'k');
        }
        let length = match dice.below(100) {
            0 => dice.below(5 * PAGE_BYTES as u64),
            1 => dice.below(PAGE_BYTES as u64),
            2 => 4056 + dice.below(10),
            _ => dice.below(60),
        };
        let value = (0..length).map(|at| (at ^ number) as u8).collect();
        buckets.get_mut(name).unwrap().insert(key, value);
    }
    buckets
}

#[test]
fn what_is_written_is_read() {
    for (seed, pairs) in [(1, 0), (2, 1), (3, 5), (4, 40), (5, 300), (6, 3000), (7, 30_000)] {
        let buckets = some_buckets(seed, pairs);
        let bytes = write(&buckets);
        assert!(read(&bytes).unwrap() == buckets, "seed {seed}");
        for piece in [4096, 1000, 1 << 20] {
            assert!(stream(&bytes, piece).unwrap().unwrap() == buckets, "seed {seed}, pieces of {piece}");
        }
    }
}

/// Many keys of one length, as revisions are: each count ends the pages of the levels in another way.
#[test]
fn trees_of_any_size_have_their_pairs() {
    for count in (0..400).chain([13_000, 13_001, 60_000]) {
        let pairs: Bucket =
            (0..count as u64).map(|n| ([&n.to_be_bytes()[..], &[0; 9]].concat(), vec![7; 40])).collect();
        let buckets =
            Buckets::from([("alarm", Bucket::new()), ("auth", Bucket::new()), ("key", pairs), ("meta", Bucket::new())]);
        let bytes = write(&buckets);
        assert!(read(&bytes).unwrap() == buckets, "{count} pairs");
        assert!(stream(&bytes, 10_000).unwrap().unwrap() == buckets, "{count} pairs");
    }
}

#[test]
fn a_value_may_be_longer_than_what_is_read_at_once() {
    let mut buckets = some_buckets(1, 20);
    let pairs = buckets.get_mut("key").unwrap();
    for (number, length) in [1 << 20, 65_496, 65_497, 3 << 20, 0].into_iter().enumerate() {
        pairs.insert(vec![b'v', number as u8], vec![number as u8; length]);
    }
    let bytes = write(&buckets);
    assert!(read(&bytes).unwrap() == buckets);
    assert!(stream(&bytes, 10_000).unwrap().unwrap() == buckets);
    // Beyond some length it is not asked of anybody to hold one in memory.
    for (length, is_streamed) in [(15 << 20, true), (17 << 20, false)] {
        let buckets = Buckets::from([("key", Bucket::from([(b"k".to_vec(), vec![7; length])]))]);
        assert_eq!(stream(&write(&buckets), 1 << 20).is_some(), is_streamed);
    }
}

#[test]
fn a_bucket_that_is_not_there_is_empty() {
    let bytes = write(&Buckets::from([("key", Bucket::from([(b"k".to_vec(), b"v".to_vec())]))]));
    let database = open(&bytes).unwrap();
    assert_eq!(database.pairs("lease").unwrap().count(), 0);
    assert_eq!(database.pairs("key").unwrap().count(), 1);
}

#[test]
fn one_good_meta_is_enough_and_the_newer_counts() {
    let bytes = write(&some_buckets(5, 300));
    let expected = read(&bytes).unwrap();
    for meta in [0, 1] {
        let mut bytes = bytes.clone();
        bytes[meta * PAGE_BYTES + 16 + 3] ^= 1;
        assert!(read(&bytes).unwrap() == expected, "without meta {meta}");
    }
    let mut bytes = bytes.clone();
    bytes[16 + 3] ^= 1;
    bytes[PAGE_BYTES + 16 + 3] ^= 1;
    let error = read(&bytes).unwrap_err().to_string();
    assert!(error.contains("neither of its two meta pages is good"), "{error}");

    // The meta with the higher transaction is the one that is believed.
    let mut older = Vec::from(&bytes[..]);
    older[..2 * PAGE_BYTES].copy_from_slice(&write(&some_buckets(5, 300))[..2 * PAGE_BYTES]);
    let meta = super::page::Meta { page_bytes: 4096, root: super::page::PageId(1 << 40), pages: 3, transaction: 1 };
    older[PAGE_BYTES + 16..PAGE_BYTES + 80].copy_from_slice(&meta.encode());
    assert!(read(&older).unwrap() == expected);
    let meta = super::page::Meta { transaction: 3, ..meta };
    older[PAGE_BYTES + 16..PAGE_BYTES + 80].copy_from_slice(&meta.encode());
    let error = read(&older).unwrap_err().to_string();
    assert!(error.contains("/db: damaged at page 1099511627776: there is no such page"), "{error}");
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let bytes = write(&some_buckets(6, 1000));
    for length in (0..bytes.len()).step_by(997).chain([0, 1, 79, 80, 4095, 4096, bytes.len() - 1]) {
        assert!(matches!(read(&bytes[..length]), Err(DatabaseError::NoDatabase { .. })), "{length} bytes");
        assert!(stream(&bytes[..length], 5000).is_none_or(|read| read.is_err()), "{length} bytes");
    }
    // Longer is no harm: etcd takes space ahead.
    assert!(read(&[&bytes[..], &[9; 5000]].concat()).is_ok());
}

/// Where a flipped bit is seen it is an error; where it is not, it lies in a key or a value, which have no checksum: then
/// there are as many pairs as before.
#[test]
fn a_flipped_bit_is_an_error_or_stays_within_its_pair() {
    let buckets = some_buckets(8, 60);
    let bytes = write(&buckets);
    let count = |buckets: &Buckets| buckets.values().map(BTreeMap::len).sum::<usize>();
    let (mut refused, mut read_on, mut streamed_on) = (0, 0, 0);
    for at in (0..bytes.len()).step_by(5) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        if let Some(Ok(found)) = stream(&bytes, 5000) {
            assert!(found == read(&bytes).unwrap(), "what is read on its way is what is read of the file, at {at}");
            streamed_on += 1;
        }
        match read(&bytes) {
            Ok(found) if count(&found) == count(&buckets) => read_on += 1,
            // A bucket whose name has changed is not found, and a count that is lower hides pairs.
            Ok(found) => assert!(count(&found) < count(&buckets), "at {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100 && read_on > 100 && streamed_on > 100, "{refused} refused, {read_on} and {streamed_on} read");
}

/// Any bytes in any page, the metas excepted: it ends, and not by a panic.
#[test]
fn hostile_bytes_end_in_an_error_or_in_pairs() {
    let bytes = write(&some_buckets(9, 4000));
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let mut bytes = bytes.clone();
        for _ in 0..=dice.below(20) {
            let page = 2 + dice.below(bytes.len() as u64 / PAGE_BYTES as u64 - 2) as usize;
            // Mostly where pages say what they are and where their elements lie.
            let within = [16, 64, 4090][dice.below(3) as usize];
            let at = page * PAGE_BYTES + dice.below(within) as usize;
            let choice = dice.below(5) as usize;
            let value = [0, 1, 2, 0xff, dice.roll() as u8][choice];
            bytes[at] = value;
            if dice.below(4) == 0 {
                // A page in another's place, or a reference to another page.
                let other = 2 + dice.below(bytes.len() as u64 / PAGE_BYTES as u64 - 2);
                bytes[at / 8 * 8..][..8].copy_from_slice(&other.to_le_bytes());
            }
        }
        let read = read(&bytes);
        if let Some(Ok(found)) = stream(&bytes, 5000) {
            assert!(found == read.unwrap(), "seed {seed}");
        }
    }
}

/// Whole files that were put together wrongly: all of their pages are good.
#[test]
fn pages_that_are_not_where_a_file_in_order_has_them_are_refused() {
    let bytes = write(&some_buckets(7, 6000));
    let pages = bytes.len() / PAGE_BYTES;
    stream(&bytes, 5000).unwrap().unwrap();
    let mut refused = 0;
    for at in 2..pages - 1 {
        // Swapped with the next one, each under the number of its place.
        let mut bytes = bytes.clone();
        let (from, to) = (at * PAGE_BYTES, (at + 1) * PAGE_BYTES);
        let (a, b) = (bytes[from..to].to_vec(), bytes[to..to + PAGE_BYTES].to_vec());
        if [&a, &b].iter().any(|page| page[12..16] != [0; 4]) {
            continue;
        }
        bytes[from..to].copy_from_slice(&b);
        bytes[to..to + PAGE_BYTES].copy_from_slice(&a);
        bytes[from..from + 8].copy_from_slice(&(at as u64).to_le_bytes());
        bytes[to..to + 8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
        let error = stream(&bytes, 5000).unwrap().unwrap_err();
        assert!(matches!(error, DatabaseError::Damaged { .. }), "{error}");
        refused += 1;
    }
    assert!(refused > 100);
}

/// A branch whose children are the page itself, and two branches that share all their children.
#[test]
fn a_tree_in_a_circle_ends() {
    use super::page::{Meta, PageHeader, PageId, PageKind};
    let branch = |id: u64, children: &[u64]| {
        let header = PageHeader { id: PageId(id), kind: PageKind::Branch, count: children.len() as u16, overflow: 0 };
        let mut bytes = header.encode().to_vec();
        for (at, child) in children.iter().enumerate() {
            bytes.extend((((children.len() - at) * 16 + at) as u32).to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(child.to_le_bytes());
        }
        bytes.extend((1..=children.len()).map(|key| key as u8));
        bytes.resize(PAGE_BYTES, 0);
        bytes
    };
    let metas = |pages: u64| {
        let mut bytes = vec![0; 2 * PAGE_BYTES];
        for id in 0..2 {
            let meta = Meta { page_bytes: PAGE_BYTES as u32, root: PageId(2), pages, transaction: id };
            bytes[id as usize * PAGE_BYTES + 16..][..64].copy_from_slice(&meta.encode());
        }
        bytes
    };
    let error = read(&[metas(3), branch(2, &[2, 2, 2])].concat()).unwrap_err();
    assert!(error.to_string().contains("the tree is deeper than any can be"), "{error}");
    let chain: Vec<Vec<u8>> = (2..40).map(|id| branch(id, &[id + 1; 9])).collect();
    read(&[metas(40), chain.concat()].concat()).unwrap_err();
}

/// Branches that leave out their last child, and a root that leaves out its last bucket: a file may have pages in no tree, one
/// that arrives may not, since their pairs have been taken.
#[test]
fn a_page_that_is_in_no_tree_is_refused_on_its_way() {
    let bytes = write(&some_buckets(7, 6000));
    let mut refused = 0;
    for page in 2..bytes.len() / PAGE_BYTES {
        let mut bytes = bytes.clone();
        let at = page * PAGE_BYTES + 8;
        // Those of a long page are no headers.
        let kind = if at + PAGE_BYTES > bytes.len() { 2 } else { 1 };
        if bytes[at..at + 2] != [kind, 0] || bytes[at - 8..at] != (page as u64).to_le_bytes() {
            continue;
        }
        let count = u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]) - 1;
        bytes[at + 2..at + 4].copy_from_slice(&count.to_le_bytes());
        let error = stream(&bytes, 5000).unwrap().unwrap_err();
        assert!(matches!(error, DatabaseError::Damaged { .. }), "{error}");
        refused += 1;
    }
    assert!(refused > 3, "{refused}");
}
