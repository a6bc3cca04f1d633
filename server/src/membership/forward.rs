//! A promotion that was asked for at a member that does not lead: the leader is asked over its peer port.

use bytes::Bytes;
use ferrite_peer::Answer;
use ferrite_raft::NodeId;
use ferrite_state::ApplyError;
use ferrite_state::cluster::Member;
use http::StatusCode;
use tokio::time::{Instant, sleep, timeout_at};

use super::{ASK_AGAIN, ChangeError, promote_here};
use crate::handle::{CallError, Handle};

/// Where promotions are asked for; the id follows, in decimal.
pub const PATH: &str = "/members/promote/";

/// Asks whoever leads until there is an answer that counts.
pub(super) async fn promote(handle: &Handle, id: NodeId) -> Result<Vec<Member>, ChangeError> {
    let give_up = Instant::now() + handle.timeout();
    loop {
        let leader = timeout_at(give_up, leader(handle)).await.map_err(|_| ChangeError::NoLeader)??;
        if leader.id == handle.ids().member {
            match timeout_at(give_up, promote_here(handle, id)).await {
                Ok(Err(ChangeError::NotLeader)) => {}
                Ok(promoted) => return promoted,
                Err(_) => return Err(CallError::TimedOut.into()),
            }
        }
        let path = format!("{PATH}{}", id.0);
        for url in &leader.peer_urls {
            let left = give_up.saturating_duration_since(Instant::now());
            let asked = handle.peers().asker.post(url, &path, "application/json", Bytes::new(), left);
            if let Ok(answer) = asked.await
                && let Some(counts) = read(&answer)
            {
                return counts;
            }
        }
        if Instant::now() >= give_up {
            return Err(CallError::TimedOut.into());
        }
        sleep(ASK_AGAIN).await;
    }
}

/// The leader, as soon as one is known.
async fn leader(handle: &Handle) -> Result<Member, ChangeError> {
    let mut leadership = handle.signals().leadership.subscribe();
    loop {
        let leader = *leadership.borrow_and_update();
        if let Some(member) = handle.state().tables().cluster.member(NodeId(leader)) {
            return if member.peer_urls.is_empty() { Err(ChangeError::NoLeader) } else { Ok(member.clone()) };
        }
        if leadership.changed().await.is_err() {
            return Err(CallError::Stopped.into());
        }
    }
}

/// What the leader says, if it is to be believed; anything else is asked again.
fn read(answer: &Answer) -> Option<Result<Vec<Member>, ChangeError>> {
    let says = |error: ChangeError| String::from_utf8_lossy(&answer.body).contains(&error.to_string());
    let not_learner = ChangeError::from(ApplyError::MemberNotLearner);
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).ok().map(Ok),
        StatusCode::NOT_FOUND => Some(Err(ApplyError::MemberNotFound.into())),
        StatusCode::PRECONDITION_FAILED if says(ChangeError::LearnerNotReady) => {
            Some(Err(ChangeError::LearnerNotReady))
        }
        StatusCode::PRECONDITION_FAILED if says(not_learner) => Some(Err(not_learner)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn answers_of_a_leader() {
        let read = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
            read(&answer).map(|answer| answer.map(|members| members.len()))
        };
        let members = r#"[{"id":1,"peerURLs":["http://a:1"],"name":"a"},{"id":2,"peerURLs":["http://b:1"]}]"#;
        assert_eq!(read(200, members), Some(Ok(2)));
        assert_eq!(read(200, "nonsense"), None);
        assert_eq!(read(404, "membership: ID not found\n"), Some(Err(ApplyError::MemberNotFound.into())));
        let not_ready = "etcdserver: can only promote a learner member which is in sync with leader\n";
        assert_eq!(read(412, not_ready), Some(Err(ChangeError::LearnerNotReady)));
        let not_learner = "membership: can only promote a learner member\n";
        assert_eq!(read(412, not_learner), Some(Err(ApplyError::MemberNotLearner.into())));
        assert_eq!(read(412, "something else"), None);
        assert_eq!(read(500, r#"{"message":"Internal Server Error"}"#), None);
    }
}
