//! A revision: when a change happened, and its place among the changes of that moment.

/// `main` counts transactions that changed something (the first one has 2), `sub` the changes inside one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: u64,
    pub sub: u64,
}

impl Revision {
    /// The 17 or, for a tombstone, 18 bytes under which etcd stores a revision, and which HashKV hashes.
    pub fn encode(self, tombstone: bool) -> RevisionKey {
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8] = b'_';
        bytes[9..17].copy_from_slice(&self.sub.to_be_bytes());
        bytes[17] = b't';
        RevisionKey { bytes, length: if tombstone { 18 } else { 17 } }
    }
}

/// The encoded form of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionKey {
    bytes: [u8; 18],
    length: usize,
}

impl AsRef<[u8]> for RevisionKey {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
