//! A member that was away until the log it needs was given up: it is sent the whole database.

use ferrite_proto::etcdserverpb as pb;

use crate::cluster::{Cluster, get, put, put_at_last};
use crate::metrics::scrape;
use crate::server::{Client, run};

/// Little log is kept, so that who is away for a few entries needs a snapshot.
const FLAGS: [&str; 2] = ["--snapshot-count=20", "--snapshot-catchup-entries=5"];

async fn compact(client: &mut Client, revision: i64) {
    let request = pb::CompactionRequest { revision, physical: true };
    let _: pb::CompactionResponse = client.call("/etcdserverpb.KV/Compact", request).await.unwrap();
}

#[test]
fn a_member_far_behind_is_sent_the_database_and_is_like_the_others() {
    run(async {
        let mut cluster = Cluster::start_with(&FLAGS);
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        let client = &mut cluster.client(leader).await;
        for number in 0..30 {
            put(client, &format!("key {number}"), "before").await.unwrap();
        }
        let grant = pb::LeaseGrantRequest { id: 77, ttl: 1000 };
        let _: pb::LeaseGrantResponse = client.call("/etcdserverpb.Lease/LeaseGrant", grant).await.unwrap();
        cluster.servers[away].take().unwrap().kill();
        let large = "x".repeat(100_000);
        for number in 0..60 {
            let value = if number % 10 == 0 { &large } else { "while it was away" };
            put_at_last(client, &format!("key {}", number % 40), value).await;
        }
        compact(client, 80).await;
        cluster.restart_with(away, &FLAGS);
        cluster.are_equal().await;
        let its = &mut cluster.client(away).await;
        assert_eq!(get(its, "key 10").await.map(|value| value.len()), Some(100_000));
        let leases: pb::LeaseLeasesResponse =
            its.call("/etcdserverpb.Lease/LeaseLeases", pb::LeaseLeasesRequest::default()).await.unwrap();
        assert_eq!(leases.leases, [pb::LeaseStatus { id: 77 }]);
        // It was not sent entries only.
        let metrics = scrape(cluster.servers[away].as_ref().unwrap());
        let arrived = metrics.iter().filter(|(name, _)| name.starts_with("etcd_network_snapshot_receive_success"));
        assert!(arrived.map(|(_, count)| *count).sum::<f64>() >= 1.0);
        // It takes part again: what it is told goes through the log, now and after a restart.
        put(its, "key 10", "after").await.unwrap();
        cluster.are_equal().await;
        cluster.servers[away].take().unwrap().kill();
        cluster.restart_with(away, &FLAGS);
        put_at_last(&mut cluster.client(away).await, "key 11", "after").await;
        cluster.are_equal().await;
    });
}
