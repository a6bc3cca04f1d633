//! The RPC layer against h2's client and against raw bytes, over a pipe in memory: one thread, no ports.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_observe::metrics::{Registry, families};
use ferrite_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader};
use ferrite_proto::mvccpb::KeyValue;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Barrier, watch};
use tokio::task::spawn_local;

use super::*;

mod patience;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
/// That many requests of a stream are answered together.
const TOGETHER: usize = 4;
const LARGE_PAGE_BYTES: usize = 1 << 20;
const LOCK: &str = "/v3lockpb.Lock/Lock";

/// Runs a test on a paused clock: timers ring as soon as nothing else is left to do.
fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.unwrap().block_on(async { tokio::time::timeout(Duration::from_secs(3600 * 10), test).await.unwrap() });
}

struct Server {
    registry: Arc<Registry>,
    stop: watch::Sender<bool>,
    service: Rc<Service>,
    /// Handlers that wait, and have not been dropped.
    waiting: Rc<Cell<i32>>,
}

struct Waits(Rc<Cell<i32>>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A server whose Put echoes the key as the revision's digits, whose Range answers with `limit` pairs of 1000 bytes,
/// whose Watch echoes, and whose Lock never answers.
fn server(settings: Settings) -> Server {
    server_with(settings, Arc::default())
}

fn server_with(settings: Settings, budget: Arc<Budget>) -> Server {
    server_of(|router, pages| Service::new(Some(router), Some(pages), settings, budget))
}

fn server_of(service: impl FnOnce(Rc<Router>, Pages) -> Service) -> Server {
    let registry = Arc::new(Registry::new());
    let logger = ferrite_observe::log::Logger::silent();
    let observing = Observing { extensive: true, slow_after: Duration::MAX, logger };
    let stop = watch::Sender::new(false);
    let stopping = Stopping { signal: stop.subscribe(), status: Status::new(Code::Unavailable, "stopped") };
    let mut router = Router::new(registry.clone(), observing, stopping);
    let waiting = Rc::new(Cell::new(0));
    router.unary(PUT, async |put: PutRequest, caller: Caller| {
        match &*put.key {
            b"fail" => return Err(Status::new(Code::NotFound, "etcdserver: 100% gone\n")),
            b"token" => assert_eq!(caller.metadata.get("token"), Some(&b"secret"[..])),
            _ => {}
        }
        let header = ResponseHeader { revision: put.value.len() as i64, ..Default::default() };
        Ok(PutResponse { header: Some(header), ..Default::default() })
    });
    router.unary(RANGE, async |range: RangeRequest, _: Caller| {
        let mut body = Body::with_capacity(0);
        for _ in 0..range.limit {
            let pair = KeyValue { value: vec![7; 1000].into(), ..Default::default() };
            body.put_message(2, &pair);
        }
        Ok(body)
    });
    router.bidi_stream(WATCH, async |mut requests: Requests<PutRequest>, mut replies: Replies, _: Caller| {
        while let Some(request) = requests.next().await? {
            if &request.key[..] == b"stay" {
                std::future::pending::<()>().await;
            }
            replies.send(request).await?;
        }
        Ok(())
    });
    let together = Rc::new(Barrier::new(TOGETHER));
    router.bidi_stream(KEEP_ALIVE, async move |requests: Requests<PutRequest>, replies: Replies, _: Caller| {
        let answer = async |request: PutRequest| {
            together.wait().await;
            // On the paused clock: whoever is behind another is ready before it.
            tokio::time::sleep(Duration::from_secs(u64::from(u8::MAX - request.key[0]))).await;
            if &request.key[..] == b"fail" { Err(Status::new(Code::NotFound, "gone")) } else { Ok(request) }
        };
        requests.answer_each(replies, TOGETHER, answer).await
    });
    let counted = waiting.clone();
    router.unary(LOCK, async move |_: PutRequest, _: Caller| {
        counted.set(counted.get() + 1);
        let _waits = Waits(counted.clone());
        std::future::pending::<Result<PutResponse, Status>>().await
    });
    let pages: Pages = Rc::new(|request: Request<()>| -> LocalBoxFuture<'static, Response<Bytes>> {
        Box::pin(async move {
            Response::new(match request.uri().path() {
                "/large" => vec![b'x'; LARGE_PAGE_BYTES].into(),
                path => format!("{} {path}", request.method()).into(),
            })
        })
    });
    let service = Rc::new(service(Rc::new(router), pages));
    Server { registry, stop, service, waiting }
}

impl Server {
    fn accept(&self, buffer: usize) -> (DuplexStream, tokio::task::JoinHandle<Result<(), ConnectionError>>) {
        let (ours, theirs) = tokio::io::duplex(buffer);
        let (service, stop) = (self.service.clone(), self.stop.subscribe());
        (ours, spawn_local(service.serve(theirs, None, stop)))
    }

    async fn connect(&self) -> Client {
        let (socket, served) = self.accept(64 << 10);
        let (send, connection) = h2::client::handshake(socket).await.unwrap();
        spawn_local(async move {
            let _ = connection.await;
        });
        Client { send, served }
    }

    fn handled(&self, method: &str, code: &str) -> u64 {
        let labels = ["unary", "etcdserverpb.KV", method, code];
        self.registry.metric(&families::GRPC_SERVER_HANDLED_TOTAL, &labels).value()
    }
}

struct Client {
    send: h2::client::SendRequest<Bytes>,
    served: tokio::task::JoinHandle<Result<(), ConnectionError>>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    http: u16,
    code: String,
    message: String,
    body: Vec<u8>,
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.extend_from_slice(message);
    bytes.to_vec()
}

impl Client {
    fn request(path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::post(format!("http://server{path}"));
        let given = headers.iter().map(|(name, _)| *name);
        if !given.clone().any(|name| name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    async fn call(&mut self, path: &str, headers: &[(&'static str, &str)], pieces: &[&[u8]]) -> Answer {
        let mut send = self.send.clone().ready().await.unwrap();
        let request = Self::request(path, headers);
        let (response, mut stream) = send.send_request(request, pieces.is_empty()).unwrap();
        for (i, piece) in pieces.iter().enumerate() {
            stream.send_data(Bytes::copy_from_slice(piece), i + 1 == pieces.len()).unwrap();
        }
        let response = response.await.unwrap();
        let http = response.status().as_u16();
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        let get = |name: &str| {
            let value = |map: &HeaderMap| map.get(name).map(|value| value.to_str().unwrap().to_owned());
            value(&trailers).or_else(|| value(&head.headers)).unwrap_or_default()
        };
        Answer { http, code: get("grpc-status"), message: get("grpc-message"), body: bytes }
    }
}

fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let put = PutRequest { key: key.to_vec().into(), value: value.to_vec().into(), ..Default::default() };
    framed(&put.encode_to_vec())
}

#[test]
fn calls_and_their_ends() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        let good = put(b"k", b"seven..");
        let revision_7 = framed(&[0x0a, 2, 0x18, 7]);
        let big = put(b"k", &vec![0; 2 << 20]);
        let gzipped = {
            use std::io::Write;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&good[5..]).unwrap();
            let mut bytes = framed(&encoder.finish().unwrap());
            bytes[0] = 1;
            bytes
        };
        let bomb = {
            use std::io::Write;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&vec![0; 64 << 20]).unwrap();
            let mut bytes = framed(&encoder.finish().unwrap());
            bytes[0] = 1;
            bytes
        };
        /// Path, headers, pieces; HTTP status, code, message (a `*` stands before the beginning of one).
        type Case<'a> = (&'a str, &'a [(&'static str, &'a str)], &'a [&'a [u8]], u16, &'a str, &'a str);
        let cases: &[Case] = &[
            (PUT, &[], &[&good], 200, "0", ""),
            (PUT, &[("content-type", "application/grpc+proto")], &[&good], 200, "0", ""),
            (PUT, &[], &[&good[..1], &good[1..7], &good[7..]], 200, "0", ""),
            (PUT, &[("token", "secret")], &[&put(b"token", b"seven..")], 200, "0", ""),
            (PUT, &[], &[&put(b"fail", b"")], 200, "5", "etcdserver: 100%25 gone%0A"),
            (PUT, &[], &[], 200, "13", "unexpected EOF"),
            (PUT, &[], &[&good[..9]], 200, "13", "unexpected EOF"),
            (PUT, &[], &[&big], 200, "8", "grpc: received message larger than max (2097160 vs. 2097152)"),
            (
                PUT,
                &[],
                &[&[0, 255, 255, 255, 255]],
                200,
                "8",
                "grpc: received message larger than max (4294967295 vs. 2097152)",
            ),
            (PUT, &[], &[&framed(&[0x0a, 9, 1])], 200, "13", "*grpc: error unmarshalling request: "),
            (PUT, &[], &[&gzipped], 200, "13", "grpc: compressed flag set with identity or empty encoding"),
            (PUT, &[("grpc-encoding", "gzip")], &[&gzipped], 200, "0", "gzip"),
            (
                PUT,
                &[("grpc-encoding", "gzip")],
                &[&bomb],
                200,
                "8",
                "grpc: received message after decompression larger than max 2097152",
            ),
            (
                PUT,
                &[("grpc-encoding", "gzip")],
                &[&[1, 0, 0, 0, 3, 1, 2, 3]],
                200,
                "13",
                "*grpc: failed to decompress the received message: ",
            ),
            (
                PUT,
                &[("grpc-encoding", "snappy")],
                &[&good],
                200,
                "12",
                "grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
            ),
            (PUT, &[("grpc-encoding", "identity")], &[&good], 200, "0", ""),
            (PUT, &[], &[&[2, 0, 0, 0, 0]], 200, "13", "grpc: received unexpected payload format 2"),
            (PUT, &[("grpc-timeout", "x")], &[&good], 200, "13", "malformed grpc-timeout: \"x\""),
            (PUT, &[("x-bin", "!")], &[&good], 200, "13", "malformed binary metadata \"!\" in header \"x-bin\""),
            (LOCK, &[("grpc-timeout", "50m")], &[&good], 200, "4", "context deadline exceeded"),
            ("/etcdserverpb.KV/Nope", &[], &[&good], 200, "12", "unknown method Nope for service etcdserverpb.KV"),
            ("/a.B/C", &[], &[&good], 200, "12", "unknown service a.B"),
            ("/nothing", &[], &[&good], 200, "12", "malformed method name: \"/nothing\""),
        ];
        for (i, (path, headers, pieces, http, code, message)) in cases.iter().enumerate() {
            let answer = client.call(path, headers, pieces).await;
            assert_eq!((answer.http, &*answer.code), (*http, *code), "case {i}: {answer:?}");
            match message.strip_prefix('*') {
                Some(start) => assert!(answer.message.starts_with(start), "case {i}: {answer:?}"),
                None if *message == "gzip" => assert_eq!(answer.body[0], 1, "case {i}"),
                None => assert_eq!(answer.message, *message, "case {i}"),
            }
            if *code == "0" && answer.body[0] == 0 {
                assert_eq!(answer.body, revision_7, "case {i}");
            }
        }
        assert_eq!(server.handled("Put", "OK"), 6);
        assert_eq!(server.handled("Put", "ResourceExhausted"), 3);
        assert_eq!(server.waiting.get(), 0);
    });
}

#[test]
fn large_answers_arrive_whole() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        let request = framed(&RangeRequest { limit: 5000, ..Default::default() }.encode_to_vec());
        let answer = client.call(RANGE, &[], &[&request]).await;
        assert_eq!(answer.code, "0");
        let range = RangeResponse::decode(&answer.body[5..]).unwrap();
        assert_eq!(range.kvs.len(), 5000);
        assert!(range.kvs.iter().all(|pair| pair.value.len() == 1000));
    });
}

#[test]
fn streams_echo_until_the_client_ends_them() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        let mut all = Vec::new();
        (0..100).for_each(|i| all.extend(put(b"k", &vec![1; i * 100])));
        let pieces: Vec<&[u8]> = all.chunks(1013).collect();
        let answer = client.call(WATCH, &[], &pieces).await;
        assert_eq!((&*answer.code, &answer.body), ("0", &all));
        let answer = client.call(WATCH, &[], &[&put(b"k", b"v"), &framed(&[0xff])]).await;
        assert_eq!((&*answer.code, answer.body), ("13", put(b"k", b"v")));
        assert!(answer.message.starts_with("grpc: failed to unmarshal the received message: "), "{}", answer.message);
    });
}

#[test]
fn a_call_that_is_given_up_is_dropped() {
    run(async {
        let server = server(Settings::default());
        let client = server.connect().await;
        let start = || async {
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(Client::request(LOCK, &[]), false).unwrap();
            stream.send_data(put(b"k", b"v").into(), true).unwrap();
            (response, stream)
        };
        let first = start().await;
        let second = start().await;
        settle().await;
        assert_eq!(server.waiting.get(), 2);
        drop(first);
        settle().await;
        assert_eq!(server.waiting.get(), 1, "a reset stream takes its call with it");
        client.served.abort();
        settle().await;
        assert_eq!(server.waiting.get(), 0, "a connection that ends takes its calls with it");
        drop(second);
    });
}

/// Lets everything that can happen happen: on a paused clock, a sleep ends when no task can go on.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn requests_of_a_stream_are_answered_together_and_in_their_order() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        let puts: Vec<Vec<u8>> = (0..3 * TOGETHER as u8).map(|number| put(&[number], b"v")).collect();
        let pieces: Vec<&[u8]> = puts.iter().map(|put| &put[..]).collect();
        let answer = client.call(KEEP_ALIVE, &[], &pieces).await;
        assert_eq!((&answer.code[..], answer.body), ("0", puts.concat()));
        // What is before the end is answered, what is behind it is not.
        let fails = put(b"fail", b"v");
        let answer = client.call(KEEP_ALIVE, &[], &[pieces[0], pieces[1], &fails, pieces[3]]).await;
        assert_eq!((&answer.code[..], answer.body), ("5", puts[..2].concat()));
        let broken = framed(&[0xff]);
        let answer = client.call(KEEP_ALIVE, &[], &[pieces[0], pieces[1], pieces[2], pieces[3], &broken]).await;
        assert_eq!((&answer.code[..], answer.body), ("13", puts[..4].concat()));
    });
}

#[test]
fn an_answer_that_nobody_takes_is_dropped() {
    run(async {
        // The client's window is never opened again: flow control stops the answer.
        let server = server(Settings::default());
        let client = server.connect().await;
        let request = framed(&RangeRequest { limit: 5000, ..Default::default() }.encode_to_vec());
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(Client::request(RANGE, &[]), false).unwrap();
        stream.send_data(request.into(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        // On the paused clock: the time that the server gives a client has passed when nothing else can go on.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let error = loop {
            match body.data().await.expect("the answer is incomplete") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "after CANCEL a client would ask again");
        assert_eq!(server.handled("Range", "Canceled"), 1);
    });
}

#[test]
fn answers_that_nobody_takes_are_bounded_together() {
    run(async {
        let budget = Arc::new(Budget::new(4 << 20, 64 << 10));
        let server = server_with(Settings::default(), budget.clone());
        // Two connections whose windows are never opened again; each answer is about 1 MB.
        let (first, second) = (server.connect().await, server.connect().await);
        let request = framed(&RangeRequest { limit: 1000, ..Default::default() }.encode_to_vec());
        let mut answers = Vec::new();
        for client in [&first, &second, &first, &second, &first, &second] {
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(Client::request(RANGE, &[]), false).unwrap();
            stream.send_data(request.clone().into(), true).unwrap();
            answers.push(response);
        }
        settle().await;
        assert_eq!(server.handled("Range", "Canceled"), 2, "there is room for four");
        let mut calm = 0;
        for answer in answers {
            // Some were given up before anything of them had gone out.
            let error = match answer.await {
                Err(error) => error,
                Ok(response) => {
                    let mut body = response.into_body();
                    loop {
                        match body.data().await.expect("the answer is incomplete") {
                            Ok(_) => {}
                            Err(error) => break error,
                        }
                    }
                }
            };
            calm += u32::from(error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM));
        }
        assert_eq!(calm, 2);
        // The others were given up when they had not been taken for ten seconds; all room is there again.
        settle().await;
        assert_eq!(server.handled("Range", "Canceled"), 6);
        assert!(budget.wait_for(4 << 20).await.is_whole());
    });
}

#[test]
fn long_answers_are_not_compressed() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        for (limit, is_compressed) in [(10, 1), (1100, 0)] {
            let request = framed(&RangeRequest { limit, ..Default::default() }.encode_to_vec());
            let answer = client.call(RANGE, &[("grpc-encoding", "gzip")], &[&request]).await;
            assert_eq!((&*answer.code, answer.body[0]), ("0", is_compressed), "{limit}");
        }
    });
}

#[test]
fn a_connection_that_takes_nothing_is_closed() {
    run(async {
        let server = server(Settings::default());
        let (mut socket, served) = server.accept(1 << 10);
        // A client with huge windows that asks for much and does not read.
        let (mut send, connection) = {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            spawn_local(async move {
                // Passes on what the client says, and of what the server says only the first kilobytes.
                let (mut from_client, mut to_client) = tokio::io::split(theirs);
                let (mut from_server, mut to_server) = tokio::io::split(&mut socket);
                let mut start = [0; 4 << 10];
                let back = async {
                    let mut left = 64 << 10;
                    while left > 0 {
                        let count = from_server.read(&mut start).await.unwrap();
                        to_client.write_all(&start[..count]).await.unwrap();
                        left -= count.min(left);
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    _ = back => {}
                }
            });
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
            builder.handshake::<_, Bytes>(ours).await.unwrap()
        };
        spawn_local(async move {
            let _ = connection.await;
        });
        let request = framed(&RangeRequest { limit: 5000, ..Default::default() }.encode_to_vec());
        let mut answers = Vec::new();
        for _ in 0..3 {
            send = send.ready().await.unwrap();
            let (answer, mut stream) = send.send_request(Client::request(RANGE, &[]), false).unwrap();
            stream.send_data(request.clone().into(), true).unwrap();
            answers.push(answer);
        }
        let started = tokio::time::Instant::now();
        let ended = served.await.unwrap();
        assert!(matches!(ended, Err(ConnectionError::Stalled)), "{ended:?}");
        assert!(started.elapsed() < Duration::from_secs(21), "{:?}", started.elapsed());
        assert_eq!(server.handled("Range", "OK"), 0);
    });
}

#[test]
fn pings_too_often_end_the_connection() {
    run(async {
        let server = server(Settings::default());
        let (mut socket, served) = server.accept(64 << 10);
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        for _ in 0..4 {
            settle().await;
            socket.write_all(b"\0\0\x08\x06\0\0\0\0\x0012345678").await.unwrap();
        }
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        let end = all.len() - 31;
        assert_eq!(&all[end..], b"\0\0\x16\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings");
        assert!(matches!(served.await.unwrap(), Err(ConnectionError::TooManyPings)));
    });
}

#[test]
fn a_silent_client_is_asked_and_then_left() {
    run(async {
        let server = server(Settings::default());
        let (mut socket, served) = server.accept(64 << 10);
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let started = tokio::time::Instant::now();
        let ended = served.await.unwrap();
        assert!(matches!(ended, Err(ConnectionError::Dead)), "{ended:?}");
        assert_eq!(started.elapsed().as_secs(), 2 * 3600 + 20);
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        assert!(all.windows(4).any(|frame| frame == [0, 0, 8, 6]), "a ping was sent");
    });
}

#[test]
fn the_same_port_speaks_http() {
    run(async {
        let server = server(Settings::default());
        let (mut socket, _served) = server.accept(64 << 10);
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nGET /health"), "{answer}");

        let mut client = server.connect().await;
        let answer = client.call("/version", &[("content-type", "text/plain")], &[]).await;
        assert_eq!((answer.http, &answer.body[..]), (200, &b"POST /version"[..]));
    });
}

#[test]
fn a_stop_lets_calls_end() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        let request = put(b"k", b"v");
        let pieces = [&request[..]];
        let call = client.call(LOCK, &[("grpc-timeout", "1S")], &pieces);
        let mut call = Box::pin(call);
        tokio::select! {
            _ = &mut call => panic!("nothing answers this call"),
            _ = settle() => {}
        }
        server.stop.send(true).unwrap();
        assert_eq!(call.await.code, "4", "the call that was there is answered");
        assert!(client.served.await.unwrap().is_ok());
    });
}

#[test]
fn a_stop_ends_streams_with_a_status() {
    run(async {
        let server = server(Settings::default());
        let mut client = server.connect().await;
        let request = put(b"stay", b"v");
        let pieces = [&request[..]];
        let mut call = Box::pin(client.call(WATCH, &[], &pieces));
        tokio::select! {
            _ = &mut call => panic!("nothing ends this stream"),
            _ = settle() => {}
        }
        server.stop.send(true).unwrap();
        let answer = call.await;
        assert_eq!((&*answer.code, &*answer.message), ("14", "stopped"));
        // The client may have hung up first.
        let ended = client.served.await.unwrap();
        assert!(matches!(ended, Ok(()) | Err(ConnectionError::Io(_) | ConnectionError::Http2(_))), "{ended:?}");
    });
}

#[test]
fn no_bytes_make_it_panic() {
    run(async {
        let server = server(Settings::default());
        // A valid beginning, then noise made from a seed; each connection ends and the server lives on.
        let mut valid = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        valid.extend_from_slice(b"\0\0\x08\x06\0\0\0\0\x0012345678");
        for seed in 1..400u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let (mut socket, served) = server.accept(64 << 10);
            let keep = random() as usize % (valid.len() + 1);
            let mut bytes = valid[..keep].to_vec();
            for _ in 0..random() % 4 {
                // Frames with a plausible header and any payload.
                let length = random() as usize % 40;
                let kind = random() as u8 % 11;
                bytes.extend_from_slice(&[0, 0, length as u8, kind, random() as u8, 0, 0, 0, random() as u8 % 5]);
                bytes.extend((0..length).map(|_| random() as u8));
            }
            let _ = socket.write_all(&bytes).await;
            drop(socket);
            if let Err(error) = served.await {
                panic!("seed {seed}: {error}");
            }
        }
        let mut client = server.connect().await;
        assert_eq!(client.call(PUT, &[], &[&put(b"k", b"v")]).await.code, "0");
    });
}
