//! Changes of members at a cluster of one, as far as the recorded scenarios of etcd do not hold them already.

use ferrite_proto::etcdserverpb as pb;

use crate::cluster::{put, status};
use crate::server::{Client, Home, run};

const ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
const REMOVE: &str = "/etcdserverpb.Cluster/MemberRemove";
const UPDATE: &str = "/etcdserverpb.Cluster/MemberUpdate";
const PROMOTE: &str = "/etcdserverpb.Cluster/MemberPromote";

async fn add(client: &mut Client, urls: &[&str], is_learner: bool) -> Result<pb::MemberAddResponse, tonic::Status> {
    client.call(ADD, pb::MemberAddRequest { peer_ur_ls: list(urls), is_learner }).await
}

async fn update(client: &mut Client, id: u64, urls: &[&str]) -> Result<pb::MemberUpdateResponse, tonic::Status> {
    client.call(UPDATE, pb::MemberUpdateRequest { id, peer_ur_ls: list(urls) }).await
}

fn list(urls: &[&str]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

#[test]
fn changes_may_follow_at_once_on_the_answer_to_the_one_before() {
    let home = Home::new();
    let server = home.start(&["--max-learners=3"]);
    run(async {
        let client = &mut server.connect().await;
        let mut known = Vec::new();
        for round in 0..20 {
            let url = format!("http://127.0.0.1:{}", 1 + round);
            let added = add(client, &[&url], true).await.unwrap();
            let member = added.member.unwrap();
            assert_eq!((&member.peer_ur_ls[..], member.is_learner), (&[url][..], true));
            assert!(added.members.contains(&member));
            known.push(member.id);
            if known.len() == 3 {
                let id = known.remove(0);
                let removed: pb::MemberRemoveResponse =
                    client.call(REMOVE, pb::MemberRemoveRequest { id }).await.unwrap();
                assert!(removed.members.iter().all(|member| member.id != id));
            }
        }
    });
}

#[test]
fn the_order_and_the_spelling_of_urls_do_not_matter_when_a_member_is_added() {
    let home = Home::new();
    let mut server = home.start(&[]);
    run(async {
        let client = &mut server.connect().await;
        let added = add(client, &[" http://b:2", "HTTP://a:1 "], true).await.unwrap();
        assert_eq!(added.member.unwrap().peer_ur_ls, ["http://a:1", "http://b:2"]);
    });
    let line = server.wait_for("applied a configuration change through raft");
    assert!(line.contains(r#""raft-conf-change":"ConfChangeAddLearnerNode""#), "{line}");
}

#[test]
fn urls_that_would_crash_a_peer_are_refused() {
    let home = Home::new();
    let server = home.start(&[]);
    run(async {
        let client = &mut server.connect().await;
        let list: pb::MemberListResponse = client
            .call("/etcdserverpb.Cluster/MemberList", pb::MemberListRequest { linearizable: true })
            .await
            .unwrap();
        let own = list.members[0].id;
        // Nobody has to reach the only member.
        for urls in [&[][..], &["nonsense"], &["http://127.0.0.1:4242"]] {
            let updated = update(client, own, urls).await.unwrap();
            assert_eq!(updated.members[0].peer_ur_ls, urls);
        }
        let learner = add(client, &["http://127.0.0.1:3"], true).await.unwrap().member.unwrap().id;
        for (id, urls) in [(learner, &[][..]), (learner, &["nonsense"]), (own, &["http://127.0.0.1"])] {
            let refused = update(client, id, urls).await.unwrap_err();
            assert_eq!((refused.code() as i32, refused.message()), (3, "etcdserver: given member URLs are invalid"));
        }
        let refused = update(client, 77, &["nonsense"]).await.unwrap_err();
        assert_eq!((refused.code() as i32, refused.message()), (5, "etcdserver: member not found"));
    });
}

#[test]
fn a_risk_to_the_quorum_is_refused_only_if_the_flag_says_so() {
    for (strict, code, text) in [
        (true, 2, "etcdserver: re-configuration failed due to not enough started members"),
        // It waits for a quorum; this is what the client says when it has waited long enough.
        (false, 1, "Timeout expired"),
    ] {
        let home = Home::new();
        let mut server = home.start(&[&format!("--strict-reconfig-check={strict}")]);
        run(async {
            let client = &mut server.connect().await;
            // The change is decided by those who were members before it; then there is no quorum.
            let added = add(client, &["http://127.0.0.1:3"], false).await.unwrap();
            assert_eq!(added.members.len(), 2);
            if strict {
                // The cluster is unhealthy, too, but this will not pass.
                let refused = add(client, &["http://127.0.0.1:3"], true).await.unwrap_err();
                assert_eq!(refused.message(), "etcdserver: Peer URLs already exists");
            }
            let another = pb::MemberAddRequest { peer_ur_ls: list(&["http://127.0.0.1:4"]), is_learner: false };
            let patience = [("grpc-timeout", &b"500m"[..])];
            let refused = client.call_with::<_, pb::MemberAddResponse>(ADD, another, &patience).await.unwrap_err();
            assert_eq!((refused.code() as i32, refused.message()), (code, text));
        });
        if strict {
            let line = server.wait_for("rejecting member add request; not enough healthy members");
            assert!(line.contains("PeerURLs:[http://127.0.0.1:4] IsLearner:false}"), "{line}");
        }
    }
}

#[test]
fn refused_promotions_are_counted_by_their_reason() {
    let home = Home::new();
    let server = home.start(&[]);
    run(async {
        let client = &mut server.connect().await;
        let learner = add(client, &["http://127.0.0.1:3"], true).await.unwrap().member.unwrap().id;
        for id in [learner, 77, learner] {
            client
                .call::<_, pb::MemberPromoteResponse>(PROMOTE, pb::MemberPromoteRequest { id })
                .await
                .expect_err("nobody is ready");
        }
    });
    let shown = crate::metrics::scrape(&server);
    let failed = |reason: &str| shown.get(&format!("etcd_server_learner_promote_failures{{Reason=\"{reason}\"}}"));
    assert_eq!(failed("membership: ID not found"), Some(&1.0));
    let not_ready = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(failed(not_ready), Some(&2.0));
}

#[test]
fn the_last_voter_stays_whoever_asks_it_to_go() {
    let home = Home::new();
    let mut server = home.start(&["--strict-reconfig-check=false"]);
    run(async {
        for _restart in 0..2 {
            let client = &mut server.connect().await;
            let id = status(client).await.header.unwrap().member_id;
            let asked: Result<pb::MemberRemoveResponse, _> = client.call(REMOVE, pb::MemberRemoveRequest { id }).await;
            let refused = asked.unwrap_err();
            let expected = (9, "etcdserver: the last voting member cannot be removed");
            assert_eq!((refused.code() as i32, refused.message()), expected);
            put(client, "k", "v").await.unwrap();
            server.kill();
            server = home.start(&["--strict-reconfig-check=false"]);
        }
    });
}
