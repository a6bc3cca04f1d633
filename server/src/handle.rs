//! What a request handler holds: the way into the log, and the state as far as it is published.
//!
//!   propose ──admitted──▶ Input::Propose ──▶ … applied ──▶ outcome        bounded in number and bytes, and in time
//!   confirm_read ───────▶ Input::Read ────▶ … applied ──▶ read the state
//!        └── a member that decides alone ──────────────────▶ read the state

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrite_member::bootstrap::Ids;
use ferrite_member::{
    Cut, Input, Inquiry, MembersProposal, Progress, Proposal, ReadFailed, Refused, RequestIds, StoreJob,
};
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::ResponseHeader;
use ferrite_raft::{NodeId, Status};
use ferrite_state::clock::Millis;
use ferrite_state::command::{Caller, ConfChange, Kind, encode, encode_parsed};
use ferrite_state::{ApplyError, ReadError, RequestId, Response, Shared};
use ferrite_storage::store::{SharedSizes, StoreSnapshot};

use crate::call_metrics::CallMetrics;
use crate::halt::Halt;
use crate::loops::{Clock, Outlets, Signals};
use crate::membership::Membership;
use crate::peers::Peers;
use crate::post::{Post, Reply, call};
use crate::read_pool::ReadPool;

/// Entries committed and not applied. Beyond that, proposals are refused. etcd's number is 5000, half a second of its work;
/// here that is a tenth, and after a sync that took as long a follower learns at once of so many.
const MAX_APPLY_BACKLOG: u64 = 50_000;
/// Proposals of clients that have no answer yet, and their bytes. Full means: too many requests.
const MAX_PROPOSALS: u64 = 16 * 1024;
const MAX_PROPOSAL_BYTES: u64 = 128 << 20;

/// The field of a transaction in `InternalRaftRequest`.
const TXN: u32 = 6;

/// What came of a proposal: refused before the log, or by the state machine.
pub type ProposalAnswer = Result<Result<Response, ApplyError>, Refused>;
/// Whether a read may be made.
pub type ReadAnswer = Result<(), ReadFailed>;
/// What the member of this server takes in.
pub type MemberInput = Input<Reply<ProposalAnswer>, Reply<ReadAnswer>>;

/// Why a call has no answer of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The encoded command is larger than `--max-request-bytes`.
    TooLarge,
    /// Too much is waiting already.
    TooManyRequests,
    /// It took longer than a request may take. A proposal may still be applied.
    TimedOut,
    /// The same, and the leader before this one may have had it.
    TimedOutByLeader,
    /// The same, and this member was not connected to whom it needs.
    TimedOutByConnection,
    /// No leader took the proposal for as long as a request may take.
    NotTaken,
    /// Another leader took over before the read had its index.
    LeaderChanged,
    /// Leadership is being handed over.
    ProposalDropped,
    /// The member is stopping.
    Stopped,
    /// What the state machine says.
    Refused(ApplyError),
}

/// Why a read that found no damage has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRefused {
    Compacted,
    Future,
    /// Memory for the answer is not to be had.
    NoRoom,
    /// It found damage, and the member ends.
    Halted,
}

impl From<ApplyError> for CallError {
    fn from(error: ApplyError) -> CallError {
        CallError::Refused(error)
    }
}

/// What a call may take.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Bytes of an encoded command (`--max-request-bytes`).
    pub request_bytes: usize,
    /// How long a proposal or a read waits: 5 s and two election timeouts.
    pub timeout: Duration,
    /// How long it takes at most to notice that a leader has gone.
    pub election_timeout: Duration,
    /// Revoking a lease may wait behind twice as many entries as other proposals (the feature `PriorityRequest`).
    pub prefers_revokes: bool,
    /// A lease is renewed at once, even if what has been committed is not applied (the feature `FastLeaseKeepAlive`).
    pub renews_at_once: bool,
}

/// The way into the member, for the handlers of one net thread.
#[derive(Clone, Debug)]
pub struct Handle {
    door: Arc<Door>,
    post: Arc<Post>,
}

/// What the handles of all net threads share.
#[derive(Debug)]
pub struct Door {
    pub ids: Ids,
    pub request_ids: Arc<RequestIds>,
    pub outlets: Outlets,
    pub progress: Arc<Progress>,
    pub signals: Arc<Signals>,
    pub state: Shared,
    pub sizes: SharedSizes,
    pub clock: Clock,
    pub limits: CallLimits,
    pub load: Load,
    pub membership: Membership,
    pub reads: ReadPool,
    pub metrics: CallMetrics,
    pub halt: Halt,
    pub peers: Peers,
}

/// What clients have proposed and has no answer yet.
#[derive(Debug, Default)]
pub struct Load {
    proposals: AtomicU64,
    bytes: AtomicU64,
}

/// What became of a proposal; nothing, if the member has gone.
fn outcome(answer: Option<ProposalAnswer>) -> Result<Response, CallError> {
    match answer {
        Some(Ok(outcome)) => Ok(outcome?),
        Some(Err(Refused::Dropped)) => Err(CallError::ProposalDropped),
        Some(Err(Refused::Stopping)) | None => Err(CallError::Stopped),
    }
}

/// As long as it lives, health says that nothing is served.
#[derive(Debug)]
pub struct Pause(Arc<Signals>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.pauses.send_modify(|pauses| *pauses -= 1);
    }
}

/// A place among the proposals without an answer, given back when it is dropped.
#[derive(Debug)]
struct Place<'a> {
    door: &'a Door,
    bytes: u64,
}

impl<'a> Place<'a> {
    fn take(door: &'a Door, bytes: u64) -> Option<Place<'a>> {
        let place = Place { door, bytes };
        let count = door.load.proposals.fetch_add(1, Ordering::Relaxed) + 1;
        let total = door.load.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (count <= MAX_PROPOSALS && total <= MAX_PROPOSAL_BYTES).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.door.load.proposals.fetch_sub(1, Ordering::Relaxed);
        self.door.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Handle {
    pub fn new(door: Arc<Door>, post: Arc<Post>) -> Handle {
        Handle { door, post }
    }

    /// The post of this net thread.
    pub fn post(&self) -> &Arc<Post> {
        &self.post
    }

    /// Whose member this is.
    pub fn ids(&self) -> Ids {
        self.door.ids
    }

    /// Keys, leases, members and alarms, as far as they are published.
    pub fn state(&self) -> &Shared {
        &self.door.state
    }

    /// How large the store is.
    pub fn sizes(&self) -> &SharedSizes {
        &self.door.sizes
    }

    /// The ways to the other members.
    pub fn peers(&self) -> &Peers {
        &self.door.peers
    }

    /// Tells the member something that nobody waits for.
    pub fn tell(&self, input: MemberInput) -> Result<(), CallError> {
        self.door.outlets.member.push(input).map_err(|_| CallError::Stopped)
    }

    /// What a call may take.
    pub fn limits(&self) -> &CallLimits {
        &self.door.limits
    }

    /// How long a request may wait.
    pub fn timeout(&self) -> Duration {
        self.door.limits.timeout
    }

    /// How far the state machine is.
    pub fn progress(&self) -> &Progress {
        &self.door.progress
    }

    /// The leader's id, 0 if none is known.
    pub fn leader(&self) -> u64 {
        self.door.signals.leader.load(Ordering::Relaxed)
    }

    /// Whether this member does not vote yet.
    pub fn is_learner(&self) -> bool {
        self.door.signals.is_learner.load(Ordering::Relaxed)
    }

    /// An id for a request or a lease.
    pub fn next_id(&self) -> RequestId {
        self.door.request_ids.take()
    }

    /// The time that leases go by.
    pub fn now(&self) -> Millis {
        Millis(self.door.clock.now().as_millis() as u64)
    }

    /// The header of an answer that tells `revision`; 0 stands for the newest.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        let revision = if revision == 0 { self.state().keyspace().revision() as i64 } else { revision };
        ResponseHeader { revision, ..self.header_without_revision() }
    }

    /// The header of an answer about the cluster.
    pub fn header_without_revision(&self) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.ids().cluster,
            member_id: self.ids().member.0,
            revision: 0,
            raft_term: self.progress().applied_term().0,
        }
    }

    /// Makes a read that may take long on another thread.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let state = self.state().clone();
        self.door.reads.run(&self.post, move || read(&state)).await
    }

    /// Takes back all space that can be taken back. Nothing else waits for it.
    pub async fn defragment(&self) -> Result<(), CallError> {
        let (waiter, awaited) = call(&self.post);
        self.door.outlets.store.push(StoreJob::Defragment(waiter)).map_err(|_| CallError::Stopped)?;
        awaited.await.ok_or(CallError::Stopped)
    }

    /// The store as it is now, with all that was applied: held while it goes on.
    pub async fn cut(&self) -> Result<StoreSnapshot, CallError> {
        let (waiter, awaited) = call(&self.post);
        let post = self.post.clone();
        let cut = Cut::new(move |snapshot| {
            waiter.answer(snapshot);
            post.flush();
        });
        self.door.outlets.store.push(StoreJob::Cut(cut)).map_err(|_| CallError::Stopped)?;
        awaited.await.ok_or(CallError::Stopped)
    }

    /// What a read came to. One that finds damage ends the member: what else is damaged, nobody knows.
    pub fn sound<T>(&self, found: Result<T, ReadError>) -> Result<T, ReadRefused> {
        found.map_err(|error| match error {
            ReadError::Compacted { .. } => ReadRefused::Compacted,
            ReadError::Future { .. } => ReadRefused::Future,
            ReadError::NoRoom { .. } => ReadRefused::NoRoom,
            ReadError::Storage(error) => {
                self.door.halt.halt(&error);
                ReadRefused::Halted
            }
        })
    }

    /// What threads tell one another.
    pub fn signals(&self) -> &Arc<Signals> {
        &self.door.signals
    }

    /// What is counted of calls.
    pub fn metrics(&self) -> &CallMetrics {
        &self.door.metrics
    }

    /// How many proposals have no answer yet.
    pub fn pending_proposals(&self) -> u64 {
        self.door.load.proposals.load(Ordering::Relaxed)
    }

    /// Lets health say that nothing is served, until what is returned is dropped.
    pub fn pause(&self) -> Pause {
        self.door.signals.pauses.send_modify(|pauses| *pauses += 1);
        Pause(self.door.signals.clone())
    }

    /// Whether health is to say that nothing is served, now and each time it changes.
    pub fn pauses(&self) -> tokio::sync::watch::Receiver<usize> {
        self.door.signals.pauses.subscribe()
    }

    /// What changes of members are judged by.
    pub fn membership(&self) -> &Membership {
        &self.door.membership
    }

    /// Asks what Raft knows.
    pub async fn inquire<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Status) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (waiter, awaited) = call(&self.post);
        let post = self.post.clone();
        let inquiry = Inquiry::new(move |status| {
            waiter.answer(ask(status));
            post.flush();
        });
        self.door.outlets.member.push(Input::Inquire(inquiry)).map_err(|_| CallError::Stopped)?;
        awaited.await.ok_or(CallError::Stopped)
    }

    /// Puts a change of members into the log and waits, for as long as the client does, for what comes of it.
    pub async fn change_members(&self, change: &ConfChange) -> Result<Response, CallError> {
        let change = change.proposed_as(self.next_id());
        let _place = Place::take(&self.door, change.context.len() as u64).ok_or(CallError::TooManyRequests)?;
        let (waiter, awaited) = call(&self.post);
        let proposal = Input::ChangeMembers(MembersProposal { change, waiter });
        self.door.outlets.member.push(proposal).map_err(|_| CallError::Stopped)?;
        outcome(awaited.await)
    }

    /// Puts a request into the log and waits for what comes of it.
    pub async fn propose(&self, caller: &Caller, request: pb::InternalRaftRequest) -> Result<Response, CallError> {
        let (id, kind, begun) = (self.next_id(), Kind::of(&request), Instant::now());
        let backlog = match request.lease_revoke.is_some() && self.door.limits.prefers_revokes {
            true => 2 * MAX_APPLY_BACKLOG,
            false => MAX_APPLY_BACKLOG,
        };
        let answer =
            self.in_time(self.propose_encoded(id, encode(id, caller, request), backlog), || self.why_late(begun)).await;
        self.metrics().proposed(kind, begun, answer.as_ref().err().copied());
        answer
    }

    /// The same for what may take longer than other requests, for as long as the client waits.
    pub async fn propose_patiently(
        &self,
        caller: &Caller,
        request: pb::InternalRaftRequest,
    ) -> Result<Response, CallError> {
        let (id, kind, begun) = (self.next_id(), Kind::of(&request), Instant::now());
        let answer = self.propose_encoded(id, encode(id, caller, request), MAX_APPLY_BACKLOG).await;
        self.metrics().proposed(kind, begun, answer.as_ref().err().copied());
        answer
    }

    /// The same with a transaction that came encoded.
    pub async fn propose_txn(&self, caller: &Caller, payload: &[u8]) -> Result<Response, CallError> {
        let (id, begun) = (self.next_id(), Instant::now());
        let data = encode_parsed(id, caller, TXN, payload);
        let answer = self.in_time(self.propose_encoded(id, data, MAX_APPLY_BACKLOG), || self.why_late(begun)).await;
        self.metrics().proposed(Kind::Txn, begun, answer.as_ref().err().copied());
        answer
    }

    async fn propose_encoded(&self, id: RequestId, data: Bytes, backlog: u64) -> Result<Response, CallError> {
        let progress = self.progress();
        if progress.committed().0.saturating_sub(progress.applied().0) > backlog {
            return Err(CallError::TooManyRequests);
        }
        if data.len() > self.door.limits.request_bytes {
            return Err(CallError::TooLarge);
        }
        let _place = Place::take(&self.door, data.len() as u64).ok_or(CallError::TooManyRequests)?;
        let (waiter, awaited) = call(&self.post);
        let proposal = Input::Propose(Proposal { id, data, waiter });
        self.door.outlets.member.push(proposal).map_err(|_| CallError::Stopped)?;
        outcome(awaited.await)
    }

    /// Waits until everything that anybody was told of before this call can be read. Says whether it had to wait.
    pub async fn confirm_read(&self) -> Result<bool, CallError> {
        // Asking the member costs two threads a wake-up, most of what a get costs.
        match self.door.signals.reads_at_once.load(Ordering::SeqCst) {
            true => Ok(false),
            false => self.confirm_read_by_member().await.map(|()| true),
        }
    }

    /// The same for who also wants to know that the member is at work.
    pub async fn confirm_read_by_member(&self) -> Result<(), CallError> {
        let (waiter, awaited) = call(&self.post);
        self.door.outlets.member.push(Input::Read(waiter)).map_err(|_| CallError::Stopped)?;
        let confirmed = async {
            match awaited.await {
                Some(Ok(())) => Ok(()),
                Some(Err(ReadFailed::LeaderChanged)) => Err(CallError::LeaderChanged),
                Some(Err(ReadFailed::Stopping)) | None => Err(CallError::Stopped),
            }
        };
        let confirmed = self.in_time(confirmed, || CallError::TimedOut).await;
        self.metrics().confirmed(confirmed.err());
        confirmed
    }

    /// Why a proposal has no answer in time.
    fn why_late(&self, begun: Instant) -> CallError {
        let (own, leader) = (self.ids().member, self.leader());
        let was_connected = |member: NodeId| {
            let since = self.peers().transport.active_since(member);
            member == own || since.is_some_and(|since| since.into_std() < begun)
        };
        self.door.signals.reign.why_late(begun, self.door.limits.election_timeout, || {
            if leader != own.0 {
                return was_connected(NodeId(leader));
            }
            let tables = self.state().tables();
            let members = tables.cluster.members();
            let all = members.len();
            members.filter(|member| was_connected(member.id)).count() > all / 2
        })
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>>,
        too_late: impl FnOnce() -> CallError,
    ) -> Result<T, CallError> {
        tokio::time::timeout(self.door.limits.timeout, call).await.unwrap_or_else(|_| Err(too_late()))
    }
}
