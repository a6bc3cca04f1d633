//! Reads whose answers may be large: memory for them comes from the budget of all answers.
//!
//!   read, taking room as it finds ──▶ answer
//!     └─no room─▶ what was read is dropped ──its turn, with as much as it will need──▶ read again
//!
//! What writes and lists besides is read in the same way before it is proposed, for its size.

use ferrite_proto::etcdserverpb as pb;
use ferrite_state::{ReadError, Shared};

use super::Services;
use crate::handle::CallError;
use crate::rpc::{Body, Share, Status, too_long};

impl Services {
    /// Makes a read, and the body of its answer: here if it is short and there is room for it, else on a read thread.
    pub(super) async fn read_with_room(
        &self,
        is_short: bool,
        mut read: impl FnMut(&Shared, &mut Share) -> Result<Body, ReadError> + Send + 'static,
    ) -> Result<Body, Status> {
        let mut share = self.budget.share();
        if is_short {
            match read(self.handle.state(), &mut share) {
                Err(ReadError::NoRoom { bytes }) => share = self.more_room(share, bytes).await?,
                answer => return Ok(self.handle.sound(answer)?.held_by(share)),
            }
        }
        let (body, share) = self.read_sharing(share, read).await?;
        Ok(body.held_by(share))
    }

    /// Makes a read on a read thread, again and with more room if there was too little.
    pub(super) async fn read_sharing<T: Send + 'static>(
        &self,
        mut share: Share,
        mut read: impl FnMut(&Shared, &mut Share) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<(T, Share), Status> {
        loop {
            let attempt = self.handle.read(move |state| (read(state, &mut share), share, read));
            let (answer, used, again) = attempt.await?;
            match answer {
                Err(ReadError::NoRoom { bytes }) => share = self.more_room(used, bytes).await?,
                answer => return Ok((self.handle.sound(answer)?, used)),
            }
            read = again;
        }
    }

    /// Room for what a request that writes will list. It is read here first, for its size alone: where it is applied nobody
    /// can wait until there is room.
    pub(super) async fn room_for_answer(&self, ranges: Vec<pb::RangeRequest>) -> Result<Share, Status> {
        let share = self.budget.share();
        if ranges.is_empty() {
            return Ok(share);
        }
        let measure = move |state: &Shared, share: &mut Share| {
            for range in &ranges {
                match state.keyspace().range_within(range, share) {
                    // What cannot be read is for the state machine to refuse.
                    Ok(_) | Err(ReadError::Compacted { .. } | ReadError::Future { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let ((), share) = self.read_sharing(share, measure).await?;
        Ok(share)
    }

    /// Waits for a larger share than one that was too small, if there is one.
    async fn more_room(&self, used: Share, bytes: u64) -> Result<Share, Status> {
        if used.is_whole() {
            return Err(too_long(bytes as usize));
        }
        // An eighth more than it looked like, so that once again is enough; and twice as much if it was not.
        let wanted = (bytes + bytes / 8).max(2 * used.granted());
        // Who holds room must not wait for it.
        drop(used);
        let waiting = tokio::time::timeout(self.handle.timeout(), self.budget.wait_for(wanted));
        waiting.await.map_err(|_| CallError::TooManyRequests.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use ferrite_member::bootstrap::Ids;
    use ferrite_member::{Progress, RequestIds, inbox};
    use ferrite_raft::{Index, NodeId, Term};
    use ferrite_state::answer::Room;
    use ferrite_state::{Command, State, Want};
    use ferrite_storage::{Table, in_memory};

    use super::*;
    use crate::call_metrics::CallMetrics;
    use crate::grpc::{Backups, Settings, answer};
    use crate::halt::Halt;
    use crate::handle::{CallLimits, Door, Handle, Load};
    use crate::loops::{Clock, Outlets};
    use crate::membership::Membership;
    use crate::peers::Peers;
    use crate::post::Post;
    use crate::read_pool::{ReadThread, read_pool};
    use crate::rpc::Budget;
    use ferrite_observe::log::Logger;
    use tokio::runtime::Runtime;

    const MIB: u64 = 1 << 20;

    /// Keys of 64 KiB each, 2 MiB in all.
    const KEYS: usize = 32;

    fn state() -> Shared {
        let (mut window, revisions) = in_memory();
        let rows: [(Table, Bytes, Bytes); 0] = [];
        let (mut state, _) = State::load(rows, revisions, ferrite_state::Settings::default()).unwrap();
        for key in 1..=KEYS {
            let (key, index) = (Bytes::from(format!("{key:03}")), Index(key as u64));
            let put = pb::PutRequest { key, value: vec![b'v'; 64 << 10].into(), ..Default::default() };
            let applied = state.apply(index, Term(1), &Command::Put(put), Want::Effect).unwrap();
            window.append(applied.effect);
        }
        window.publish();
        state.publish();
        state.shared().clone()
    }

    /// Services of a member that does nothing but read, and its read threads.
    fn services(budget: Budget, timeout: Duration, runtime: &Runtime) -> (Services, Arc<Door>, Vec<ReadThread>) {
        let ((member, _), (log, _), (apply, _), (store, _)) = (inbox(), inbox(), inbox(), inbox());
        let (reads, threads) = read_pool();
        let ids = Ids { member: NodeId(1), cluster: 2 };
        let state = state();
        let peers = Peers::nobody(ids, member.clone(), state.clone(), runtime.handle());
        let door = Arc::new(Door {
            ids,
            request_ids: Arc::new(RequestIds::new(ids.member, 0)),
            outlets: Outlets { member, log, apply, store },
            progress: Arc::new(Progress::new(Index(1), Term(1))),
            signals: Arc::default(),
            state,
            sizes: Default::default(),
            clock: Clock::start(),
            limits: CallLimits {
                request_bytes: 1 << 20,
                timeout,
                election_timeout: Duration::from_secs(1),
                prefers_revokes: false,
                renews_at_once: false,
            },
            load: Load::default(),
            membership: Membership::new(true, &Arc::default(), &Logger::silent()),
            reads,
            metrics: CallMetrics::new(&Arc::default(), Duration::MAX, &Logger::silent()),
            halt: Halt::told(|error| panic!("{error}")),
            peers,
        });
        let settings = Settings {
            max_txn_ops: 128,
            max_request_bytes: 1 << 20,
            quota_bytes: 0,
            watch_progress_interval: Duration::ZERO,
            election_timeout: Duration::from_secs(1),
            pauses_on_defragment: false,
        };
        let handle = Handle::new(door.clone(), Arc::<Post>::default());
        let backups = Arc::new(Backups::new(&Logger::silent()));
        (Services::new(handle, settings, Arc::new(budget), backups), door, threads)
    }

    /// Runs a test with its read threads.
    fn run(budget: Budget, timeout: Duration, test: impl AsyncFnOnce(&Services)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (services, door, threads) = services(budget, timeout, &runtime);
        let threads: Vec<_> = threads.into_iter().map(|thread| std::thread::spawn(|| thread.run())).collect();
        runtime.block_on(async {
            tokio::select! {
                () = services.handle.post().deliver() => unreachable!("it delivers as long as it is asked to"),
                () = test(&services) => {}
            }
        });
        door.reads.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    async fn list(services: &Services, is_short: bool) -> Result<Body, Status> {
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let read = move |state: &Shared, share: &mut Share| {
            Ok(answer::range(&state.keyspace().range_within(&all, share)?, None))
        };
        services.read_with_room(is_short, read).await
    }

    const PATIENT: Duration = Duration::from_secs(600);

    #[test]
    fn a_read_waits_for_room_and_is_made_again() {
        run(Budget::new(4 << 20, 1 << 20), PATIENT, async |services| {
            for is_short in [true, false] {
                let mut held = services.budget.share();
                assert!(held.take(3 * MIB));
                let mut waiting = Box::pin(list(services, is_short));
                // It has met that there is too little when it hurries the others.
                while !services.budget.is_contended() {
                    tokio::select! {
                        biased;
                        _ = &mut waiting => panic!("there is no room for it"),
                        () = tokio::task::yield_now() => {}
                    }
                }
                drop(held);
                let body = waiting.await.unwrap();
                assert!(body.len() > KEYS * (64 << 10));
                assert!(!services.budget.share().take(3 * MIB), "the answer holds its room");
                drop(body);
                assert!(services.budget.share().take(4 * MIB), "and gives it back");
            }
        });
    }

    #[test]
    fn an_answer_larger_than_the_budget_has_it_alone() {
        run(Budget::new(1 << 20, 1 << 20), PATIENT, async |services| {
            let body = list(services, false).await.unwrap();
            assert!(body.len() as u64 > 2 * MIB);
            assert!(!services.budget.share().take(MIB));
        });
    }

    #[test]
    fn who_waits_for_too_long_is_told_that_too_much_is_asked() {
        run(Budget::new(4 << 20, 1 << 20), Duration::from_millis(20), async |services| {
            let mut held = services.budget.share();
            assert!(held.take(3 * MIB));
            let refused = list(services, false).await.unwrap_err();
            assert_eq!(refused.message, "etcdserver: too many requests");
        });
    }

    #[test]
    fn what_writes_holds_room_for_what_it_will_list() {
        run(Budget::new(4 << 20, 1 << 20), PATIENT, async |services| {
            let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
            let future = pb::RangeRequest { revision: 1000, ..all.clone() };
            let share = services.room_for_answer(vec![future, all]).await.unwrap();
            assert!(share.granted() >= 2 * MIB);
            assert!(!services.budget.share().take(3 * MIB));
            drop(share);
            assert_eq!(services.room_for_answer(Vec::new()).await.unwrap().granted(), 0);
            assert!(services.budget.share().take(4 * MIB));
        });
    }

    #[test]
    fn an_answer_too_long_for_a_message_is_refused() {
        run(Budget::new(1 << 20, 1 << 20), PATIENT, async |services| {
            let read = |state: &Shared, share: &mut Share| {
                let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
                // As a transaction would that asks for everything again and again.
                loop {
                    state.keyspace().range_within(&all, share)?;
                }
            };
            let refused = services.read_with_room(false, read).await.unwrap_err();
            assert!(refused.message.starts_with("grpc: trying to send message larger than max ("), "{refused:?}");
        });
    }
}
