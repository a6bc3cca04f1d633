//! Snapshots on their way to other members: the log behind them is kept meanwhile, and for a while after, so that who has
//! taken one in does not need another.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrite_raft::{Index, NodeId};

/// How long the log is kept for a member that has just got a snapshot.
const KEEP: Duration = Duration::from_secs(30);

/// To whom snapshots were sent: where the log has to begin for them, and until when, once that is known.
#[derive(Debug, Default)]
pub(crate) struct SnapshotsOut(BTreeMap<NodeId, (Index, Option<Duration>)>);

impl SnapshotsOut {
    /// One that stands at `index` or behind it goes out.
    pub(crate) fn sends(&mut self, to: NodeId, index: Index) {
        self.0.insert(to, (index, None));
    }

    /// It has got there, or it has not.
    pub(crate) fn sent(&mut self, to: NodeId, arrived: bool, now: Duration) {
        match self.0.get_mut(&to) {
            Some((_, until)) if arrived => *until = Some(now + KEEP),
            _ => drop(self.0.remove(&to)),
        }
    }

    /// The entry up to which log may be given up.
    pub(crate) fn allow(&mut self, wanted: Index, now: Duration) -> Index {
        self.0.retain(|_, (_, until)| until.is_none_or(|until| now < until));
        self.0.values().map(|(index, _)| *index).fold(wanted, Index::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_kept_for_who_is_sent_a_snapshot_and_a_while_longer() {
        let (mut out, seconds) = (SnapshotsOut::default(), Duration::from_secs);
        let wanted = Index(100);
        assert_eq!(out.allow(wanted, seconds(0)), wanted);
        out.sends(NodeId(1), Index(10));
        out.sends(NodeId(2), Index(20));
        assert_eq!(out.allow(wanted, seconds(1000)), Index(10));
        out.sent(NodeId(1), false, seconds(1000));
        assert_eq!(out.allow(wanted, seconds(1000)), Index(20));
        out.sent(NodeId(2), true, seconds(1000));
        assert_eq!(out.allow(wanted, seconds(1029)), Index(20));
        assert_eq!(out.allow(wanted, seconds(1030)), wanted);
        out.sent(NodeId(7), true, seconds(1000));
        assert_eq!(out.allow(wanted, seconds(1000)), wanted);
    }
}
