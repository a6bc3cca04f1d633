//! Codes and texts of errors over the wire, as far as the recorded scenarios of etcd do not hold them already.

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::alarm_request::AlarmAction;
use ferrite_proto::etcdserverpb::{AlarmType, EmptyResponse};
use prost::Message;

use crate::server::{Client, Home, run};

const PUT: &str = "/etcdserverpb.KV/Put";

fn put() -> pb::PutRequest {
    pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() }
}

/// Makes a call, which must fail so. A text that ends in `…` is the beginning of what is said.
async fn check<Q: Message + 'static>(client: &mut Client, path: &'static str, request: Q, code: i32, text: &str) {
    check_with(client, path, request, &[], code, text).await;
}

async fn check_with<Q: Message + 'static>(
    client: &mut Client,
    path: &'static str,
    request: Q,
    metadata: &[(&'static str, &[u8])],
    code: i32,
    text: &str,
) {
    let refused = client.call_with::<Q, EmptyResponse>(path, request, metadata).await.expect_err("to be refused");
    let is_it = match text.strip_suffix('…') {
        Some(beginning) => refused.message().starts_with(beginning),
        None => refused.message() == text,
    };
    assert!(is_it && refused.code() as i32 == code, "{path}: {refused:?}, not {code} {text}");
}

#[test]
fn what_the_protocol_refuses() {
    let home = Home::new();
    let server = home.start(&[]);
    run(async {
        let client = &mut server.connect().await;
        check(client, "/nope.Nope/Nope", put(), 12, "unknown service nope.Nope").await;
        check(client, "/etcdserverpb.KV/Nope", put(), 12, "unknown method Nope for service etcdserverpb.KV").await;
        check(client, "/nope", put(), 12, "malformed method name: \"/nope\"").await;
        // Where a put has its key, a transaction has a compare: this is none.
        let no_compare = pb::PutRequest { key: vec![0xff].into(), ..put() };
        check(client, "/etcdserverpb.KV/Txn", no_compare, 13, "grpc: error unmarshalling request: …").await;
        let of_size = |bytes: usize| pb::PutRequest { value: vec![0; bytes].into(), ..put() };
        let limit = 1_572_864 + 524_288;
        let text = format!("grpc: received message larger than max ({} vs. {limit})", of_size(limit).encoded_len());
        check(client, PUT, of_size(limit), 8, &text).await;
        check(client, PUT, of_size(1_572_864), 3, "etcdserver: request is too large").await;
        let version = [("client-api-version", &b"\xff"[..])];
        check_with(client, PUT, put(), &version, 3, "etcdserver: invalid client api version").await;
        let service = ferrite_proto::healthpb::HealthCheckRequest { service: "nope".into() };
        check(client, "/grpc.health.v1.Health/Check", service, 5, "unknown service").await;
        let user = pb::AuthenticateRequest { name: "root".into(), password: "x".into() };
        let path = "/etcdserverpb.Auth/Authenticate";
        check(client, path, user, 9, "etcdserver: authentication is not enabled").await;
        let move_leader = pb::MoveLeaderRequest { target_id: 7 };
        let path = "/etcdserverpb.Maintenance/MoveLeader";
        check(client, path, move_leader, 9, "etcdserver: bad leader transferee").await;
    });
}

#[test]
fn what_alarms_and_the_quota_refuse() {
    let home = Home::new();
    let server = home.start(&["--quota-backend-bytes=4096"]);
    run(async {
        let client = &mut server.connect().await;
        const FULL: &str = "etcdserver: mvcc: database space exceeded";
        const CORRUPT: &str = "etcdserver: corrupt cluster";
        let grant = || pb::LeaseGrantRequest { ttl: 100, id: 5 };
        let _: pb::LeaseGrantResponse = client.call("/etcdserverpb.Lease/LeaseGrant", grant()).await.unwrap();
        let large = pb::PutRequest { value: vec![0; 8000].into(), ..put() };
        check(client, PUT, large, 8, FULL).await;
        // Now there is an alarm, which also refuses what is small.
        check(client, PUT, put(), 8, FULL).await;
        check(client, "/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest { ttl: 100, id: 6 }, 8, FULL).await;
        let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put())) };
        let txn = || pb::TxnRequest { success: vec![op.clone()], ..Default::default() };
        check(client, "/etcdserverpb.KV/Txn", txn(), 8, FULL).await;

        let alarm = |action: AlarmAction, alarm: AlarmType| pb::AlarmRequest {
            action: action as i32,
            member_id: 7,
            alarm: alarm as i32,
        };
        let path = "/etcdserverpb.Maintenance/Alarm";
        let raise = alarm(AlarmAction::Activate, AlarmType::Corrupt);
        let raised: pb::AlarmResponse = client.call(path, raise).await.unwrap();
        assert_eq!(raised.alarms.len(), 1);
        let key = || pb::DeleteRangeRequest { key: "k".into(), ..Default::default() };
        check(client, "/etcdserverpb.KV/DeleteRange", key(), 15, CORRUPT).await;
        let compaction = pb::CompactionRequest { revision: 1, physical: false };
        check(client, "/etcdserverpb.KV/Compact", compaction, 15, CORRUPT).await;
        check(client, "/etcdserverpb.Lease/LeaseRevoke", pb::LeaseRevokeRequest { id: 5 }, 15, CORRUPT).await;
        let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
        let read: pb::RangeResponse = client.call("/etcdserverpb.KV/Range", range).await.unwrap();
        assert_eq!(read.count, 0);
        let lower = alarm(AlarmAction::Deactivate, AlarmType::Corrupt);
        let _: pb::AlarmResponse = client.call(path, lower).await.unwrap();
        let deleted: pb::DeleteRangeResponse = client.call("/etcdserverpb.KV/DeleteRange", key()).await.unwrap();
        assert_eq!(deleted.deleted, 0);
    });
}
