//! Three members on loopback: they outlive each other, and those who contradict them are told so.

use std::time::{Duration, Instant};

use ferrite_proto::etcdserverpb as pb;

use crate::server::{Client, Home, Server, addresses, run};

/// The members' places, their URLs for clients and peers, and what runs.
pub struct Cluster {
    pub homes: Vec<Home>,
    pub urls: Vec<(String, String)>,
    pub servers: Vec<Option<Server>>,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_with(&[])
    }

    pub fn start_with(flags: &[&str]) -> Cluster {
        let urls: Vec<_> = NAMES.iter().map(|_| addresses()).collect();
        let homes: Vec<_> = NAMES.iter().map(|_| Home::new()).collect();
        let mut cluster = Cluster { homes, urls, servers: Vec::new() };
        cluster.servers = (0..NAMES.len()).map(|number| Some(cluster.spawn(number, flags))).collect();
        for server in cluster.servers.iter_mut().flatten() {
            server.wait_for("ready to serve client requests");
        }
        cluster
    }

    /// `--initial-cluster`.
    pub fn initial(&self) -> String {
        let pairs = NAMES.iter().zip(&self.urls).map(|(name, (_, peer))| format!("{name}={peer}"));
        format!("--initial-cluster={}", pairs.collect::<Vec<_>>().join(","))
    }

    fn spawn(&self, number: usize, flags: &[&str]) -> Server {
        let initial = self.initial();
        let flags = [&[&*initial], flags].concat();
        self.homes[number].spawn_at(NAMES[number], &self.urls[number], &flags)
    }

    pub fn restart(&mut self, number: usize) {
        self.restart_with(number, &[]);
    }

    pub fn restart_with(&mut self, number: usize, flags: &[&str]) {
        let mut server = self.spawn(number, flags);
        server.wait_for("ready to serve client requests");
        self.servers[number] = Some(server);
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    pub async fn client(&self, number: usize) -> Client {
        self.servers[number].as_ref().unwrap().connect().await
    }

    /// Which member leads, as it says itself.
    pub async fn leader(&self) -> usize {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            for (number, server) in self.servers.iter().enumerate() {
                let Some(server) = server else { continue };
                let status = status(&mut server.connect().await).await;
                if status.leader == status.header.unwrap().member_id {
                    return number;
                }
            }
        }
        panic!("nobody leads");
    }

    /// All members that run have come to the same keys.
    pub async fn are_equal(&self) {
        let mut hashes = Vec::new();
        for server in self.running() {
            let mut client = server.connect().await;
            // A linearizable read: what it returns is applied here.
            let _: pb::RangeResponse = client
                .call("/etcdserverpb.KV/Range", pb::RangeRequest { key: "k".into(), ..Default::default() })
                .await
                .unwrap();
            let hash: pb::HashKvResponse =
                client.call("/etcdserverpb.Maintenance/HashKV", pb::HashKvRequest::default()).await.unwrap();
            hashes.push((hash.hash_revision, hash.hash));
        }
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    }
}

pub async fn status(client: &mut Client) -> pb::StatusResponse {
    client.call("/etcdserverpb.Maintenance/Status", pb::StatusRequest::default()).await.unwrap()
}

pub async fn put(client: &mut Client, key: &str, value: &str) -> Result<pb::PutResponse, tonic::Status> {
    let request = pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
    client.call("/etcdserverpb.KV/Put", request).await
}

/// What is refused while nobody leads is tried again, as a client would.
pub async fn put_at_last(client: &mut Client, key: &str, value: &str) {
    let begun = Instant::now();
    while let Err(error) = put(client, key, value).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    }
}

pub async fn get(client: &mut Client, key: &str) -> Option<String> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let found: pb::RangeResponse = client.call("/etcdserverpb.KV/Range", request).await.unwrap();
    found.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

#[test]
fn a_cluster_outlives_its_leader() {
    run(async {
        let mut cluster = Cluster::start();
        for number in 0..NAMES.len() {
            put(&mut cluster.client(number).await, &format!("k{number}"), "before").await.unwrap();
        }
        // A put that one member has acknowledged is seen through any other.
        for number in 0..NAMES.len() {
            let mut client = cluster.client(number).await;
            for key in 0..NAMES.len() {
                assert_eq!(get(&mut client, &format!("k{key}")).await.as_deref(), Some("before"));
            }
        }
        let leader = cluster.leader().await;
        cluster.servers[leader].take().unwrap().kill();
        let survivor = (leader + 1) % NAMES.len();
        put_at_last(&mut cluster.client(survivor).await, "k", "after").await;
        assert_ne!(cluster.leader().await, leader);
        cluster.restart(leader);
        assert_eq!(get(&mut cluster.client(leader).await, "k").await.as_deref(), Some("after"));
        cluster.are_equal().await;
    });
}

#[test]
fn a_leader_that_stops_hands_over_first() {
    run(async {
        let mut cluster = Cluster::start();
        let leader = cluster.leader().await;
        let term = status(&mut cluster.client(leader).await).await.raft_term;
        let mut server = cluster.servers[leader].take().unwrap();
        let begun = Instant::now();
        server.terminate();
        server.wait_for("leadership transfer finished");
        server.wait_for_end();
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        let next = cluster.leader().await;
        // One election, and nobody had to wait for its timeout.
        assert_eq!(status(&mut cluster.client(next).await).await.raft_term, term + 1);
        put(&mut cluster.client(next).await, "k", "v").await.unwrap();
    });
}

#[test]
fn a_member_that_lost_its_data_does_not_begin_again() {
    run(async {
        let mut cluster = Cluster::start();
        cluster.servers[0].take().unwrap().kill();
        std::fs::remove_dir_all(cluster.homes[0].data()).unwrap();
        let (status, said) = cluster.spawn(0, &[]).wait_for_end();
        let last = said.last().unwrap();
        assert_eq!(status.code(), Some(1));
        assert!(last.contains("has already been bootstrapped"), "{last}");
        assert!(!cluster.homes[0].data().exists(), "nothing is begun");
        put_at_last(&mut cluster.client(1).await, "k", "v").await;
        // Nor may it join: as itself,
        let (_, said) = cluster.spawn(0, &["--initial-cluster-state=existing"]).wait_for_end();
        assert!(said.last().unwrap().contains("has already been bootstrapped"), "{said:#?}");
        assert!(!cluster.homes[0].data().exists(), "nothing is begun");
        // or as somebody else.
        let (_, said) = cluster
            .spawn(0, &["--initial-cluster-state=existing", "--initial-cluster=one=http://127.0.0.1:1"])
            .wait_for_end();
        assert!(said.last().unwrap().contains("could not retrieve cluster information"), "{said:#?}");
    });
}

#[test]
fn flags_that_contradict_themselves_are_refused() {
    let (client, peer) = addresses();
    let other = "two=http://127.0.0.1:1";
    for (flags, words) in [
        (
            vec![format!("--initial-cluster={other}")],
            "couldn't find local name \\\"one\\\" in the initial cluster configuration",
        ),
        (
            vec![format!("--initial-cluster=one={peer},one=http://127.0.0.1:2,{other}")],
            "but missing from --initial-advertise-peer-urls=",
        ),
        (vec![format!("--initial-cluster=one={peer},two={peer}")], "has duplicate url"),
        (
            vec![format!("--initial-cluster=one={peer},{other}"), "--initial-cluster-state=existing".to_owned()],
            "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs",
        ),
    ] {
        let home = Home::new();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (status, said) = home.spawn_at("one", &(client.clone(), peer.clone()), &flags).wait_for_end();
        let last = said.last().unwrap();
        assert!(status.code() == Some(1) && last.contains(words), "{flags:?}: {last}");
        assert!(!home.data().exists(), "{flags:?}: nothing is begun");
    }
}

#[test]
fn a_lease_lives_through_any_member() {
    run(async {
        let cluster = Cluster::start();
        let leader = cluster.leader().await;
        let mut follower = cluster.client((leader + 1) % NAMES.len()).await;
        let grant = pb::LeaseGrantRequest { id: 7, ttl: 100 };
        let _: pb::LeaseGrantResponse = follower.call("/etcdserverpb.Lease/LeaseGrant", grant).await.unwrap();
        let time_to_live = async |client: &mut Client, id| -> pb::LeaseTimeToLiveResponse {
            let request = pb::LeaseTimeToLiveRequest { id, keys: true };
            client.call("/etcdserverpb.Lease/LeaseTimeToLive", request).await.unwrap()
        };
        let leased = pb::PutRequest { key: "k".into(), lease: 7, ..Default::default() };
        let _: pb::PutResponse = follower.call("/etcdserverpb.KV/Put", leased).await.unwrap();
        let found = time_to_live(&mut follower, 7).await;
        assert_eq!((found.granted_ttl, &found.keys[..]), (100, &["k".into()][..]));
        assert!((90..=100).contains(&found.ttl), "{found:?}");
        assert_eq!(time_to_live(&mut follower, 8).await.ttl, -1);
        for (id, ttl) in [(7, 100), (8, 0)] {
            let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
            let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
            let codec = tonic_prost::ProstCodec::<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse>::default();
            follower.0.ready().await.unwrap();
            let mut answers =
                follower.0.streaming(tonic::Request::new(request), path, codec).await.unwrap().into_inner();
            assert_eq!(answers.message().await.unwrap().unwrap().ttl, ttl, "lease {id}");
        }
    });
}

#[test]
fn a_member_whose_cluster_is_lost_goes_on_alone() {
    run(async {
        let mut cluster = Cluster::start();
        put(&mut cluster.client(0).await, "k", "v").await.unwrap();
        // A linearizable read: the member that stays has it.
        assert_eq!(get(&mut cluster.client(1).await, "k").await.as_deref(), Some("v"));
        for server in &mut cluster.servers {
            server.take().unwrap().kill();
        }
        for flags in [&["--force-new-cluster"][..], &[]] {
            let mut server = cluster.spawn(1, flags);
            server.wait_for("ready to serve client requests");
            let mut client = server.connect().await;
            assert_eq!(get(&mut client, "k").await.as_deref(), Some("v"));
            put(&mut client, "k", "v").await.unwrap();
            let members: pb::MemberListResponse =
                client.call("/etcdserverpb.Cluster/MemberList", pb::MemberListRequest::default()).await.unwrap();
            let names: Vec<&str> = members.members.iter().map(|member| &*member.name).collect();
            assert_eq!(names, [NAMES[1]]);
            server.kill();
        }
    });
}
