//! The end of the last segment: clean, torn, or damaged?
//!
//! A sync may not have finished when the power went, so behind the last marker the end of the log may be torn: sectors
//! that were not written are still zero, because records are only ever written into zeros. Everything else is damage:
//!
//! * a marker behind the bad record: the record was synced, and is bad now;
//! * a bad record in which nothing is missing: no sector of it is zero, and it is not the last thing in the file.
//!
//! Markers are looked for along the frames: as long as the length of a frame agrees with what is in it, what it
//! contains is data and cannot pass for a marker. Only where that thread breaks are the bytes themselves searched, at
//! every multiple of 8. There a value that imitates a marker could be taken for one, so that a torn end is refused as
//! damage; the other mistake, to drop what was acknowledged, would be worse.
//!
//! A marker is trusted for its form alone. Bytes from an earlier use of the file cannot be in the way: new segments
//! begin empty, and an end that was cut off is replaced by zeros and synced before anything is written behind it.

use super::record::{ALIGNMENT, HEADER, NoFrame, frame_at, frame_length, is_marker, record_length};

const SECTOR: usize = 512;
/// The most that a frame has before its data: its length, and of the record type, CRC, and the data's length.
const HEAD: usize = HEADER + 16;

/// What is behind the last good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros only, or nothing.
    Clean,
    /// An unfinished write: so many bytes, and so many records of which the frame can still be made out.
    Torn { bytes: usize, records: usize },
    /// Something that was synced and is bad now.
    Damaged(Damage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// A marker at this offset says that all before it was synced.
    Synced { marker: usize },
    /// No unfinished write leaves this.
    NotTorn,
}

/// Judges what begins at `offset`, where there is no good record.
pub(super) fn judge(bytes: &[u8], offset: usize) -> Tail {
    let used = used(bytes).max(offset);
    if used == offset {
        return Tail::Clean;
    }
    let walk = walk(bytes, offset, used);
    if let Some(marker) = walk.marker {
        return Tail::Damaged(Damage::Synced { marker });
    }
    if !may_be_torn(bytes, offset, used) {
        return Tail::Damaged(Damage::NotTorn);
    }
    Tail::Torn { bytes: used - offset, records: walk.records }
}

/// The length of a file without the zeros at its end.
pub(super) fn used(bytes: &[u8]) -> usize {
    // In large steps first: most of a segment may be zeros taken ahead of need.
    let chunks = bytes.rchunks(4096).take_while(|chunk| chunk.iter().all(|byte| *byte == 0));
    let rest = &bytes[..bytes.len() - chunks.map(<[u8]>::len).sum::<usize>()];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

struct Walk {
    marker: Option<usize>,
    records: usize,
}

/// Goes along the frames from `offset` on, then through the bytes, to the first marker.
fn walk(bytes: &[u8], mut offset: usize, used: usize) -> Walk {
    let mut records = 0;
    // The bad record itself is no marker that counts, even if it looks like one: its CRC is wrong.
    while let Ok(frame) = frame_at(bytes, offset) {
        if records > 0 && is_marker(bytes, offset) {
            return Walk { marker: Some(offset), records };
        }
        records += 1;
        offset = frame.end;
    }
    let first = if records == 0 { offset + 1 } else { offset };
    let places = (first.next_multiple_of(ALIGNMENT)..used).step_by(ALIGNMENT);
    Walk { marker: places.into_iter().find(|place| is_marker(bytes, *place)), records }
}

/// Whether an unfinished write could have left the bad record at `offset`.
fn may_be_torn(bytes: &[u8], offset: usize, used: usize) -> bool {
    // As far as the record certainly reached: if its length cannot be relied on, that is its head.
    let (end, written_to) = match frame_at(bytes, offset) {
        Ok(frame) => (frame.end, frame.record_end),
        Err(NoFrame::Short { .. }) if head_agrees(bytes, offset) => return true,
        Err(_) => (offset + HEAD, offset + HEAD + 1),
    };
    // The write ended within the record, or a sector was not written.
    used < written_to
        || (offset / SECTOR..end.div_ceil(SECTOR)).any(|sector| {
            let start = offset.max(sector * SECTOR);
            let stop = bytes.len().min((sector + 1) * SECTOR);
            start < stop && bytes[start..stop].iter().all(|byte| *byte == 0)
        })
}

/// Whether a record that is longer than the file says so twice: in the length of its frame and in that of its data.
fn head_agrees(bytes: &[u8], offset: usize) -> bool {
    let Some(head) = bytes.get(offset..offset + HEAD) else {
        return true; // not even that is in the file
    };
    record_length(&head[HEADER..]) == Some(frame_length(head))
}

#[cfg(test)]
mod tests {
    use super::super::record::{Encoder, Kind};
    use super::*;

    /// A segment with records and markers as `plan` says: a number is a record with so many bytes of data, 0 a marker.
    fn segment(plan: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::new(7);
        for length in plan {
            places.push(bytes.len());
            match length {
                0 => encoder.put_crc(&mut bytes),
                _ => encoder.put(&mut bytes, Kind::Entry, &vec![0xaa; *length], &[]),
            }
        }
        bytes.resize(16 << 10, 0);
        (bytes, places)
    }

    #[test]
    fn zeros_are_a_clean_end() {
        let (bytes, places) = segment(&[0, 100, 100]);
        let end = used(&bytes).next_multiple_of(8);
        assert_eq!(end, places[2] + (places[2] - places[1]));
        assert_eq!(judge(&bytes, end), Tail::Clean);
        assert_eq!(judge(&bytes, bytes.len()), Tail::Clean);
        assert_eq!(judge(&bytes[..end], end), Tail::Clean);
    }

    #[test]
    fn a_marker_behind_a_bad_record_makes_it_damage() {
        let (good, places) = segment(&[0, 100, 2000, 0, 50]);
        let damaged = Tail::Damaged(Damage::Synced { marker: places[3] });
        for place in [places[1], places[2]] {
            // A flipped bit in the data, in each bit of the head, zeros over the head.
            let mut bytes = good.clone();
            bytes[place + 60] ^= 1;
            assert_eq!(judge(&bytes, place), damaged);
            for bit in 0..8 * 14 {
                let mut bytes = good.clone();
                bytes[place + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(judge(&bytes, place), damaged, "bit {bit}");
            }
            let mut bytes = good.clone();
            bytes[place..place + 64].fill(0);
            assert_eq!(judge(&bytes, place), damaged);
        }
    }

    #[test]
    fn an_unfinished_write_is_torn_wherever_it_ends() {
        let (good, places) = segment(&[0, 100, 2000, 50]);
        let end = used(&good);
        for place in &places[1..] {
            for cut in place + 1..frame_at(&good, *place).unwrap().record_end {
                let mut bytes = good.clone();
                bytes[cut..].fill(0);
                let expected = if used(&bytes) <= *place { Tail::Clean } else { judge(&bytes, *place) };
                assert!(matches!(expected, Tail::Clean | Tail::Torn { .. }), "cut at {cut}: {expected:?}");
                let shortened = judge(&good[..cut], *place);
                assert!(matches!(shortened, Tail::Torn { .. }), "shortened at {cut}: {shortened:?}");
            }
        }
        // Any sector of the long record may be missing.
        for sector in 1..4 {
            let mut bytes = good.clone();
            bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            assert_eq!(judge(&bytes, places[2]), Tail::Torn { bytes: end - places[2], records: 2 });
        }
    }

    #[test]
    fn a_flipped_bit_is_not_torn() {
        let (good, places) = segment(&[0, 100, 2000, 50, 40]);
        for bit in (places[1] + HEAD) * 8..(places[3] + HEAD) * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let place = places.iter().rev().find(|place| **place <= bit / 8).unwrap();
            let is_padding = frame_at(&good, *place).unwrap().record_end <= bit / 8;
            assert!(is_padding || judge(&bytes, *place) == Tail::Damaged(Damage::NotTorn), "bit {bit}");
        }
    }

    #[test]
    fn a_value_cannot_pass_for_a_marker() {
        let mut value = vec![0; 5];
        for _ in 0..100 {
            Encoder::new(1).put_crc(&mut value);
        }
        for shift in 0..8 {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(7);
            encoder.put(&mut bytes, Kind::Entry, &value[shift..], &[]);
            encoder.put(&mut bytes, Kind::Entry, &value[shift..], &[]);
            bytes.resize(8192, 0);
            bytes[SECTOR..2 * SECTOR].fill(0);
            assert!(matches!(judge(&bytes, 0), Tail::Torn { records: 2, .. }), "shift {shift}");
        }
    }
}
