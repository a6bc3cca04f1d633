//! What a scrape shows after a little of everything.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::EmptyResponse;

use crate::server::{Home, Server, run};

/// Every series with its value.
pub fn scrape(server: &Server) -> HashMap<String, f64> {
    let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).unwrap();
    let lines = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    lines.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect()
}

#[test]
fn everything_is_counted() {
    let home = Home::new();
    let mut server = home.start(&["--metrics=extensive"]);
    run(async {
        let client = &mut server.connect().await;
        let put = |value: &'static str| pb::PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
        for value in ["one", "three"] {
            let _: pb::PutResponse = client.call("/etcdserverpb.KV/Put", put(value)).await.unwrap();
        }
        let key = || pb::RangeRequest { key: "k".into(), ..Default::default() };
        let _: pb::RangeResponse = client.call("/etcdserverpb.KV/Range", key()).await.unwrap();
        let future = pb::RangeRequest { revision: 99, ..key() };
        client.call::<_, EmptyResponse>("/etcdserverpb.KV/Range", future).await.unwrap_err();
        let op = |request| pb::RequestOp { request: Some(request) };
        let read = op(pb::request_op::Request::RequestRange(key()));
        let txn = pb::TxnRequest { success: vec![read.clone(), read], ..Default::default() };
        let _: pb::TxnResponse = client.call("/etcdserverpb.KV/Txn", txn).await.unwrap();
        let delete = pb::DeleteRangeRequest { key: "k".into(), prev_kv: true, ..Default::default() };
        let _: pb::DeleteRangeResponse = client.call("/etcdserverpb.KV/DeleteRange", delete).await.unwrap();
        let grant = pb::LeaseGrantRequest { ttl: 100, id: 5 };
        let _: pb::LeaseGrantResponse = client.call("/etcdserverpb.Lease/LeaseGrant", grant).await.unwrap();
        let missing = pb::LeaseRevokeRequest { id: 6 };
        client.call::<_, EmptyResponse>("/etcdserverpb.Lease/LeaseRevoke", missing).await.unwrap_err();
        let compaction = pb::CompactionRequest { revision: 4, physical: true };
        let _: pb::CompactionResponse = client.call("/etcdserverpb.KV/Compact", compaction).await.unwrap();
        let hash = pb::HashKvRequest::default();
        let _: pb::HashKvResponse = client.call("/etcdserverpb.Maintenance/HashKV", hash).await.unwrap();
        let defragment = pb::DefragmentRequest::default();
        let _: pb::DefragmentResponse = client.call("/etcdserverpb.Maintenance/Defragment", defragment).await.unwrap();
    });
    server.wait_for("finished scheduled compaction");
    let shown = scrape(&server);
    let value = |series: &str| *shown.get(series).unwrap_or_else(|| panic!("no {series}"));
    for (series, expected) in [
        ("etcd_mvcc_put_total", 2.0),
        ("etcd_mvcc_range_total", 5.0),
        ("etcd_mvcc_delete_total", 1.0),
        ("etcd_mvcc_txn_total", 2.0),
        ("etcd_debugging_mvcc_total_put_size_in_bytes", 10.0),
        ("etcd_debugging_lease_granted_total", 1.0),
        ("etcd_debugging_lease_ttl_total_sum", 100.0),
        ("etcd_debugging_mvcc_compact_revision", 4.0),
        ("etcd_debugging_mvcc_db_compaction_keys_total", 2.0),
        ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count", 1.0),
        ("etcd_disk_backend_defrag_duration_seconds_count", 1.0),
        ("etcd_disk_defrag_inflight", 0.0),
        ("etcd_mvcc_hash_rev_duration_seconds_count", 1.0),
        ("etcd_server_leader_changes_seen_total", 1.0),
        ("etcd_server_proposals_pending", 0.0),
        ("etcd_server_range_duration_seconds_count{success=\"false\"}", 1.0),
        ("etcd_server_range_duration_seconds_count{success=\"true\"}", 1.0),
        ("etcd_server_request_duration_seconds_count{success=\"true\",type=\"Put\"}", 2.0),
        ("etcd_server_request_duration_seconds_count{success=\"true\",type=\"ReadonlyTxn\"}", 1.0),
        ("etcd_server_request_duration_seconds_count{success=\"true\",type=\"LeaseRevoke\"}", 1.0),
        ("etcd_server_request_duration_seconds_count{success=\"true\",type=\"ClusterVersionSet\"}", 1.0),
        ("etcd_server_apply_duration_seconds_count{op=\"LeaseRevoke\",success=\"false\",version=\"v3\"}", 1.0),
        ("etcd_server_apply_duration_seconds_count{op=\"Compaction\",success=\"true\",version=\"v3\"}", 1.0),
        ("etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"}", 11.0),
        (
            "grpc_server_handling_seconds_count{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
            2.0,
        ),
    ] {
        assert_eq!(value(series), expected, "{series}");
    }
    for series in [
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_disk_wal_write_duration_seconds_count",
        "etcd_disk_wal_write_bytes_total",
        "etcd_disk_backend_commit_duration_seconds_count",
        "etcd_debugging_mvcc_db_compaction_last",
        "etcd_network_client_grpc_received_bytes_total",
        "etcd_network_client_grpc_sent_bytes_total",
    ] {
        assert!(value(series) > 0.0, "{series}");
    }
}
