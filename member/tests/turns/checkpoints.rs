//! How much log a member comes to have.

use bytes::Bytes;
use ferrite_raft::Entry;

use crate::rig::{CHECKPOINT_BYTES, Rig, proposal};

/// One life of a member that finds this log, and writes so many bytes. Returns the log as it leaves it, or nothing if it
/// wanted to give log up.
fn live(log: Vec<Entry>, bytes: u64) -> Option<Vec<Entry>> {
    let mut rig = Rig::after(log.clone());
    rig.rest(Vec::new());
    rig.rest(vec![proposal(1 + log.len() as u64, Bytes::from(vec![7; bytes as usize]))]);
    rig.apply();
    rig.rest(Vec::new());
    rig.checkpoint.is_none().then(|| [log, rig.saved].concat())
}

#[test]
fn a_member_that_restarts_often_gives_up_log_all_the_same() {
    //     bytes written in a life, lives until there is a checkpoint
    for (bytes, expected) in [(CHECKPOINT_BYTES + 1, 1), (CHECKPOINT_BYTES / 2 + 1, 2), (CHECKPOINT_BYTES / 5 + 1, 5)] {
        let (mut log, mut lives) = (Vec::new(), 1);
        while let Some(longer) = live(log, bytes) {
            log = longer;
            lives += 1;
            assert!(lives <= expected, "a log of {} entries, {bytes} bytes a life, is kept", log.len());
        }
        assert_eq!(lives, expected, "{bytes} bytes a life");
    }
}
