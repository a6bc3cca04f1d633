//! The end of a member whose disk is full: the applier waits for room in the window, which may never come, and while it
//! waits it takes nothing from its inbox.
//!
//!   signal ──begin──▶ Closing ──▶ the window ──▶ the applier waits no longer ──▶ Close is taken
//!
//! What holds: once it has begun, nobody waits for room, neither in this window nor in that of a snapshot which takes its
//! place. Nothing is lost: what was not applied, and what the store has no room for, is in the log.

use ferrite_storage::{WaitEnd, WindowWriter};
use parking_lot::Mutex;

/// Tells the applier that its member closes, whatever it waits for.
#[derive(Debug)]
pub struct Closing(Mutex<State>);

#[derive(Debug)]
struct State {
    has_begun: bool,
    waiting: WaitEnd,
}

impl Closing {
    pub(crate) fn new(window: &WindowWriter) -> Closing {
        Closing(Mutex::new(State { has_begun: false, waiting: window.wait_end() }))
    }

    /// From now on what finds no room is left to the next life.
    pub fn begin(&self) {
        let mut state = self.0.lock();
        state.has_begun = true;
        state.waiting.close();
    }

    /// The applier goes on with this window.
    pub(crate) fn goes_on_in(&self, window: &WindowWriter) {
        let mut state = self.0.lock();
        state.waiting = window.wait_end();
        if state.has_begun {
            state.waiting.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use ferrite_observe::metrics::Registry;
    use ferrite_proto::etcdserverpb as pb;
    use ferrite_raft::{Entry, Index, Term};
    use ferrite_state::command::{Caller, encode};
    use ferrite_state::{RequestId, Settings, State};
    use ferrite_storage::store::{Identity, Opened, Options, Store};
    use ferrite_storage::vfs::LyingDisk;
    use ferrite_storage::{Effect, RowChange, Table, Waited, WindowWriter};

    use super::Closing;
    use crate::member::{Apply, Waiter, Waits};
    use crate::{Applier, ApplyJob, ApplyTiming, Progress, StoreJob, StoreKeeper, StoreTiming, TrimPace};

    const IDENTITY: Identity = Identity { node_id: 1, cluster_id: 2 };
    const OPTIONS: Options = Options { segment_bytes: 8 << 10, window_bytes: 8 << 10, dump_bytes: 1 << 20 };
    /// Far more than a slow machine takes for what need not wait.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Shares its count with who asked.
    struct Client(Arc<()>);

    impl Waiter for Client {
        fn gone(&self) -> bool {
            Arc::strong_count(&self.0) < 2
        }
    }

    fn put(index: u64) -> ApplyJob<Client> {
        apply(index..=index, None)
    }

    /// The same value again and again; `waiter` wants to know of all of them.
    fn apply(indexes: RangeInclusive<u64>, waiter: Option<&Arc<()>>) -> ApplyJob<Client> {
        let put = pb::PutRequest { key: "k".into(), value: vec![7; 100].into(), ..Default::default() };
        let request = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
        let data = |index| encode(RequestId(index), &Caller::default(), request.clone());
        let entry = |index| Entry { index: Index(index), term: Term(1), payload: data(index).into() };
        let waits = |waiter: &Arc<()>, index| (RequestId(index), Waits::Client(Client(waiter.clone())));
        ApplyJob::Apply(Apply {
            entries: indexes.clone().map(entry).collect(),
            waiters: waiter.map_or_else(Vec::new, |waiter| indexes.map(|index| waits(waiter, index)).collect()),
        })
    }

    fn open(disk: &LyingDisk) -> (StoreKeeper<LyingDisk, ()>, Opened) {
        let (store, opened) =
            Store::open(disk.clone(), Path::new("/store"), IDENTITY, Index(0), OPTIONS).expect("a whole store");
        (StoreKeeper::new(store, StoreTiming::new(&Registry::new())), opened)
    }

    fn applier(opened: Opened, progress: &Arc<Progress>) -> Applier<Client> {
        let (state, _) = State::load(opened.rows, opened.revisions, Settings::default()).expect("a whole state");
        let timing = ApplyTiming::new(&Arc::new(Registry::new()), Duration::MAX);
        Applier::new(state, opened.window, progress.clone(), opened.applied, TrimPace::default(), timing)
    }

    /// What comes of something that must not wait for ever.
    fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(work()));
        receiver.recv_timeout(PATIENCE).expect("it waits for ever")
    }

    /// Closes a member whose disk, store and window are full; at the end there may be room again.
    fn close_when_full(room_comes: bool) {
        let disk = LyingDisk::new();
        drop(Store::create(disk.clone(), Path::new("/store"), IDENTITY, OPTIONS).unwrap());
        disk.set_capacity(disk.used());
        let (mut keeper, opened) = open(&disk);
        let progress = Arc::new(Progress::new(Index(0), Term(0)));
        let mut applier = applier(opened, &progress);
        // All that was reserved is used up, then the window is.
        let mut last = 0;
        while applier.has_room() {
            last += 1;
            applier.step(&mut vec![put(last)], true).unwrap();
            keeper.step(&mut vec![StoreJob::Write]).unwrap();
        }
        assert!(keeper.step(&mut Vec::new()).unwrap().is_short_of_space && !applier.has_room());

        let (closing, client) = (applier.closing(), Arc::new(()));
        let late = apply(last + 1..=last + 2, Some(&client));
        closing.begin();
        let mut applier = in_time(move || {
            applier.step(&mut vec![late], true).unwrap();
            applier
        });
        assert_eq!(Arc::strong_count(&client), 1, "who waits for an entry that is not applied is let go");
        if room_comes {
            disk.remove_capacity();
            keeper.step(&mut vec![StoreJob::Write]).unwrap();
            assert!(applier.has_room());
        }
        let done = applier.step(&mut vec![put(last + 3), ApplyJob::Close], true).unwrap();
        assert!(done.is_closed && !done.has_applied);
        assert_eq!(progress.applied(), Index(last));
        assert!(keeper.step(&mut vec![StoreJob::Close]).unwrap().is_closed);
        drop((applier, keeper));

        // The next life applies what the log has behind the store.
        disk.remove_capacity();
        let (mut keeper, opened) = open(&disk);
        let stored = opened.applied.0;
        assert!(stored > 0 && (stored == last) == room_comes, "{stored} of {last}");
        let mut applier = super::tests::applier(opened, &progress);
        for index in stored + 1..=last + 3 {
            applier.step(&mut vec![put(index)], true).unwrap();
            keeper.step(&mut vec![StoreJob::Write]).unwrap();
        }
        assert!(keeper.step(&mut vec![StoreJob::Close]).unwrap().is_closed);
        drop((applier, keeper));
        assert_eq!(open(&disk).1.applied, Index(last + 3));
    }

    #[test]
    fn a_member_that_is_told_to_close_waits_for_no_room() {
        close_when_full(false);
        close_when_full(true);
    }

    #[test]
    fn who_fills_the_window_in_one_step_wakes_the_store() {
        let disk = LyingDisk::new();
        drop(Store::create(disk.clone(), Path::new("/store"), IDENTITY, OPTIONS).unwrap());
        let (mut keeper, opened) = open(&disk);
        let progress = Arc::new(Progress::new(Index(0), Term(0)));
        let mut applier = applier(opened, &progress);
        let (sender, receiver) = channel();
        applier.wake_store_with(move || sender.send(()).unwrap());
        // Until the applier is dropped.
        let store = std::thread::spawn(move || {
            let wake = |()| keeper.step(&mut vec![StoreJob::Flush]).unwrap().flushed;
            receiver.into_iter().filter_map(wake).count()
        });
        in_time(move || drop(applier.step(&mut vec![apply(1..=500, None)], true).unwrap()));
        assert_eq!(progress.applied(), Index(500));
        assert!(store.join().unwrap() > 5, "the window was full more than once");
    }

    /// A window without room. Its store has to be kept: without one nobody waits.
    fn full_window() -> (WindowWriter, Store<LyingDisk>) {
        let (store, opened) = Store::create(LyingDisk::new(), Path::new("/store"), IDENTITY, OPTIONS).unwrap();
        let mut window = opened.window;
        let value = Some(vec![7; OPTIONS.window_bytes as usize].into());
        let rows = vec![RowChange { table: Table::Meta, key: "k".into(), value }];
        window.append(Effect { index: Index(1), term: Term(1), records: Vec::new(), rows });
        assert!(!window.has_room());
        (window, store)
    }

    #[test]
    fn the_window_of_a_snapshot_is_not_waited_for_either() {
        for begins_first in [true, false] {
            let ((before, _kept), (after, _kept_too)) = (full_window(), full_window());
            let closing = Closing::new(&before);
            if begins_first {
                closing.begin();
            }
            closing.goes_on_in(&after);
            if !begins_first {
                closing.begin();
            }
            assert_eq!(in_time(move || after.wait_for_room()), Waited::Closing);
        }
    }
}
