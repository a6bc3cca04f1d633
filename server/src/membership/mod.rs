//! Changes of members and of the leader: what is asked before one is proposed, and the way into the log.
//!
//!   add, remove, update ──rules──▶ Input::ChangeMembers ──▶ … applied ──▶ the members then
//!   promote ──at the leader: has it caught up?──▶ the same; anywhere else the leader is asked
//!   move the leader ──▶ Input::TransferLeader, then wait until somebody else leads
//!
//! What holds for every member alike (who is known, whose URLs, how many learners) is judged when the change is applied.
//! Here is what only those who are asked can know: who has started, who is connected, how far a learner is.
//! A change waits for as long as its client does: there is no other bound, as in etcd.

mod forward;
mod leader;
mod rules;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, Value, lines};
use ferrite_observe::metrics::{Registry, families};
use ferrite_raft::{NodeId, Status};
use ferrite_state::ApplyError;
use ferrite_state::cluster::{Member, member_id_at};
use ferrite_state::command::{ConfChange, MemberChange};

use crate::config::Url;
use crate::handle::{CallError, Handle};

/// Who has been connected for less time does not count.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// A learner may be promoted when it has so much of the leader's log.
const READY_SHARE: f64 = 0.9;
/// What is committed has to be applied within this time, before a learner is looked at.
const APPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// How often to look whether something has come about that nobody tells.
const LOOK: Duration = Duration::from_millis(5);
/// How long to wait before a leader that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What changes of members are judged by.
#[derive(Debug)]
pub struct Membership {
    /// Changes that would risk the quorum are refused (`--strict-reconfig-check`).
    strict: bool,
    registry: Arc<Registry>,
    logger: Logger,
}

/// Why a change of members was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    BadUrls,
    NotEnoughStarted,
    Unhealthy,
    LearnerNotReady,
    /// What is committed was not applied in time.
    ApplyTooSlow,
    NotLeader,
    /// No leader came in time.
    NoLeader,
    /// It cannot lead.
    BadTransferee,
    Call(CallError),
}

impl From<CallError> for ChangeError {
    fn from(error: CallError) -> ChangeError {
        ChangeError::Call(error)
    }
}

impl From<ApplyError> for ChangeError {
    fn from(error: ApplyError) -> ChangeError {
        ChangeError::Call(CallError::Refused(error))
    }
}

/// etcd's words among members, in its metrics and in its log.
impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            ChangeError::BadUrls => "etcdserver: given member URLs are invalid",
            ChangeError::NotEnoughStarted => "etcdserver: re-configuration failed due to not enough started members",
            ChangeError::Unhealthy => "etcdserver: unhealthy cluster",
            ChangeError::LearnerNotReady => {
                "etcdserver: can only promote a learner member which is in sync with leader"
            }
            ChangeError::ApplyTooSlow => "etcdserver: request timed out, waiting for the applied index took too long",
            ChangeError::NotLeader => "etcdserver: not leader",
            ChangeError::NoLeader => "etcdserver: no leader",
            ChangeError::BadTransferee => "etcdserver: bad leader transferee",
            ChangeError::Call(CallError::Refused(error)) => match error {
                ApplyError::MemberRemoved => "membership: ID removed",
                ApplyError::MemberNotFound => "membership: ID not found",
                ApplyError::MemberExists => "membership: ID exists",
                ApplyError::PeerUrlExists => "membership: peerURL exists",
                ApplyError::MemberNotLearner => "membership: can only promote a learner member",
                ApplyError::TooManyLearners => "membership: too many learner members in cluster",
                other => return write!(f, "etcdserver: {other}"),
            },
            ChangeError::Call(CallError::Stopped) => "etcdserver: server stopped",
            ChangeError::Call(CallError::ProposalDropped) => "raft proposal dropped",
            ChangeError::Call(CallError::TooManyRequests) => "etcdserver: too many requests",
            ChangeError::Call(
                CallError::TimedOut
                | CallError::TimedOutByLeader
                | CallError::TimedOutByConnection
                | CallError::NotTaken
                | CallError::LeaderChanged
                | CallError::TooLarge,
            ) => "etcdserver: request timed out",
        };
        f.write_str(text)
    }
}

impl Membership {
    pub fn new(strict: bool, registry: &Arc<Registry>, logger: &Logger) -> Membership {
        Membership { strict, registry: registry.clone(), logger: logger.clone() }
    }
}

/// Adds a member that will be reached at these URLs. Returns it, and all members then.
pub async fn add(handle: &Handle, urls: &[String], is_learner: bool) -> Result<(Member, Vec<Member>), ChangeError> {
    let peer_urls = readable(urls).ok_or(ChangeError::BadUrls)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let id = member_id_at(&peer_urls, seconds);
    let member = Member { id, peer_urls, is_learner, ..Member::default() };
    let membership = handle.membership();
    if membership.strict {
        let tables = handle.state().tables();
        let allowed = rules::may_add(&tables.cluster, is_learner, |id| is_healthy(handle, id));
        if let Err(error) = allowed {
            // Of two reasons the one that waiting does not mend. etcd says the other.
            if tables.cluster.members().any(|known| known.peer_urls.iter().any(|url| member.peer_urls.contains(url))) {
                return Err(ApplyError::PeerUrlExists.into());
            }
            let line = match error {
                ChangeError::Unhealthy => lines::ADD_REJECTED_UNHEALTHY,
                _ => lines::ADD_REJECTED_NOT_STARTED,
            };
            log!(membership.logger, line, own(handle), &shown(&member), Value::Shown(&error));
            return Err(error);
        }
    }
    let change = MemberChange::Add { member: member.clone(), as_voter: !is_learner };
    let members = propose(handle, ConfChange { node: id, change }).await?;
    Ok((member, members))
}

/// Removes a member. Returns those who stay.
pub async fn remove(handle: &Handle, id: NodeId) -> Result<Vec<Member>, ChangeError> {
    let membership = handle.membership();
    if membership.strict {
        let is_active = id == handle.ids().member || handle.peers().transport.active_since(id).is_some();
        let tables = handle.state().tables();
        if let Err(error) = rules::may_remove(&tables.cluster, id, is_active, |id| is_healthy(handle, id)) {
            let line = match error {
                ChangeError::Unhealthy => lines::REMOVE_REJECTED_UNHEALTHY,
                _ => lines::REMOVE_REJECTED_NOT_STARTED,
            };
            log!(membership.logger, line, own(handle), Id(id.0), Value::Shown(&error));
            return Err(error);
        }
    }
    propose(handle, ConfChange { node: id, change: MemberChange::Remove }).await
}

/// Changes where a member is reached. Returns all members.
pub async fn update(handle: &Handle, id: NodeId, urls: Vec<String>) -> Result<Vec<Member>, ChangeError> {
    // etcd takes anything, and its members crash on it if they have to reach the one whose URL it is.
    let is_a_peer = {
        let cluster = &handle.state().tables().cluster;
        cluster.member(id).is_some() && cluster.members().len() > 1
    };
    if is_a_peer && readable(&urls).is_none() {
        return Err(ChangeError::BadUrls);
    }
    let member = Member { id, peer_urls: urls, ..Member::default() };
    propose(handle, ConfChange { node: id, change: MemberChange::Update { member } }).await
}

/// Makes a learner a voter. Only the leader knows whether it may; it is asked if it is another.
pub async fn promote(handle: &Handle, id: NodeId) -> Result<Vec<Member>, ChangeError> {
    let promoted = promote_here(handle, id).await;
    let registry = &handle.membership().registry;
    match promoted {
        Ok(_) => registry.metric(&families::ETCD_SERVER_LEARNER_PROMOTE_SUCCESSES, &[]).increment(),
        Err(ChangeError::NotLeader) => return forward::promote(handle, id).await,
        Err(error) => {
            registry.metric(&families::ETCD_SERVER_LEARNER_PROMOTE_FAILURES, &[&error.to_string()]).increment();
        }
    }
    promoted
}

async fn promote_here(handle: &Handle, id: NodeId) -> Result<Vec<Member>, ChangeError> {
    tokio::time::timeout(APPLY_TIMEOUT, applied(handle)).await.map_err(|_| ChangeError::ApplyTooSlow)?;
    let membership = handle.membership();
    let share = handle.inquire(move |status| share_of_log(status, id)).await??;
    if share < READY_SHARE {
        log!(membership.logger, lines::PROMOTE_REJECTED_NOT_READY, share, READY_SHARE);
        return Err(ChangeError::LearnerNotReady);
    }
    if membership.strict
        && let Err(error) = rules::may_promote(&handle.state().tables().cluster)
    {
        log!(membership.logger, lines::PROMOTE_REJECTED_NOT_STARTED, own(handle), Id(id.0), Value::Shown(&error));
        return Err(error);
    }
    propose(handle, ConfChange { node: id, change: MemberChange::Promote }).await
}

/// Waits until all that is committed now is applied.
async fn applied(handle: &Handle) {
    let committed = handle.progress().committed();
    while handle.progress().applied() < committed {
        tokio::time::sleep(LOOK).await;
    }
}

/// How much of the leader's log a member has, as the leader knows it.
fn share_of_log(status: &Status, id: NodeId) -> Result<f64, ChangeError> {
    let matched = |id| status.progress.iter().find(|(each, _)| *each == id).map(|(_, progress)| progress.matched().0);
    let whole = matched(status.id).ok_or(ChangeError::NotLeader)?;
    let part = matched(id).ok_or(ApplyError::MemberNotFound)?;
    Ok(part as f64 / whole as f64)
}

async fn propose(handle: &Handle, change: ConfChange) -> Result<Vec<Member>, ChangeError> {
    handle.change_members(&change).await?;
    let kind = match change.change {
        MemberChange::Add { as_voter: true, .. } | MemberChange::Promote => "ConfChangeAddNode",
        MemberChange::Add { as_voter: false, .. } => "ConfChangeAddLearnerNode",
        MemberChange::Remove => "ConfChangeRemoveNode",
        MemberChange::Update { .. } => "ConfChangeUpdateNode",
    };
    log!(handle.membership().logger, lines::CHANGED_MEMBERS, own(handle), kind, Id(change.node.0));
    Ok(handle.state().tables().cluster.members().cloned().collect())
}

/// This member itself, or one that has been connected long enough.
fn is_healthy(handle: &Handle, member: NodeId) -> bool {
    let active = handle.peers().transport.active_since(member);
    member == handle.ids().member || active.is_some_and(|since| since.elapsed() > HEALTHY_AFTER)
}

/// The URLs as etcd writes and sorts them; `None` if there are none, or if one of them is no URL of a peer.
fn readable(urls: &[String]) -> Option<Vec<String>> {
    let mut readable =
        urls.iter().map(|url| Url::parse(url).map(|url| url.to_string()).ok()).collect::<Option<Vec<_>>>()?;
    readable.sort();
    (!readable.is_empty()).then_some(readable)
}

fn own(handle: &Handle) -> Id {
    Id(handle.ids().member.0)
}

/// A member as Go prints it.
fn shown(member: &Member) -> String {
    let Member { id, peer_urls, is_learner, name, client_urls, is_ferrite: _ } = member;
    let (peers, clients) = (peer_urls.join(" "), client_urls.join(" "));
    format!(
        "{{ID:{:x} RaftAttributes:{{PeerURLs:[{peers}] IsLearner:{is_learner}}} Attributes:{{Name:{name} ClientURLs:[{clients}]}}}}",
        id.0
    )
}

pub use forward::PATH as PROMOTE_PATH;
pub use leader::move_to as move_leader;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_sorted_as_in_etcd() {
        let check = |urls: &[&str], expected: Option<&[&str]>| {
            let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
            assert_eq!(
                readable(&urls).as_deref(),
                expected.map(|urls| urls.iter().map(ToString::to_string).collect::<Vec<_>>()).as_deref()
            );
        };
        check(&[" http://b:1", "HTTP://a:1"], Some(&["http://a:1", "http://b:1"]));
        check(&["http://a:1", "http://a:1"], Some(&["http://a:1", "http://a:1"]));
        check(&["unix://socket"], Some(&["unix://socket"]));
        check(&[], None);
        check(&["http://a:1", "nonsense"], None);
        check(&["http://a:1/"], None);
    }

    #[test]
    fn a_member_is_shown_as_go_shows_it() {
        let member = Member {
            id: NodeId(0xab),
            peer_urls: vec!["http://a:1".into(), "http://b:1".into()],
            is_learner: true,
            ..Member::default()
        };
        assert_eq!(
            shown(&member),
            "{ID:ab RaftAttributes:{PeerURLs:[http://a:1 http://b:1] IsLearner:true} Attributes:{Name: ClientURLs:[]}}"
        );
    }
}
