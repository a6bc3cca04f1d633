//! `Maintenance.Snapshot`: what a backup holds, and how it comes.

use std::path::Path;

use ferrite_proto::etcdserverpb as pb;
use ferrite_storage::bbolt::Database;
use ferrite_storage::vfs::Disk;
use ring::digest::{SHA256, digest};
use tonic_prost::ProstCodec;

use crate::server::{Client, Home, run};

type Blobs = tonic::Streaming<pb::SnapshotResponse>;

async fn put(client: &mut Client, key: String, value: Vec<u8>) {
    let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    let _: pb::PutResponse = client.call("/etcdserverpb.KV/Put", put).await.unwrap();
}

async fn begin(client: &mut Client) -> Blobs {
    try_begin(client).await.unwrap()
}

async fn try_begin(client: &mut Client) -> Result<Blobs, tonic::Status> {
    client.0.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
    let codec = ProstCodec::<pb::SnapshotRequest, pb::SnapshotResponse>::default();
    Ok(client.0.server_streaming(tonic::Request::new(pb::SnapshotRequest {}), path, codec).await?.into_inner())
}

/// All bytes of the database; the shape of the messages is looked at.
async fn receive(mut blobs: Blobs, first: Option<pb::SnapshotResponse>) -> Vec<u8> {
    let mut all: Vec<pb::SnapshotResponse> = first.into_iter().collect();
    while let Some(message) = blobs.message().await.unwrap() {
        all.push(message);
    }
    let sum = all.pop().unwrap();
    let total: usize = all.iter().map(|message| message.blob.len()).sum();
    let mut database = Vec::new();
    for (number, message) in all.iter().enumerate() {
        assert!(message.blob.len() == 32 << 10 || number + 1 == all.len(), "{} bytes", message.blob.len());
        database.extend_from_slice(&message.blob);
        assert_eq!(message.remaining_bytes, (total - database.len()) as u64);
        assert!(message.header.is_none() && message.version == "3.7.0", "{message:?}");
    }
    assert_eq!((sum.remaining_bytes, &sum.blob[..]), (0, digest(&SHA256, &database).as_ref()));
    assert_eq!(sum.version, "3.7.0");
    database
}

/// etcd's hash of what is in the bucket of the keys, when nothing is compacted.
fn hash_kv(home: &Home, database: &[u8]) -> u32 {
    let path = home.data().with_extension("db");
    std::fs::write(&path, database).unwrap();
    let pairs = Database::open(&Disk, Path::new(&path)).unwrap().pairs("key").unwrap();
    let pairs = pairs.map(Result::unwrap);
    pairs.fold(crc32c::crc32c(b"key"), |crc, (key, value)| {
        crc32c::crc32c_append(crc32c::crc32c_append(crc, &key), &value)
    })
}

async fn hash_of_server(client: &mut Client) -> u32 {
    let answer: pb::HashKvResponse =
        client.call("/etcdserverpb.Maintenance/HashKV", pb::HashKvRequest::default()).await.unwrap();
    answer.hash
}

#[test]
fn a_backup_is_the_database_as_it_was_asked_for_and_its_hash() {
    let home = Home::new();
    let server = home.start(&[]);
    run(async {
        let client = &mut server.connect().await;
        for number in 0..300 {
            put(client, format!("key {}", number % 200), vec![number as u8; 10 * number]).await;
        }
        put(client, "large".to_owned(), vec![7; 1 << 20]).await;
        let delete = pb::DeleteRangeRequest { key: "key 7".into(), ..Default::default() };
        let _: pb::DeleteRangeResponse = client.call("/etcdserverpb.KV/DeleteRange", delete).await.unwrap();
        let expected = hash_of_server(client).await;
        let blobs = begin(client).await;
        // It is made while it is sent: what is written meanwhile does not get in.
        let mut slow = begin(client).await;
        let first = slow.message().await.unwrap();
        for number in 0..300 {
            put(client, format!("key {}", number % 200), vec![1; 5000]).await;
        }
        let database = receive(slow, first).await;
        assert_eq!(hash_kv(&home, &database), expected);
        assert!(database == receive(blobs, None).await);
        assert_ne!(hash_of_server(client).await, expected);
    });
    server.stop();
}

#[test]
fn there_are_only_so_many_at_once_and_each_is_told_of() {
    let home = Home::new();
    let mut server = home.start(&[]);
    let bytes = run(async {
        let client = &mut server.connect().await;
        for number in 0..3 {
            put(client, format!("key {number}"), vec![7; 1 << 20]).await;
        }
        let mut running = Vec::new();
        for _ in 0..16 {
            let mut blobs = begin(&mut server.connect().await).await;
            let first = blobs.message().await.unwrap();
            running.push((blobs, first));
        }
        let refused = try_begin(client).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
        let text = "etcdserver: too many snapshots are being sent, try again when one has ended";
        assert_eq!(refused.message(), text);
        let (blobs, first) = running.pop().unwrap();
        let database = receive(blobs, first).await;
        receive(begin(client).await, None).await;
        database.len()
    });
    let begun = server.wait_for("\"sending database snapshot to client\"");
    let field = format!("\"total-bytes\":{bytes},\"size\":\"3.2 MB\",\"storage-version\":\"3.7.0\"");
    assert!(begun.contains(&field), "{begun}");
    let sum = server.wait_for("\"sending database sha256 checksum to client\"");
    assert!(sum.contains(&format!("\"total-bytes\":{bytes},\"checksum-size\":32")), "{sum}");
    let sent = server.wait_for("\"successfully sent database snapshot to client\"");
    assert!(sent.contains("\"took\":\""), "{sent}");
    server.wait_for("\"failed to send database snapshot to client\"");
    server.stop();
}

#[test]
fn a_client_that_leaves_or_stalls_is_in_nobodys_way() {
    let home = Home::new();
    let server = home.start(&[]);
    run(async {
        let client = &mut server.connect().await;
        for number in 0..20 {
            put(client, format!("key {number}"), vec![7; 1 << 20]).await;
        }
        let mut stalled = Vec::new();
        for number in 0..8 {
            let mut blobs = begin(&mut server.connect().await).await;
            blobs.message().await.unwrap();
            // Some go in the middle of it, the others stay and take nothing.
            if number % 2 == 0 {
                stalled.push(blobs);
            }
        }
        let expected = hash_of_server(client).await;
        let blobs = begin(client).await;
        assert_eq!(hash_kv(&home, &receive(blobs, None).await), expected);
        drop(stalled);
    });
    server.stop();
}
