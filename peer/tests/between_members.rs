//! Members on loopback, with real connections.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ferrite_observe::log::Logger;
use ferrite_observe::metrics::Registry;
use ferrite_peer::{
    Asker, Database, Delivery, Door, Impatient, Local, Owner, Plain, ReceiveSnapshot, Timeouts, Transport, Version,
};
use ferrite_proto::raftpb;
use ferrite_raft::{Body, ConfState, Entry, Index, LogPosition, Message, NodeId, Snapshot, SnapshotMeta, Term};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const TIMEOUTS: Timeouts =
    Timeouts { dial: Duration::from_secs(2), read: Duration::from_secs(5), write: Duration::from_secs(5) };

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq)]
enum Event {
    Message(Message),
    Unreachable(NodeId),
    Gone(NodeId),
    SnapshotSent(NodeId, bool),
    Removed(NodeId),
    Database(Message, Result<Vec<u8>, String>),
}

#[derive(Debug)]
struct Recorder {
    events: mpsc::UnboundedSender<Event>,
    removed: Mutex<Vec<NodeId>>,
}

impl Recorder {
    fn note(&self, event: Event) {
        // Nobody listens any more when the test is over.
        let _ = self.events.send(event);
    }
}

impl Owner for Recorder {
    fn deliver(&self, message: Message) -> Delivery {
        self.note(Event::Message(message));
        Delivery::Taken
    }

    fn is_removed(&self, id: NodeId) -> bool {
        self.removed.lock().unwrap().contains(&id)
    }

    fn unreachable(&self, id: NodeId) {
        self.note(Event::Unreachable(id));
    }

    fn gone(&self, id: NodeId) {
        self.note(Event::Gone(id));
    }

    fn snapshot_sent(&self, id: NodeId, arrived: bool) {
        self.note(Event::SnapshotSent(id, arrived));
    }

    fn removed(&self, by: NodeId) {
        self.note(Event::Removed(by));
    }

    fn receive_snapshot(&self, message: Message, mut database: Database) -> ReceiveSnapshot {
        let events = self.events.clone();
        Box::pin(async move {
            let mut bytes = Vec::new();
            let received = loop {
                match database.next().await {
                    None => break Ok(bytes),
                    Some(Ok(piece)) => bytes.extend_from_slice(&piece),
                    Some(Err(error)) => break Err(error.to_string()),
                }
            };
            let answer = received.as_ref().map(|_| ()).map_err(String::clone);
            let _ = events.send(Event::Database(message, received));
            answer
        })
    }
}

struct Member {
    id: NodeId,
    address: SocketAddr,
    transport: Transport,
    owner: Arc<Recorder>,
    events: mpsc::UnboundedReceiver<Event>,
    listener: JoinHandle<()>,
}

fn local(id: u64, address: SocketAddr) -> Local {
    Local {
        member: NodeId(id),
        cluster: 0xabc,
        version: Version { major: 3, minor: 7, patch: 1 },
        min_version: Version { major: 3, minor: 0, patch: 0 },
        peer_urls: vec![format!("http://{address}")],
    }
}

impl Member {
    async fn start(id: u64) -> Member {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = local(id, socket.local_addr().unwrap());
        Member::on(socket, local)
    }

    fn on(socket: TcpListener, local: Local) -> Member {
        // Unbounded, because an owner must not wait; it holds what a test of a few messages brings about.
        let (sender, events) = mpsc::unbounded_channel();
        let owner = Arc::new(Recorder { events: sender, removed: Mutex::default() });
        let (id, address) = (local.member, socket.local_addr().unwrap());
        let transport = Transport::start(
            local,
            owner.clone(),
            Arc::new(Plain::default()),
            TIMEOUTS,
            Logger::silent(),
            Arc::new(Registry::default()),
        );
        let listener = tokio::spawn(serve(socket, Door::new(transport.clone())));
        Member { id, address, transport, owner, events, listener }
    }

    fn urls(&self) -> Vec<String> {
        vec![format!("http://{}", self.address)]
    }

    fn knows(&self, other: &Member) {
        self.transport.add_peer(other.id, &other.urls());
    }

    async fn next(&mut self) -> Event {
        timeout(LIMIT, self.events.recv()).await.expect("an event").unwrap()
    }

    /// The next message; what was lost on the way does not count.
    async fn message(&mut self) -> Message {
        loop {
            match self.next().await {
                Event::Message(message) => return message,
                Event::Unreachable(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends until it arrives: before the streams are there, and after a break, messages are lost.
    async fn reach(&self, other: &mut Member) {
        loop {
            self.transport.send([heartbeat(self.id, other.id, 0)]);
            match timeout(Duration::from_millis(200), other.message()).await {
                Ok(message) => return assert_eq!(message, heartbeat(self.id, other.id, 0)),
                Err(_) => continue,
            }
        }
    }
}

async fn serve(socket: TcpListener, door: Door) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (io, _) = socket.accept().await.unwrap();
        let door = door.clone();
        let service = service_fn(move |request| {
            let door = door.clone();
            async move { Ok::<_, io::Error>(door.answer(request, "2026-01-01T00:00:00Z").await) }
        });
        connections.spawn(async move {
            drop(
                http1::Builder::new().serve_connection(TokioIo::new(Impatient::new(io, TIMEOUTS.write)), service).await,
            )
        });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.listener.abort();
        self.transport.stop();
    }
}

fn heartbeat(from: NodeId, to: NodeId, commit: u64) -> Message {
    Message { to, from, term: Term(2), body: Body::Heartbeat { commit: Index(commit), context: Bytes::new() } }
}

fn append(from: NodeId, to: NodeId, index: u64, length: usize) -> Message {
    let entry = Entry { term: Term(2), index: Index(index), payload: Bytes::from(vec![index as u8; length]).into() };
    let prev = LogPosition { term: Term(2), index: Index(index - 1) };
    Message {
        to,
        from,
        term: Term(2),
        body: Body::Append { prev, entries: vec![entry].into(), commit: Index(index - 1) },
    }
}

fn snapshot(from: NodeId, to: NodeId) -> Message {
    let conf = ConfState { voters: vec![from, to], ..ConfState::default() };
    let meta = SnapshotMeta { index: Index(9), term: Term(2), conf };
    Message {
        to,
        from,
        term: Term(2),
        body: Body::Snapshot(Box::new(Snapshot { meta, data: Bytes::from_static(b"v2") })),
    }
}

#[tokio::test]
async fn messages_travel_in_order_over_both_streams() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    two.knows(&one);
    one.reach(&mut two).await;
    two.reach(&mut one).await;
    // A repeat of the first one may still be on its way.
    for index in 1..=500 {
        one.transport.send([heartbeat(one.id, two.id, index), append(one.id, two.id, index + 1, 1000)]);
    }
    let (mut heartbeats, mut appends) = (Vec::new(), Vec::new());
    while heartbeats.len() < 500 || appends.len() < 500 {
        match two.message().await {
            message @ Message { body: Body::Append { .. }, .. } => appends.push(message),
            message if message != heartbeat(one.id, two.id, 0) => heartbeats.push(message),
            _ => {}
        }
    }
    assert!(heartbeats.into_iter().eq((1..=500).map(|index| heartbeat(one.id, two.id, index))));
    assert!(appends.into_iter().eq((1..=500).map(|index| append(one.id, two.id, index + 1, 1000))));
    assert!(one.transport.active_since(two.id).is_some() && two.transport.active_since(one.id).is_some());
}

#[tokio::test]
async fn a_member_that_is_gone_is_reported_and_found_again() {
    let (one, mut two) = (Member::start(1).await, Member::start(2).await);
    let mut one = one;
    one.knows(&two);
    two.knows(&one);
    one.reach(&mut two).await;
    let address = two.address;
    drop(two);
    timeout(LIMIT, async {
        loop {
            one.transport.send([heartbeat(one.id, NodeId(2), 1)]);
            if let Ok(Some(Event::Unreachable(id))) = timeout(Duration::from_millis(50), one.events.recv()).await {
                return assert_eq!(id, NodeId(2));
            }
        }
    })
    .await
    .expect("a lost message is reported");
    assert!(one.transport.active_since(NodeId(2)).is_none());

    let socket = TcpListener::bind(address).await.expect("its port is free again");
    let mut two = Member::on(socket, local(2, address));
    two.knows(&one);
    one.reach(&mut two).await;
}

#[tokio::test]
async fn one_that_has_ended_is_known_to_be_gone() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    two.knows(&one);
    one.reach(&mut two).await;
    two.reach(&mut one).await;
    // It sends nothing more, but is there.
    two.transport.stop();
    while one.transport.active_since(two.id).is_some() {
        tokio::task::yield_now().await;
    }
    // It takes what is posted.
    one.transport.send([heartbeat(one.id, two.id, 1)]);
    assert!(matches!(two.message().await, Message { body: Body::Heartbeat { .. }, .. }));
    let until_now: Vec<Event> = std::iter::from_fn(|| one.events.try_recv().ok()).collect();
    assert!(!until_now.contains(&Event::Gone(two.id)), "{until_now:?}");
    let id = two.id;
    drop(two);
    while one.next().await != Event::Gone(id) {}
}

#[tokio::test]
async fn one_that_was_removed_is_told() {
    let (mut one, two) = (Member::start(1).await, Member::start(2).await);
    two.owner.removed.lock().unwrap().push(one.id);
    one.knows(&two);
    assert_eq!(one.next().await, Event::Removed(two.id));
    // Posts tell it, too.
    one.transport.send([heartbeat(one.id, two.id, 1)]);
    while one.next().await != Event::Unreachable(two.id) {}
}

#[tokio::test]
async fn a_member_at_the_address_of_another_ends_nobody() {
    let (mut one, two) = (Member::start(1).await, Member::start(2).await);
    let etcd = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let of_etcd = vec![format!("http://{}", etcd.local_addr().unwrap())];
    let answers = tokio::spawn(async move {
        let mut socket = etcd.accept().await.unwrap().0;
        let mut request = vec![0; 4096];
        assert!(socket.read(&mut request).await.unwrap() > 0);
        let says = r#"{"message":"cannot process message to mismatch member"}"#;
        let answer = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{says}", says.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
        // Until it is read.
        let _ = socket.read(&mut request).await;
    });
    for (successor, urls) in [(NodeId(7), two.urls()), (NodeId(8), of_etcd)] {
        one.transport.add_remote(successor, &urls);
        one.transport.send([heartbeat(one.id, successor, 1)]);
        assert_eq!(one.next().await, Event::Unreachable(successor));
    }
    answers.abort();
    let post = Message { from: NodeId(3), ..heartbeat(one.id, NodeId(2), 1) };
    let post: raftpb::Message = (&post).into();
    let body = post.encode_to_vec();
    let mut socket = TcpStream::connect(one.address).await.unwrap();
    let head = request("POST", "/raft", "1").replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nconnection: close\r\n", 1);
    socket.write_all(format!("{head}{:x}\r\n", body.len()).as_bytes()).await.unwrap();
    socket.write_all(&[&body[..], b"\r\n0\r\n\r\n"].concat()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, socket.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert!(answer.ends_with(r#"{"message":"cannot process message to mismatch member"}"#), "{answer}");
}

#[tokio::test]
async fn a_snapshot_to_one_that_hangs_ends_when_that_is_removed() {
    let mut one = Member::start(1).await;
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.add_peer(NodeId(9), &[format!("http://{}", hangs.local_addr().unwrap())]);
    let (pieces, receiver) = mpsc::channel(1);
    one.transport.send_snapshot(snapshot(one.id, NodeId(9)), receiver);
    // All of it is taken.
    pieces.send(Ok(vec![1; 10].into())).await.unwrap();
    pieces.reserve().await.unwrap();
    drop(pieces);
    one.transport.remove_peer(NodeId(9));
    while one.next().await != Event::SnapshotSent(NodeId(9), false) {}
}

#[tokio::test]
async fn one_that_has_asked_for_a_stream_is_active() {
    let (one, mut two) = (Member::start(1).await, Member::start(2).await);
    // Where one looks for the other somebody listens and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.add_peer(two.id, &[format!("http://{}", silent.local_addr().unwrap())]);
    two.knows(&one);
    // What arrives comes over the stream that the other has asked for.
    one.reach(&mut two).await;
    assert!(one.transport.active_since(two.id).is_some());
}

#[tokio::test]
async fn a_post_that_fails_does_not_make_one_that_is_heard_seem_dead() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    two.knows(&one);
    one.reach(&mut two).await;
    two.reach(&mut one).await;
    let (pieces, receiver) = mpsc::channel(1);
    pieces.send(Err(io::Error::other("the disk is gone"))).await.unwrap();
    one.transport.send_snapshot(snapshot(one.id, two.id), receiver);
    while one.next().await != Event::SnapshotSent(two.id, false) {}
    two.transport.send([heartbeat(two.id, one.id, 1)]);
    one.message().await;
    assert!(one.transport.active_since(two.id).is_some());
}

#[tokio::test]
async fn questions_that_hang_do_not_pile_up() {
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hangs.local_addr().unwrap());
    let asker = Asker::new(Arc::new(Plain::default()), TIMEOUTS);
    let mut asked = JoinSet::new();
    for _ in 0..300 {
        let (asker, url) = (asker.clone(), url.clone());
        let ask = async move { asker.post(&url, "/leases", "application/protobuf", Bytes::new(), LIMIT).await };
        asked.spawn(async move { ask.await.map(|answer| answer.status) });
    }
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(timeout(LIMIT, hangs.accept()).await.expect("a question").unwrap());
    }
    timeout(Duration::from_millis(200), hangs.accept()).await.expect_err("one more than there are places");
    // What the member itself asks does not wait for clients.
    let (own, url) = (asker.clone(), url.clone());
    asked.spawn(async move { own.get(&url, "/version", LIMIT).await.map(|answer| answer.status) });
    held.push(timeout(LIMIT, hangs.accept()).await.expect("the member's question").unwrap());
    drop(held);
    // The next ones have their turn.
    timeout(LIMIT, hangs.accept()).await.expect("a question").unwrap();
}

#[tokio::test]
async fn one_that_only_we_know_is_answered_by_post() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.transport.add_remote(two.id, &two.urls());
    one.transport.send([heartbeat(one.id, two.id, 7)]);
    assert_eq!(two.message().await, heartbeat(one.id, two.id, 7));
    // Now the other one knows where to answer.
    two.transport.send([heartbeat(two.id, one.id, 8)]);
    assert_eq!(one.message().await, heartbeat(two.id, one.id, 8));
}

#[tokio::test]
async fn a_snapshot_arrives_whole_or_not_at_all() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.transport.add_remote(two.id, &two.urls());
    let (pieces, receiver) = mpsc::channel(1);
    one.transport.send_snapshot(snapshot(one.id, two.id), receiver);
    for number in 0..100_u8 {
        pieces.send(Ok(vec![number; 10_000].into())).await.unwrap();
    }
    drop(pieces);
    let expected: Vec<u8> = (0..100_u8).flat_map(|number| vec![number; 10_000]).collect();
    assert_eq!(two.next().await, Event::Database(snapshot(one.id, two.id), Ok(expected)));
    assert_eq!(one.next().await, Event::SnapshotSent(two.id, true));

    let (pieces, receiver) = mpsc::channel(1);
    one.transport.send_snapshot(snapshot(one.id, two.id), receiver);
    pieces.send(Ok(vec![1; 10_000].into())).await.unwrap();
    pieces.send(Err(io::Error::other("the disk is gone"))).await.unwrap();
    assert_eq!(one.next().await, Event::Unreachable(two.id));
    assert_eq!(one.next().await, Event::SnapshotSent(two.id, false));
    let Event::Database(_, Err(_)) = two.next().await else { panic!("half of a database was taken for a whole one") };

    one.transport.send_snapshot(snapshot(one.id, NodeId(9)), mpsc::channel(1).1);
    assert_eq!(one.next().await, Event::SnapshotSent(NodeId(9), false));
    // The other is removed before anything has been done.
    one.transport.send_snapshot(snapshot(one.id, two.id), mpsc::channel(1).1);
    one.transport.remove_peer(two.id);
    assert_eq!(one.next().await, Event::SnapshotSent(two.id, false));
}

#[tokio::test]
async fn one_that_does_not_read_delays_only_itself() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    two.knows(&one);
    // It asks for log data, and never reads any.
    let deaf = NodeId(3);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.add_peer(deaf, &[format!("http://{}", nobody.local_addr().unwrap())]);
    let mut asked = TcpStream::connect(one.address).await.unwrap();
    asked.write_all(request("GET", "/raft/stream/msgapp/3", "1").as_bytes()).await.unwrap();
    let mut head = [0; 15];
    asked.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    one.reach(&mut two).await;
    // More than may wait for a peer, and more than sockets hold.
    for index in 1..=100 {
        one.transport.send([append(one.id, deaf, index, 1 << 20)]);
    }
    while one.next().await != Event::Unreachable(deaf) {}
    one.reach(&mut two).await;
}

fn request(method: &str, path: &str, to: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nx-server-from: 3\r\nx-server-version: 3.7.1\r\n\
         x-min-cluster-version: 3.0.0\r\nx-etcd-cluster-id: abc\r\nx-raft-to: {to}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    )
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_etcds_words() {
    let mut one = Member::start(1).await;
    one.transport.add_peer(NodeId(3), &["http://127.0.0.1:1".to_owned()]);
    let message = |path: &str| request("POST", path, "1") + "1\r\nx\r\n0\r\n\r\n";
    let stream = |path: &str| request("GET", path, "1") + "0\r\n\r\n";
    for (request, status, text) in [
        (message("/raft").replace("abc", "abd"), 412, "cluster ID mismatch\n"),
        (message("/raft").replace("3.7.1", "2.3.0"), 412, "incompatible version\n"),
        (message("/raft").replace("3.7.1", "x"), 412, "incompatible version\n"),
        (message("/raft"), 400, "error unmarshalling raft message\n"),
        (stream("/raft"), 405, "Method Not Allowed\n"),
        (stream("/raft/stream/x/3"), 404, "invalid path\n"),
        (stream("/raft/stream/message/0"), 404, "invalid from\n"),
        (stream("/raft/stream/message/5"), 404, "error sender not found\n"),
        (stream("/raft/stream/message/3").replace("raft-to: 1", "raft-to: 2"), 412, "to field mismatch\n"),
        (stream("/raft/probing"), 200, "{\"OK\":true,\"Now\":\"2026-01-01T00:00:00Z\"}\n"),
        (message("/raft/snapshot"), 400, "error reading raft message: unexpected end of file\n"),
    ] {
        let request = request.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nconnection: close\r\n", 1);
        let mut socket = TcpStream::connect(one.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, socket.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert!(answer.ends_with(text), "{request}\n{answer}");
    }
    one.transport.stop();
    while let Ok(event) = one.events.try_recv() {
        assert!(matches!(event, Event::Unreachable(_)), "{event:?}");
    }
}

#[tokio::test]
async fn arbitrary_bytes_close_the_connection_and_do_no_more() {
    let mut one = Member::start(1).await;
    let mut seed = 0x2545f4914f6cdd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..50 {
        let head = match round % 3 {
            0 => String::new(),
            1 => request("POST", "/raft", "1"),
            _ => request("POST", "/raft/snapshot", "1"),
        };
        let body: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
        let mut bytes = head.into_bytes();
        if round % 3 != 0 {
            bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(&body);
        let mut socket = TcpStream::connect(one.address).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        // Broken off or answered: either will do.
        let _ = timeout(LIMIT, socket.read_to_end(&mut Vec::new())).await.expect("the connection ends");
    }
    assert!(one.events.try_recv().is_err(), "nothing was delivered");
    // And it still works.
    let mut two = Member::start(2).await;
    two.transport.add_remote(one.id, &one.urls());
    two.transport.send([heartbeat(two.id, one.id, 5)]);
    assert_eq!(one.message().await, heartbeat(two.id, one.id, 5));
    drop(two.events.try_recv());
}

#[tokio::test]
async fn a_message_that_does_not_come_to_its_end_is_not_waited_for() {
    let one = Member::start(1).await;
    let mut waiting = tokio::task::JoinSet::new();
    for (path, begun) in [("/raft", "5\r\nbegun\r\n"), ("/raft/snapshot", "5\r\nbegun\r\n"), ("/raft", "")] {
        let mut socket = TcpStream::connect(one.address).await.unwrap();
        waiting.spawn(async move {
            socket.write_all((request("POST", path, "1") + begun).as_bytes()).await.unwrap();
            let mut answer = String::new();
            // The connection ends, too: what is left of the message would be in the way of the next.
            timeout(LIMIT, socket.read_to_string(&mut answer)).await.expect("an answer").unwrap();
            answer
        });
    }
    for answer in waiting.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

/// Begins to post a message of which a large part comes at once, and the rest very slowly; the answer, when there is one.
async fn post_slowly(address: SocketAddr) -> String {
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let writing = tokio::spawn(async move {
        let part = vec![0; 30 << 20];
        let head = request("POST", "/raft", "1") + &format!("{:x}\r\n", part.len());
        to.write_all(head.as_bytes()).await?;
        to.write_all(&part).await?;
        to.write_all(b"\r\n").await?;
        let mut often = tokio::time::interval(TIMEOUTS.read / 10);
        let never: io::Result<std::convert::Infallible> = loop {
            often.tick().await;
            if let Err(error) = to.write_all(b"1\r\nx\r\n").await {
                break Err(error);
            }
        };
        never
    });
    let mut answer = vec![0; 12];
    let answered = from.read_exact(&mut answer).await;
    writing.abort();
    // Broken off while much was on its way: the answer may be lost.
    answered.map_or(String::new(), |_| String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn messages_that_arrive_at_once_are_bounded_together() {
    let mut one = Member::start(1).await;
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..3 {
        posts.spawn(post_slowly(one.address));
    }
    // Two of them hold nearly all there is; the third is refused, and they go on.
    let refused = timeout(LIMIT, posts.join_next()).await.expect("one is refused").unwrap().unwrap();
    assert!(["", "HTTP/1.1 400"].contains(&&*refused), "{refused}");
    assert!(timeout(TIMEOUTS.read, posts.join_next()).await.is_err());
    // What is short has room beside them.
    let two = Member::start(2).await;
    two.transport.add_remote(one.id, &one.urls());
    two.transport.send([heartbeat(two.id, one.id, 5)]);
    assert_eq!(one.message().await, heartbeat(two.id, one.id, 5));
}

#[tokio::test]
async fn those_who_only_say_that_they_are_members_are_bounded() {
    let one = Member::start(1).await;
    for id in 10..2010 {
        one.transport.add_remote(NodeId(id), &["http://127.0.0.1:1".to_owned()]);
    }
    let known = (10..2010).filter(|id| one.transport.knows(NodeId(*id))).count();
    assert_eq!(known, 256);
    // One that the log names is a peer all the same.
    one.transport.add_peer(NodeId(2009), &["http://127.0.0.1:1".to_owned()]);
    assert!(one.transport.knows(NodeId(2009)));
}
