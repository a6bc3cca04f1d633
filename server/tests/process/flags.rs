//! What is decided by flags and seen from outside.

use std::fs;
use std::process::Command;

use ferrite_proto::etcdserverpb as pb;

use crate::server::{Home, Server, addresses, run};

#[test]
fn a_configuration_file_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let (client, peer) = addresses();
    let path = dir.path().join("etcd.yml");
    let text = format!(
        "name: filed\nlisten-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n\
         initial-advertise-peer-urls: {peer}\nunsafe-no-fsync: true\nmetrics: extensive\nsnapshot-count: 0\nsnapshot-cuont: 9\n"
    );
    fs::write(&path, text).unwrap();
    let arguments = ["--config-file".to_owned(), path.display().to_string(), "--name=ignored".to_owned()];
    let mut server = Server::spawn(&arguments, dir.path(), client);
    server.wait_for("\"key\":\"snapshot-cuont\"");
    server.wait_for("loaded server configuration");
    server.wait_for("\"data-dir\":\"filed.etcd\"");
    server.wait_for("updating snapshot-count to default");
    server.wait_for("--unsafe-no-fsync");
    server.wait_for("ready to serve client requests");
    run(async {
        let put = pb::PutRequest { key: "k".into(), ..Default::default() };
        let _: pb::PutResponse = server.connect().await.call("/etcdserverpb.KV/Put", put).await.unwrap();
    });
    assert!(dir.path().join("filed.etcd/member/wal").is_dir());
    server.stop();
}

#[test]
fn what_cannot_be_is_refused() {
    for (flags, words) in [
        (&["--cert-file=x"][..], "--cert-file asks for what is not built yet"),
        (&["--log-outputs=default,stdout"], "multi logoutput for \\\"default\\\" is not supported yet"),
        (&["--log-outputs=/no/such/file"], "open sink \\\"/no/such/file\\\": No such file"),
        (&["--max-learners=-1"], "membership: too many learner members in cluster"),
        (&["--auto-compaction-retention=soon"], "error parsing CompactionRetention"),
    ] {
        let home = Home::new();
        let (status, said) = home.spawn(flags).wait_for_end();
        let last = said.last().unwrap();
        assert!(status.code() == Some(1) && last.contains(words), "{flags:?}: {said:#?}");
        assert!(!home.data().exists(), "{flags:?}: nothing is begun");
    }
}

#[test]
fn all_that_is_said_goes_where_the_flags_say() {
    let home = Home::new();
    let log = home.data().with_extension("log");
    let outputs = format!("--log-outputs={}", log.display());
    let (_, said) = home.spawn(&[&outputs, "--log-level=warn", "--quota-backend-bytes=x"]).wait_for_end();
    assert!(said[0].contains("invalid value"), "before there is a log: {said:#?}");
    let (status, said) = home.spawn(&[&outputs, "--log-level=warn", "--cert-file=x"]).wait_for_end();
    assert_eq!((status.code(), said), (Some(1), Vec::new()));
    let lines = fs::read_to_string(&log).unwrap();
    assert!(lines.contains("--cert-file asks for what is not built yet") && !lines.contains("Running: "), "{lines}");
}

#[test]
fn help_is_usage_on_one_side_and_all_flags_on_the_other() {
    let etcd = |argument: &str| Command::new(env!("CARGO_BIN_EXE_etcd")).arg(argument).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let refused = etcd("--nope");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
    let refused = text(refused.stderr);
    let usage = refused.strip_prefix("flag provided but not defined: -nope\n").unwrap();
    assert!(usage.starts_with("Usage:\n\n  etcd [flags]\n"), "{usage}");
    for argument in ["--help", "-h"] {
        let said = etcd(argument);
        assert_eq!((said.status.code(), &*text(said.stderr)), (Some(0), usage), "{argument}");
        let listing = text(said.stdout);
        assert!(listing.starts_with("\nMember:\n  --name 'default'\n"), "{listing}");
    }
}

#[test]
fn help_may_be_read_in_part() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for argument in ["--help", "--nope"] {
        let mut etcd = Command::new(env!("CARGO_BIN_EXE_etcd"));
        let status = etcd.arg(argument).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(if argument == "--help" { 0 } else { 2 }), "{argument}");
    }
}
