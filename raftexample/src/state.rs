//! What the log decides: the map, and who the members are. Only the node's thread changes it, one entry after the other, so
//! that it is the same on all members at the same index.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ferrite_raft::{ChangeKind, ConfChangeV2, NodeId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    values: BTreeMap<Bytes, Bytes>,
    /// The URL of each member.
    members: BTreeMap<NodeId, String>,
    /// Who was a member once. An id is never used again: its old owner may have voted under it.
    removed: BTreeSet<NodeId>,
}

/// The data of an entry that puts a value, and the form of every pair in a snapshot.
pub fn encode_pair(key: &[u8], value: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out, key);
    put(&mut out, value);
    out.freeze()
}

impl State {
    pub fn value(&self, key: &[u8]) -> Option<&Bytes> {
        self.values.get(key)
    }

    pub fn members(&self) -> &BTreeMap<NodeId, String> {
        &self.members
    }

    pub fn removed(&self) -> impl Iterator<Item = NodeId> {
        self.removed.iter().copied()
    }

    pub fn is_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    /// Applies the data of an entry. The one without data opens the term of a leader.
    pub fn put(&mut self, mut data: Bytes) -> Result<(), Unreadable> {
        if !data.is_empty() {
            let (key, value) = (take(&mut data)?, take(&mut data)?);
            self.values.insert(key, value);
        }
        Ok(())
    }

    /// Whether a change of members is to be carried out: nobody comes back under an id that was removed.
    pub fn admits(&self, change: &ConfChangeV2) -> bool {
        change.changes.iter().all(|one| one.kind == ChangeKind::RemoveNode || !self.is_removed(one.node))
    }

    /// Notes a change that Raft has carried out. Its context is the URL of a new member.
    pub fn change_members(&mut self, change: &ConfChangeV2) {
        for one in &change.changes {
            match one.kind {
                ChangeKind::RemoveNode => {
                    self.members.remove(&one.node);
                    self.removed.insert(one.node);
                }
                ChangeKind::AddNode | ChangeKind::AddLearnerNode | ChangeKind::UpdateNode => {
                    self.members.insert(one.node, String::from_utf8_lossy(&change.context).into_owned());
                }
            }
        }
    }

    /// All of it, for a snapshot.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.members.len() as u64);
        for (id, url) in &self.members {
            out.put_u64_le(id.0);
            put(&mut out, url.as_bytes());
        }
        out.put_u64_le(self.removed.len() as u64);
        self.removed.iter().for_each(|id| out.put_u64_le(id.0));
        for (key, value) in &self.values {
            put(&mut out, key);
            put(&mut out, value);
        }
        out.freeze()
    }

    pub fn decode(mut data: Bytes) -> Result<State, Unreadable> {
        let mut state = State::default();
        for _ in 0..number(&mut data)? {
            let (id, url) = (NodeId(number(&mut data)?), take(&mut data)?);
            state.members.insert(id, String::from_utf8(url.into()).map_err(|_| Unreadable)?);
        }
        for _ in 0..number(&mut data)? {
            state.removed.insert(NodeId(number(&mut data)?));
        }
        while !data.is_empty() {
            let (key, value) = (take(&mut data)?, take(&mut data)?);
            state.values.insert(key, value);
        }
        Ok(state)
    }
}

/// Bytes that nobody of ours has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry or a snapshot that this program has not written")]
pub struct Unreadable;

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u64_le(bytes.len() as u64);
    out.put_slice(bytes);
}

fn number(data: &mut Bytes) -> Result<u64, Unreadable> {
    data.try_get_u64_le().map_err(|_| Unreadable)
}

fn take(data: &mut Bytes) -> Result<Bytes, Unreadable> {
    let length = number(data)?;
    if length > data.len() as u64 {
        return Err(Unreadable);
    }
    // A copy: a slice would keep the whole of a snapshot or of a message in memory.
    Ok(Bytes::copy_from_slice(&data.split_to(length as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrite_raft::MemberChange;

    fn change(kind: ChangeKind, id: u64, url: &str) -> ConfChangeV2 {
        let changes = vec![MemberChange { kind, node: NodeId(id) }];
        ConfChangeV2 { changes, context: Bytes::copy_from_slice(url.as_bytes()), ..ConfChangeV2::default() }
    }

    fn some() -> State {
        let mut state = State::default();
        for (key, value) in [("/a", "1"), ("/b", ""), ("/a", "2")] {
            state.put(encode_pair(key.as_bytes(), value.as_bytes())).unwrap();
        }
        state.put(Bytes::new()).unwrap();
        state.change_members(&change(ChangeKind::AddNode, 1, "http://one"));
        state.change_members(&change(ChangeKind::AddNode, 2, "http://two"));
        state.change_members(&change(ChangeKind::RemoveNode, 1, ""));
        state
    }

    #[test]
    fn entries_change_the_map_and_the_members() {
        let state = some();
        assert_eq!(state.value(b"/a"), Some(&Bytes::from_static(b"2")));
        assert_eq!(state.value(b"/b"), Some(&Bytes::new()));
        assert_eq!(state.value(b"/c"), None);
        assert_eq!(state.members().iter().collect::<Vec<_>>(), [(&NodeId(2), &"http://two".to_owned())]);
        assert!(state.is_removed(NodeId(1)) && !state.is_removed(NodeId(2)));
    }

    #[test]
    fn nobody_comes_back_under_an_old_id() {
        assert!(!some().admits(&change(ChangeKind::AddNode, 1, "http://one")));
        assert!(some().admits(&change(ChangeKind::RemoveNode, 1, "")));
        assert!(some().admits(&change(ChangeKind::AddNode, 3, "http://three")));
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written_and_never_beyond_its_end() {
        let written = some().encode();
        assert_eq!(State::decode(written.clone()), Ok(some()));
        // What ends between two pairs is a smaller map: the file's checksum and Raft see to it that no end is missing.
        let whole: Vec<usize> =
            (0..=written.len()).filter(|end| State::decode(written.slice(..*end)).is_ok()).collect();
        assert_eq!(whole.len(), 3, "no pair, one, and two");
        let mut huge = BytesMut::from(&written[..]);
        let end = huge.len() - 9;
        huge[end - 8..end].fill(0xff);
        assert_eq!(State::decode(huge.freeze()), Err(Unreadable));
    }
}
