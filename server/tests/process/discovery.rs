//! Clusters that come together through another etcd.

use ferrite_proto::etcdserverpb as pb;

use crate::cluster::{get, put_at_last};
use crate::server::{Home, Server, addresses, run};

/// An etcd that holds a list for a cluster of this size.
fn registry(home: &Home, size: &str) -> Server {
    let server = home.start(&[]);
    run(async {
        let key = "/_etcd/registry/tok/_config/size".to_owned();
        let put = pb::PutRequest { key: key.into(), value: size.to_owned().into(), ..Default::default() };
        let _: pb::PutResponse = server.connect().await.call("/etcdserverpb.KV/Put", put).await.unwrap();
    });
    server
}

/// Starts a member that finds the others through the registry.
fn member(home: &Home, name: &str, registry: &Server) -> Server {
    member_at(home, name, &addresses(), registry)
}

fn member_at(home: &Home, name: &str, addresses: &(String, String), registry: &Server) -> Server {
    let endpoints = format!("--discovery-endpoints={}", registry.url);
    home.spawn_at(name, addresses, &[&endpoints, "--discovery-token=tok"])
}

#[test]
fn members_find_one_another_and_who_comes_too_late_is_told() {
    let homes: Vec<Home> = (0..5).map(|_| Home::new()).collect();
    let registry = registry(&homes[0], "3");
    let places = [(); 3].map(|()| addresses());
    let member_at = |number: usize| member_at(&homes[1 + number], ["a", "b", "c"][number], &places[number], &registry);
    let mut servers: Vec<Server> = (0..3).map(member_at).collect();
    for server in &mut servers {
        server.wait_for("discovery joined cluster successfully");
        server.wait_for("ready to serve client requests");
    }
    run(async {
        put_at_last(&mut servers[0].connect().await, "k", "v").await;
        for server in &servers {
            let client = &mut server.connect().await;
            assert_eq!(get(client, "k").await.as_deref(), Some("v"));
            let list: pb::MemberListResponse = client
                .call("/etcdserverpb.Cluster/MemberList", pb::MemberListRequest { linearizable: true })
                .await
                .unwrap();
            let mut names: Vec<String> = list.members.into_iter().map(|member| member.name).collect();
            names.sort();
            assert_eq!(names, ["a", "b", "c"]);
        }
    });
    let (status, said) = member(&homes[4], "d", &registry).wait_for_end();
    assert_eq!(status.code(), Some(1));
    let [.., failed, told, advice] = &said[..] else { panic!("{said:#?}") };
    assert!(failed.contains("discovery failed to join cluster"), "{failed}");
    assert!(told.contains("failed to join discovery cluster (discovery: cluster is full)"), "{told}");
    assert!(advice.contains("do not reuse discovery token"), "{advice}");
    assert!(!homes[4].data().exists(), "nothing is begun");
    // For the registry one that has lost its data is what it was.
    servers.pop().unwrap().kill();
    std::fs::remove_dir_all(homes[3].data()).unwrap();
    let (status, said) = member_at(2).wait_for_end();
    assert_eq!(status.code(), Some(1));
    assert!(said.iter().any(|line| line.contains("has already been bootstrapped")), "{said:#?}");
}

#[test]
fn a_list_that_is_none_is_refused() {
    for (size, words) in [("", "discovery: size key is bad"), ("-1", "discovery: size key is bad")] {
        let homes = [Home::new(), Home::new()];
        let registry = registry(&homes[0], size);
        let (status, said) = member(&homes[1], "a", &registry).wait_for_end();
        assert_eq!(status.code(), Some(1));
        assert!(said.iter().any(|line| line.contains(words)), "{said:#?}");
    }
}

#[test]
fn a_member_that_has_a_log_asks_no_registry() {
    let homes = [Home::new(), Home::new()];
    let registry = registry(&homes[0], "1");
    let urls = addresses();
    let flags = [&*format!("--discovery-endpoints={}", registry.url), "--discovery-token=tok"];
    let mut server = homes[1].spawn_at("a", &urls, &flags);
    server.wait_for("ready to serve client requests");
    server.stop();
    registry.stop();
    let mut server = homes[1].spawn_at("a", &urls, &flags);
    server.wait_for("discovery token is ignored since cluster already initialized; valid logs are found");
    server.wait_for("ready to serve client requests");
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let home = Home::new();
    let flags = ["--discovery-endpoints=127.0.0.1:1", "--discovery-token=tok", "--discovery-request-timeout=200ms"];
    let mut server = home.spawn(&flags);
    let line = server.wait_for("failed to get cluster size from discovery service");
    assert!(line.contains("context deadline exceeded; cannot connect to 127.0.0.1:1: Connection refused"), "{line}");
    server.kill();
}
