//! Defects that are planted on purpose, one at a time, to show that the checks find them. They are mistakes that could be made
//! in driving the owners, in serving clients, or by the hardware; those in Raft's own rules are planted in its own tests.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The member is told that a save is durable as soon as it is handed to the log writer.
    SavedBeforeWritten,
    /// The log is written, and its syncs do nothing.
    LogNotSynced,
    /// The directory of log, store and snapshots is never synced, so that changes of its names have no order.
    DirectoryNotSynced,
    /// A vote is answered and never saved.
    VoteNotSaved,
    /// A failed sync is taken for one that worked.
    SyncErrorIgnored,
    /// Whoever believes that it leads answers reads at once.
    LeaderReadsAtOnce,
    /// Whoever is asked answers reads at once.
    FollowerReadsAtOnce,
    /// A read is confirmed, and then answered as of the time at which it was asked.
    ReadsAtRevisionOfQuestion,
    /// One member skips an entry now and then.
    EntrySkipped,
    /// A request whose leader is gone is put into the log a second time.
    ProposedTwice,
    /// A write is acknowledged when it is in the leader's log.
    AcknowledgedWhenSaved,
    /// A lease is renewed by a member that has not made sure that it still leads.
    RenewedByOldLeader,
    /// A renewal is answered although the log holds a smaller rest.
    RenewedOverCheckpoint,
    /// What is left of leases is not written to the log.
    RestsNotWritten,
    /// A put forgets its lease.
    LeaseNotAttached,
    /// A watcher that comes again asks for the last event once more.
    WatchRepeats,
    /// A watcher that comes again asks for one revision too late.
    WatchSkips,
    /// A watch is ended because of a compaction that nobody has asked for.
    WatchCompacted,
    /// A message of a watch stream is lost.
    WatchLoses,
}
