//! What is in one file: what its owner sees, what is durable, and the changes between the two.

use std::sync::Arc;

use bytes::Bytes;

use super::Survival;
use super::dice::{Dice, mix};

/// What a device writes as a whole.
pub const SECTOR: u64 = 512;
/// What the page cache writes as a whole.
const PAGE: u64 = 4096;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Bytes },
    SetLen(u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    visible: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// What happened since the last sync, in order.
    pending: Vec<Change>,
    /// Space is taken up to here.
    allocated: u64,
}

impl Content {
    pub(super) fn durable(bytes: Arc<Vec<u8>>) -> Content {
        Content { visible: bytes.clone(), allocated: bytes.len() as u64, durable: bytes, pending: Vec::new() }
    }

    pub(super) fn visible(&self) -> Arc<Vec<u8>> {
        self.visible.clone()
    }

    pub(super) fn len(&self) -> u64 {
        self.visible.len() as u64
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let rest = self.visible.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        length
    }

    pub(super) fn write(&mut self, offset: u64, data: Bytes) {
        self.allocated = self.allocated.max(offset + data.len() as u64);
        self.change(Change::Write { offset, data });
    }

    pub(super) fn set_len(&mut self, length: u64) {
        self.allocated = self.allocated.min(length);
        self.change(Change::SetLen(length));
    }

    pub(super) fn allocate(&mut self, end: u64) {
        self.allocated = self.allocated.max(end);
        if self.len() < end {
            self.change(Change::SetLen(end));
        }
    }

    fn change(&mut self, change: Change) {
        let bytes = Arc::make_mut(&mut self.visible);
        match &change {
            Change::Write { offset, data } => put(bytes, *offset, data),
            Change::SetLen(length) => bytes.resize(*length as usize, 0),
        }
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        let bytes = Arc::make_mut(&mut self.durable);
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, data } => put(bytes, offset, &data),
                Change::SetLen(length) => bytes.resize(length as usize, 0),
            }
        }
    }

    /// Some of it is written, the rest never will be, and the owner goes on seeing all of it.
    pub(super) fn fail_sync(&mut self, seed: u64) {
        self.durable = self.survivor(Survival::Seeded(seed));
        self.pending.clear();
    }

    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        for bytes in [&mut self.visible, &mut self.durable] {
            if let Some(byte) = Arc::make_mut(bytes).get_mut(offset as usize) {
                *byte ^= 1 << (bit & 7);
            }
        }
    }

    /// What is in the file after a crash.
    pub(super) fn survivor(&self, survival: Survival) -> Arc<Vec<u8>> {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        match survival {
            Survival::Nothing => self.durable.clone(),
            // Not `visible`: a failed sync may have dropped what its owner still sees.
            Survival::Everything => Arc::new(self.mixture(|_| usize::MAX, self.pending.len(), usize::MAX)),
            Survival::Seeded(seed) => Arc::new(self.seeded(&mut Dice::new(seed))),
        }
    }

    fn seeded(&self, dice: &mut Dice) -> Vec<u8> {
        let changes = self.pending.len();
        let moment = |number: u64| (number % (changes as u64 + 1)) as usize;
        let torn = match self.pending.last() {
            Some(Change::Write { data, .. }) if dice.once_in(2) => dice.below(data.len() as u64 + 1) as usize,
            _ => usize::MAX,
        };
        match dice.below(4) {
            // In order, up to some moment.
            0 => {
                let last = moment(dice.roll());
                self.mixture(|_| last, last, torn)
            }
            // All, but for the last write's tear.
            1 => self.mixture(|_| usize::MAX, changes, torn),
            // Each sector, or each page, as it was at a moment of its own; and so the length.
            kind => {
                let (unit, salt, length) = (if kind == 2 { SECTOR } else { PAGE }, dice.roll(), moment(dice.roll()));
                let length = if dice.once_in(2) { changes } else { length };
                self.mixture(|sector| moment(mix(salt ^ (sector * SECTOR / unit))), length, torn)
            }
        }
    }

    /// The file when the changes up to `last(sector)` have reached each sector, and those up to `length_at` the
    /// length. Of the last change only `torn` bytes have been written.
    fn mixture(&self, last: impl Fn(u64) -> usize, length_at: usize, torn: usize) -> Vec<u8> {
        let mut bytes = Vec::clone(&self.durable);
        let (mut length, mut visible_length) = (bytes.len() as u64, bytes.len() as u64);
        for (change, number) in self.pending.iter().zip(1..) {
            match change {
                Change::Write { offset, data } => {
                    let limit = if number == self.pending.len() { torn } else { usize::MAX };
                    let data = &data[..data.len().min(limit)];
                    let mut start = *offset;
                    let end = offset + data.len() as u64;
                    while start < end {
                        let sector = start / SECTOR;
                        let stop = end.min((sector + 1) * SECTOR);
                        if number <= last(sector) {
                            put(&mut bytes, start, &data[(start - offset) as usize..(stop - offset) as usize]);
                        }
                        start = stop;
                    }
                    visible_length = visible_length.max(end);
                }
                Change::SetLen(new) => {
                    let mut start = *new;
                    while start < bytes.len() as u64 {
                        let sector = start / SECTOR;
                        let stop = (bytes.len() as u64).min((sector + 1) * SECTOR);
                        if number <= last(sector) {
                            bytes[start as usize..stop as usize].fill(0);
                        }
                        start = stop;
                    }
                    visible_length = *new;
                }
            }
            if number <= length_at {
                length = visible_length;
            }
        }
        bytes.resize(length as usize, 0);
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}
