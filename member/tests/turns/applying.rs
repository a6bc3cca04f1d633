//! What the applier is given.

use bytes::Bytes;
use ferrite_member::Input;

use crate::rig::{Rig, proposal};

/// More than may be out to be applied: one goes alone.
const BYTES: usize = 1100 << 10;

#[test]
fn committed_entries_that_were_held_back_go_as_soon_as_there_is_room() {
    let mut rig = Rig::new();
    rig.rest(Vec::new());
    rig.apply();
    rig.rest((1..=3).map(|id| proposal(id, Bytes::from(vec![b'x'; BYTES]))).collect());
    let last = rig.progress.committed();
    assert!(rig.committed.0 < last, "not all fits");
    while rig.committed.0 < last {
        let before = rig.committed;
        assert!(rig.progress.set_applied(before.0, before.1), "the member has asked to be woken");
        rig.rest(vec![Input::Applied]);
        assert!(rig.committed > before);
    }
    assert!(!rig.progress.set_applied(last, rig.committed.1), "nothing is held back any more");
}
