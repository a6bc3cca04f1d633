//! Clusters on loopback: members come and go, are killed and start again, fall behind and catch up.

use std::time::Duration;

use ferrite_raft::NodeId;
use ferrite_raftexample::{Ended, Member, Options, Settings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, timeout};

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    dir: TempDir,
    urls: Vec<String>,
    /// The sockets of those that are not started yet.
    sockets: Vec<Option<TcpListener>>,
    members: Vec<Option<Member>>,
    settings: Settings,
}

impl Cluster {
    /// Places for so many members, none of which runs.
    async fn new(places: usize) -> Cluster {
        let settings = Settings { tick: Duration::from_millis(20), log_segment_bytes: 1 << 20, ..Settings::default() };
        let mut cluster =
            Cluster { dir: TempDir::new().unwrap(), urls: vec![], sockets: vec![], members: vec![], settings };
        for _ in 0..places {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            cluster.urls.push(format!("http://{}", socket.local_addr().unwrap()));
            cluster.sockets.push(Some(socket));
            cluster.members.push(None);
        }
        cluster
    }

    /// Three members that run.
    async fn three() -> Cluster {
        let mut cluster = Cluster::new(3).await;
        for id in 1..=3 {
            cluster.start(id, 3, false).await;
        }
        cluster
    }

    /// Starts a member that is told of the first `known` places.
    async fn start(&mut self, id: usize, known: usize, join: bool) {
        let options = Options {
            id: NodeId(id as u64),
            cluster: self.urls[..known].to_vec(),
            join,
            dir: self.dir.path().to_path_buf(),
            settings: self.settings,
        };
        let peer = match self.sockets[id - 1].take() {
            Some(socket) => socket,
            None => TcpListener::bind(self.urls[id - 1].trim_start_matches("http://")).await.unwrap(),
        };
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.members[id - 1] = Some(Member::start(&options, peer, api).unwrap());
    }

    /// Stops a member. It is not asked to finish anything.
    async fn kill(&mut self, id: usize) {
        let member = self.members[id - 1].take().unwrap();
        assert_eq!(member.stop().await.unwrap(), Ended::Stopped);
    }

    /// Status and body of an answer.
    async fn ask(&self, id: usize, method: &str, key: &str, body: &str) -> (u16, String) {
        let member = self.members[id - 1].as_ref().expect("it runs");
        let mut stream = TcpStream::connect(member.api()).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Asks again and again until it is accepted: there may be no leader yet, or no more.
    async fn insist(&self, id: usize, method: &str, key: &str, body: &str) {
        let (began, mut again) = (Instant::now(), interval(Duration::from_millis(10)));
        loop {
            match self.ask(id, method, key, body).await {
                (204, _) => return,
                (503, why) => assert!(began.elapsed() < LIMIT, "{method} {key} through {id}: {why}"),
                other => panic!("{method} {key} through {id}: {other:?}"),
            }
            again.tick().await;
        }
    }

    /// Waits until a member has a value.
    async fn has(&self, id: usize, key: &str, value: &str) {
        let (began, mut again) = (Instant::now(), interval(Duration::from_millis(10)));
        loop {
            let answer = self.ask(id, "GET", key, "").await;
            if answer == (200, value.to_owned()) {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{id} has {answer:?} under {key}, not {value}");
            again.tick().await;
        }
    }

    /// Proposes a value until a member has it: what is proposed may be lost with a leader.
    async fn put(&self, through: usize, key: &str, value: &str) {
        let began = Instant::now();
        loop {
            self.insist(through, "PUT", key, value).await;
            if timeout(Duration::from_secs(2), self.has(through, key, value)).await.is_ok() {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{key} is not committed");
        }
    }

    async fn ended(&mut self, id: usize) -> Ended {
        let mut member = self.members[id - 1].take().unwrap();
        timeout(LIMIT, member.ended()).await.expect("it ends").unwrap()
    }
}

#[tokio::test]
async fn one_member_answers_as_etcds_example_does() {
    let mut cluster = Cluster::new(1).await;
    cluster.start(1, 1, false).await;
    cluster.put(1, "/key?with=query", "value").await;
    cluster.put(1, "/key", "").await;
    let refused = |status, text: &str| (status, format!("{text}\n"));
    assert_eq!(cluster.ask(1, "GET", "/none", "").await, refused(404, "Failed to GET"));
    assert_eq!(cluster.ask(1, "POST", "/four", "http://127.0.0.1:1").await, refused(400, "Failed on POST"));
    assert_eq!(cluster.ask(1, "POST", "/4", "127.0.0.1:1").await, refused(400, "Failed on POST"));
    assert_eq!(cluster.ask(1, "DELETE", "/four", "").await, refused(400, "Failed on DELETE"));
    assert_eq!(cluster.ask(1, "PATCH", "/key", "").await, refused(405, "Method not allowed"));
    assert_eq!(cluster.ask(1, "PUT", "/key", &"x".repeat((1 << 20) + 1)).await, refused(400, "Failed on PUT"));
    assert_eq!(cluster.ask(1, "GET", "/key?with=query", "").await, (200, "value".to_owned()));
}

#[tokio::test]
async fn what_is_put_through_one_member_is_read_through_all() {
    let cluster = Cluster::three().await;
    for through in 1..=3 {
        let (key, value) = (format!("/{through}"), format!("through {through}"));
        cluster.put(through, &key, &value).await;
        for id in 1..=3 {
            cluster.has(id, &key, &value).await;
        }
    }
}

#[tokio::test]
async fn two_go_on_while_one_is_down_and_it_catches_up_from_its_disk() {
    let mut cluster = Cluster::three().await;
    cluster.put(1, "/before", "1").await;
    for down in 1..=3 {
        cluster.kill(down).await;
        let other = down % 3 + 1;
        cluster.put(other, "/while", &format!("{down} was down")).await;
        cluster.start(down, 3, false).await;
        cluster.has(down, "/before", "1").await;
        cluster.has(down, "/while", &format!("{down} was down")).await;
    }
}

#[tokio::test]
async fn all_start_again_from_their_disks() {
    let mut cluster = Cluster::three().await;
    cluster.settings.snapshot_entries = 20;
    for number in 0..50 {
        cluster.put(1, &format!("/{}", number % 7), &number.to_string()).await;
    }
    for _ in 0..2 {
        for id in 1..=3 {
            cluster.kill(id).await;
        }
        for id in 1..=3 {
            cluster.start(id, 3, false).await;
        }
        for id in 1..=3 {
            cluster.has(id, "/0", "49").await;
            cluster.has(id, "/6", "48").await;
        }
        cluster.put(2, "/again", "after a start").await;
    }
}

#[tokio::test]
async fn a_member_is_added_and_another_one_removed() {
    let mut cluster = Cluster::new(4).await;
    for id in 1..=3 {
        cluster.start(id, 3, false).await;
    }
    cluster.put(1, "/before", "1").await;
    let url = cluster.urls[3].clone();
    cluster.insist(1, "POST", "/4", &url).await;
    cluster.start(4, 4, true).await;
    cluster.has(4, "/before", "1").await;
    cluster.put(4, "/after", "2").await;

    cluster.insist(2, "DELETE", "/3", "").await;
    assert_eq!(cluster.ended(3).await, Ended::Removed);
    // Three are left, and two of them decide.
    cluster.kill(1).await;
    cluster.put(4, "/after", "3").await;
    cluster.has(2, "/after", "3").await;
    // It does not come back under its old id: not from its disk, and not with an empty one.
    cluster.start(3, 4, false).await;
    assert_eq!(cluster.ended(3).await, Ended::Removed);
    let url = cluster.urls[2].clone();
    assert_eq!(cluster.ask(2, "POST", "/3", &url).await, (400, "Failed on POST\n".to_owned()));
    // What was added is known after a start without being named on the command line.
    cluster.kill(2).await;
    cluster.start(2, 3, false).await;
    cluster.put(2, "/after", "4").await;
    cluster.has(4, "/after", "4").await;
}

#[tokio::test]
async fn who_lags_behind_the_log_is_sent_a_snapshot() {
    let mut cluster = Cluster::new(4).await;
    (cluster.settings.snapshot_entries, cluster.settings.kept_entries) = (20, 5);
    for id in 1..=3 {
        cluster.start(id, 3, false).await;
    }
    cluster.put(1, "/first", "1").await;
    cluster.has(3, "/first", "1").await;
    cluster.kill(3).await;
    let long = "long ".repeat(20_000);
    cluster.put(2, "/long", &long).await;
    for number in 0..100 {
        cluster.insist(2, "PUT", &format!("/{}", number % 10), &number.to_string()).await;
    }
    cluster.has(1, "/9", "99").await;
    cluster.has(2, "/9", "99").await;
    // Most of this is in no log any more.
    cluster.start(3, 3, false).await;
    cluster.has(3, "/9", "99").await;
    cluster.has(3, "/0", "90").await;
    cluster.has(3, "/long", &long).await;
    cluster.has(3, "/first", "1").await;

    // A new member has nothing but the snapshot to begin with.
    let url = cluster.urls[3].clone();
    cluster.insist(1, "POST", "/4", &url).await;
    cluster.start(4, 4, true).await;
    cluster.has(4, "/9", "99").await;
    // Both go on from it after a start.
    for id in [3, 4] {
        cluster.kill(id).await;
        cluster.start(id, 4, id == 4).await;
        cluster.has(id, "/long", &long).await;
    }
    cluster.kill(1).await;
    cluster.put(4, "/last", "1").await;
    cluster.has(3, "/last", "1").await;
}

#[tokio::test]
async fn a_member_without_a_place_is_refused() {
    let cluster = Cluster::new(1).await;
    let options = Options {
        id: NodeId(2),
        cluster: cluster.urls.clone(),
        join: false,
        dir: cluster.dir.path().to_path_buf(),
        settings: cluster.settings,
    };
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusal = Member::start(&options, bind().await, bind().await).expect_err("there is one place");
    assert_eq!(refusal.to_string(), "--id 2 has no place among the 1 URLs of --cluster");
}
