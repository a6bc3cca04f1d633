//! Data directories that cannot be used, or turn out to be damaged: one line says which file, and what to do.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::watch_request::RequestUnion;

use crate::server::{Home, Server, run};

/// Starts a server that must refuse its data directory, in one line with these words.
fn check(home: &Home, words: &[&str]) {
    let (status, said) = home.spawn(&[]).wait_for_end();
    let fatal: Vec<&String> = said.iter().filter(|line| line.contains("\"level\":\"fatal\"")).collect();
    assert_eq!((status.code(), fatal.len()), (Some(1), 1), "{said:#?}");
    for word in words {
        assert!(fatal[0].contains(word), "{word:?} is missing in: {}", fatal[0]);
    }
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

/// Turns a bit of the place in a file where these bytes are.
fn damage(files: &[PathBuf], bytes: &[u8]) {
    for path in files {
        let content = fs::read(path).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            return file.write_all_at(&[bytes[0] ^ 1], at as u64).unwrap();
        }
    }
    panic!("these bytes are in none of {files:?}");
}

const VALUE: &[u8] = b"a value that is found in files";

async fn put(server: &Server) {
    let put = pb::PutRequest { key: "k".into(), value: VALUE.into(), ..Default::default() };
    let _: pb::PutResponse = server.connect().await.call("/etcdserverpb.KV/Put", put).await.unwrap();
}

/// A member that holds one key, and has been stopped.
fn stopped() -> Home {
    let home = Home::new();
    let server = home.start(&[]);
    run(put(&server));
    server.stop();
    home
}

#[test]
fn a_directory_in_use_is_waited_for() {
    let home = Home::new();
    let first = home.start(&[]);
    let mut second = home.spawn(&[]);
    let line = second.wait_for("db file is flocked by another process");
    assert!(line.contains("LOCK") || line.contains("store"), "{line}");
    first.stop();
    second.wait_for("ready to serve client requests");
}

#[test]
fn a_directory_that_stays_in_use_is_given_up() {
    let home = Home::new();
    let _first = home.start(&[]);
    let mut second = home.spawn(&[]);
    second.wait_for("db file is flocked by another process");
    let (status, said) = second.wait_for_end();
    let last = said.last().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(last.contains("\"level\":\"fatal\"") && last.contains("another process"), "{last}");
}

#[test]
fn a_directory_of_etcd() {
    let home = Home::new();
    fs::create_dir_all(home.data().join("member/snap")).unwrap();
    fs::write(home.data().join("member/snap/db"), b"pages").unwrap();
    check(&home, &["member/snap/db", "written by etcd", "start with an empty one"]);
}

#[test]
fn a_file_in_the_place_of_a_directory() {
    let home = Home::new();
    fs::write(home.data(), b"").unwrap();
    check(&home, &["data"]);
}

#[test]
fn a_damaged_log() {
    let home = stopped();
    damage(&files(&home.data().join("member/wal"), ".wal"), VALUE);
    check(&home, &["member/wal/0000000000000000-0000000000000000.wal", "offset"]);
}

#[test]
fn a_damaged_store() {
    let home = Home::new();
    let mut server = home.start(&["--snapshot-count=1"]);
    run(async {
        put(&server).await;
        put(&server).await;
    });
    server.wait_for("saved snapshot");
    server.stop();
    damage(&files(&home.data().join("member/store"), ".seg"), VALUE);
    check(&home, &["member/store/", ".seg", "offset"]);
}

#[test]
fn the_log_makes_good_what_is_damaged_behind_the_last_snapshot() {
    let home = stopped();
    damage(&files(&home.data().join("member/store"), ".seg"), VALUE);
    let mut server = home.spawn(&[]);
    let line = server.wait_for("recovered from an unclean end");
    assert!(line.contains(".seg: cut off") && line.contains("at offset"), "{line}");
    server.wait_for("ready to serve client requests");
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    let found: pb::RangeResponse =
        run(async { server.connect().await.call("/etcdserverpb.KV/Range", range).await.unwrap() });
    assert_eq!(found.kvs[0].value, VALUE);
}

#[test]
fn a_read_that_finds_damage_ends_the_member() {
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    let several = pb::RangeRequest { range_end: vec![0].into(), ..range.clone() };
    for request in [range, several] {
        let home = stopped();
        let mut server = home.start(&[]);
        damage(&files(&home.data().join("member/store"), ".seg"), VALUE);
        run(async {
            let mut client = server.connect().await;
            client.call::<_, pb::RangeResponse>("/etcdserverpb.KV/Range", request).await.unwrap_err();
        });
        ends_for_damage(&mut server);
    }
}

#[test]
fn a_watch_that_finds_damage_ends_the_member() {
    let home = stopped();
    let mut server = home.start(&[]);
    damage(&files(&home.data().join("member/store"), ".seg"), VALUE);
    run(async {
        let mut client = server.connect().await.0;
        client.ready().await.unwrap();
        let create = pb::WatchCreateRequest { key: "k".into(), start_revision: 1, ..Default::default() };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec = tonic_prost::ProstCodec::<pb::WatchRequest, pb::WatchResponse>::default();
        let requests = tonic::Request::new(tokio_stream::iter([create]));
        let Ok(answers) = client.streaming(requests, path, codec).await else { return };
        let mut answers = answers.into_inner();
        while let Ok(Some(answer)) = answers.message().await {
            assert!(answer.events.is_empty(), "{answer:?}");
        }
    });
    ends_for_damage(&mut server);
}

fn ends_for_damage(server: &mut Server) {
    let (status, said) = server.wait_for_end();
    let last = said.last().unwrap();
    assert_eq!(status.code(), Some(1), "{said:#?}");
    for word in ["\"level\":\"fatal\"", "the member cannot go on", ".seg", "offset", "checksum", "restore the member"] {
        assert!(last.contains(word), "{word:?} is missing in: {last}");
    }
}
