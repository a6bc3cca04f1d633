//! A cluster whose members change while it runs.

use std::time::{Duration, Instant};

use ferrite_proto::etcdserverpb as pb;

use crate::cluster::{Cluster, get, put, put_at_last, status};
use crate::server::{Client, Home, Server, addresses, run};

const ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
const LIST: &str = "/etcdserverpb.Cluster/MemberList";
const PROMOTE: &str = "/etcdserverpb.Cluster/MemberPromote";
const REMOVE: &str = "/etcdserverpb.Cluster/MemberRemove";
const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// Makes a call until it is not refused for this reason.
async fn call_past<Q, R>(client: &mut Client, path: &'static str, request: Q, reason: &str) -> Result<R, tonic::Status>
where
    Q: prost::Message + Clone + 'static,
    R: prost::Message + Default + 'static,
{
    let begun = Instant::now();
    loop {
        match client.call(path, request.clone()).await {
            Err(refused) if refused.message() == reason && begun.elapsed() < PATIENCE => {}
            answered => return answered,
        }
    }
}

async fn members(client: &mut Client) -> Vec<pb::Member> {
    let list: pb::MemberListResponse = client.call(LIST, pb::MemberListRequest { linearizable: true }).await.unwrap();
    list.members
}

/// Starts a member that was added, and waits until it has joined.
fn join(cluster: &Cluster, home: &Home, name: &str, urls: &(String, String)) -> Server {
    let initial = format!("{},{name}={}", cluster.initial(), urls.1);
    let mut server = home.spawn_at(name, urls, &[&initial, "--initial-cluster-state=existing"]);
    server.wait_for("ready to serve client requests");
    server
}

#[test]
fn a_learner_joins_becomes_a_voter_and_leads() {
    run(async {
        let cluster = Cluster::start();
        let (leader, follower) = {
            let leader = cluster.leader().await;
            (leader, (leader + 1) % 3)
        };
        let mut at_follower = cluster.client(follower).await;
        put(&mut at_follower, "k", "before").await.unwrap();

        let urls = addresses();
        let add = pb::MemberAddRequest { peer_ur_ls: vec![urls.1.clone()], is_learner: true };
        // Until its connections have stood for a while, a member does not know that the cluster is healthy.
        let added: pb::MemberAddResponse =
            call_past(&mut at_follower, ADD, add, "etcdserver: unhealthy cluster").await.unwrap();
        let learner = added.member.unwrap().id;
        let home = Home::new();
        let server = join(&cluster, &home, "four", &urls);
        let mut at_learner = server.connect().await;
        assert!(status(&mut at_learner).await.is_learner);
        let refused = put(&mut at_learner, "k", "no").await.unwrap_err();
        assert_eq!((refused.code() as i32, refused.message()), (9, "etcdserver: rpc not supported for learner"));
        let local = pb::RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
        let found: pb::RangeResponse = at_learner.call("/etcdserverpb.KV/Range", local).await.unwrap();
        assert_eq!(found.count, 1);

        // Asked at a member that does not lead, which hands it on.
        let promote = pb::MemberPromoteRequest { id: learner };
        let behind = "etcdserver: can only promote a learner member which is in sync with leader";
        let promoted: pb::MemberPromoteResponse = call_past(&mut at_follower, PROMOTE, promote, behind).await.unwrap();
        assert!(promoted.members.iter().all(|member| !member.is_learner));
        for (client, code, text) in [
            (&mut at_follower, 9, "etcdserver: can only promote a learner member"),
            (&mut cluster.client(leader).await, 9, "etcdserver: can only promote a learner member"),
        ] {
            // With a log this short it is behind if one entry has not come yet.
            let refused =
                call_past::<_, pb::MemberPromoteResponse>(client, PROMOTE, promote, behind).await.unwrap_err();
            assert_eq!((refused.code() as i32, refused.message()), (code, text));
        }
        let unknown = pb::MemberPromoteRequest { id: 77 };
        let refused = at_follower.call::<_, pb::MemberPromoteResponse>(PROMOTE, unknown).await.unwrap_err();
        assert_eq!((refused.code() as i32, refused.message()), (5, "etcdserver: member not found"));

        let move_leader = pb::MoveLeaderRequest { target_id: learner };
        let refused = at_follower.call::<_, pb::MoveLeaderResponse>(MOVE_LEADER, move_leader).await.unwrap_err();
        assert_eq!(refused.message(), "etcdserver: not leader");
        let mut at_leader = cluster.client(leader).await;
        let _: pb::MoveLeaderResponse = at_leader.call(MOVE_LEADER, move_leader).await.unwrap();
        assert_eq!(status(&mut at_leader).await.leader, learner);
        put_at_last(&mut at_learner, "k", "after").await;
        assert_eq!(get(&mut at_follower, "k").await.as_deref(), Some("after"));
    });
}

#[test]
fn a_member_that_is_removed_ends_and_another_takes_its_place() {
    run(async {
        let mut cluster = Cluster::start();
        let leader = cluster.leader().await;
        let mut at_leader = cluster.client(leader).await;
        let gone = (leader + 1) % 3;
        let id = status(&mut cluster.client(gone).await).await.header.unwrap().member_id;
        let remove = pb::MemberRemoveRequest { id };
        let removed: pb::MemberRemoveResponse =
            call_past(&mut at_leader, REMOVE, remove, "etcdserver: unhealthy cluster").await.unwrap();
        assert_eq!(removed.members.len(), 2);
        let mut server = cluster.servers[gone].take().unwrap();
        server.wait_for("the member has been permanently removed from the cluster");
        let (status, _) = server.wait_for_end();
        assert_eq!(status.code(), Some(0));
        let refused = at_leader.call::<_, pb::MemberRemoveResponse>(REMOVE, remove).await.unwrap_err();
        assert_eq!(refused.message(), "etcdserver: member not found");

        // At the same address, with nothing: another member.
        std::fs::remove_dir_all(cluster.homes[gone].data()).unwrap();
        let add = pb::MemberAddRequest { peer_ur_ls: vec![cluster.urls[gone].1.clone()], is_learner: false };
        let added: pb::MemberAddResponse = at_leader.call(ADD, add).await.unwrap();
        assert_ne!(added.member.unwrap().id, id);
        cluster.restart_with(gone, &["--initial-cluster-state=existing"]);
        let mut at_new = cluster.client(gone).await;
        put_at_last(&mut at_new, "k", "v").await;
        assert_eq!(get(&mut at_leader, "k").await.as_deref(), Some("v"));
        assert!(members(&mut at_new).await.iter().all(|member| !member.name.is_empty()));
    });
}
