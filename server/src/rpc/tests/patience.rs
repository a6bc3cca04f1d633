//! Clients that begin and do not end, or ask and do not take: what they hold is bounded, and so is for how long.

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use tokio::time::Instant;

use super::*;

fn server_with_partial(bytes: usize) -> Server {
    server_of(|router, pages| {
        Service::new(Some(router), Some(pages), Settings::default(), Arc::default()).with_partial(bytes)
    })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Client {
    /// Begins a call with some bytes, and does not end it.
    async fn begin(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        bytes: &[u8],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(Self::request(path, headers), false).unwrap();
        if !bytes.is_empty() {
            stream.send_data(Bytes::copy_from_slice(bytes), false).unwrap();
        }
        (response, stream)
    }
}

async fn code(response: ResponseFuture) -> String {
    let (head, mut body) = response.await.unwrap().into_parts();
    while let Some(data) = body.data().await {
        data.unwrap();
    }
    let trailers = body.trailers().await.unwrap_or_default().unwrap_or_default();
    let code = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
    code.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_request_that_does_not_end_is_given_up() {
    run(async {
        let server = server(Settings::default());
        let client = server.connect().await;
        let whole = put(b"k", &[7; 1000]);
        for path in [PUT, LOCK] {
            for begun in [0, 3, 5, 500] {
                let started = Instant::now();
                let (response, _stream) = client.begin(path, &[], &whole[..begun]).await;
                assert_eq!(code(response).await, "4", "{begun} bytes");
                assert_eq!(started.elapsed().as_secs(), 120);
            }
        }
        assert_eq!(server.waiting.get(), 0);
        // One that is sent slowly, but to its end, is served.
        let (response, mut stream) = client.begin(PUT, &[], &whole[..100]).await;
        for (number, piece) in whole[100..].chunks(100).enumerate() {
            tokio::time::sleep(seconds(10)).await;
            stream.send_data(Bytes::copy_from_slice(piece), number == 9).unwrap();
        }
        assert_eq!(code(response).await, "0");
    });
}

#[test]
fn a_stream_may_be_silent_but_not_in_the_middle_of_a_message() {
    run(async {
        let server = server(Settings::default());
        let client = server.connect().await;
        let message = put(b"k", b"v");
        let (response, mut stream) = client.begin(WATCH, &[], &message).await;
        let mut echoes = response.await.unwrap().into_body();
        assert_eq!(echoes.data().await.unwrap().unwrap(), message);
        tokio::time::sleep(seconds(3600)).await;
        stream.send_data(message.clone().into(), false).unwrap();
        assert_eq!(echoes.data().await.unwrap().unwrap(), message);
        // A whole one and the beginning of another: the first is answered, and what follows must come.
        let more = [&message[..], &message[..6]].concat();
        stream.send_data(more.into(), false).unwrap();
        assert_eq!(echoes.data().await.unwrap().unwrap(), message);
        let since = Instant::now();
        assert!(echoes.data().await.is_none());
        assert_eq!(echoes.trailers().await.unwrap().unwrap()["grpc-status"], "4");
        assert_eq!(since.elapsed().as_secs(), 120);
    });
}

#[test]
fn requests_that_have_not_ended_are_bounded_together() {
    run(async {
        let server = server_with_partial(40 << 10);
        let (one, other) = (server.connect().await, server.connect().await);
        let mut waiting = Vec::new();
        for number in 0..10 {
            waiting.push(if number % 2 == 0 { &one } else { &other }.begin(PUT, &[], b"").await);
        }
        settle().await;
        assert_eq!(code(one.begin(PUT, &[], b"").await.0).await, "8");
        // What is complete when it comes needs no room.
        let whole = put(b"k", b"v");
        let (response, mut stream) = one.begin(PUT, &[], &whole).await;
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(code(response).await, "0");
        // One that ends, and one that is given up, make room for two.
        let (response, mut stream) = waiting.pop().unwrap();
        stream.send_data(whole.into(), true).unwrap();
        assert_eq!(code(response).await, "0");
        waiting.pop().unwrap().1.send_reset(Reason::CANCEL);
        settle().await;
        waiting.push(other.begin(PUT, &[], b"").await);
        waiting.push(one.begin(PUT, &[], b"").await);
        settle().await;
        assert_eq!(code(one.begin(PUT, &[], b"").await.0).await, "8");
    });
}

#[test]
fn a_stream_counts_for_what_it_holds_now() {
    run(async {
        let server = server_with_partial(40 << 10);
        let client = server.connect().await;
        let message = put(b"k", b"v");
        let (begins, ends) = message.split_at(6);
        let (response, mut stream) = client.begin(WATCH, &[], &[&message, begins].concat()).await;
        let mut echoes = response.await.unwrap().into_body();
        // From here on there is always a message that has begun.
        for number in 0..1000 {
            let echo = echoes.data().await.unwrap_or_else(|| panic!("refused after {number} messages"));
            assert_eq!(echo.unwrap(), message);
            let sent = stream.send_data([ends, begins].concat().into(), false);
            assert!(sent.is_ok(), "refused after {number} messages");
        }
        for _ in 0..9 {
            let (response, mut stream) = client.begin(PUT, &[], begins).await;
            settle().await;
            stream.send_data(Bytes::copy_from_slice(ends), true).unwrap();
            assert_eq!(code(response).await, "0");
        }
    });
}

#[test]
fn the_first_frame_of_a_request_counts() {
    const FRAME_BYTES: usize = 16 << 10;
    run(async {
        let server = server_with_partial(10 * (FRAME_BYTES + (4 << 10)));
        let client = server.connect().await;
        let whole = put(b"k", &[7; 20_000]);
        let (begins, ends) = whole.split_at(FRAME_BYTES);
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.push(client.begin(PUT, &[], begins).await);
        }
        settle().await;
        assert_eq!(code(client.begin(PUT, &[], begins).await.0).await, "8");
        for (response, mut stream) in waiting {
            stream.send_data(Bytes::copy_from_slice(ends), true).unwrap();
            assert_eq!(code(response).await, "0");
        }
    });
}

#[test]
fn what_follows_a_message_in_its_frame_counts() {
    run(async {
        let server = server_with_partial(40 << 10);
        let client = server.connect().await;
        // The handler does not ask for what follows.
        let bytes = [put(b"stay", b""), vec![0; 10 << 10]].concat();
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(client.begin(WATCH, &[], &bytes).await);
        }
        settle().await;
        assert_eq!(code(client.begin(WATCH, &[], &bytes).await.0).await, "8");
        streams.pop().unwrap().1.send_reset(Reason::CANCEL);
        settle().await;
        let (response, mut stream) = client.begin(PUT, &[], &put(b"k", b"v")[..6]).await;
        settle().await;
        stream.send_data(Bytes::copy_from_slice(&put(b"k", b"v")[6..]), true).unwrap();
        assert_eq!(code(response).await, "0");
    });
}

#[test]
fn long_headers_are_bounded_together() {
    let long = "x".repeat(30 << 10);
    check_long_headers(LOCK, &[("token", &long)]);
    check_long_headers(&format!("{LOCK}?{long}"), &[]);
}

fn check_long_headers(path: &str, headers: &[(&'static str, &str)]) {
    run(async {
        let server = server_with_partial(100 << 10);
        let client = server.connect().await;
        let request = put(b"k", b"v");
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(client.begin(path, headers, &request).await);
        }
        settle().await;
        assert_eq!(server.waiting.get(), 3);
        let (refused, _stream) = client.begin(path, headers, &request).await;
        settle().await;
        assert_eq!(server.waiting.get(), 3);
        assert_eq!(refused.await.unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
        // Others go on, and so does the next when one of these has gone.
        client.begin(LOCK, &[], &request).await.1.send_data(Bytes::new(), true).unwrap();
        calls.pop().unwrap().1.send_reset(Reason::CANCEL);
        settle().await;
        let (_response, _stream) = client.begin(path, headers, &request).await;
        settle().await;
        assert_eq!(server.waiting.get(), 3);
    });
}

const LARGE: &[u8] = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn a_page_over_http1_must_be_taken() {
    run(async {
        let server = server(Settings::default());
        for takes in [0, 1000] {
            let (mut socket, served) = server.accept(4 << 10);
            socket.write_all(LARGE).await.unwrap();
            let started = Instant::now();
            // One takes nothing, the other a little now and then.
            let taking = spawn_local(async move {
                let mut some = vec![0; takes];
                while takes > 0 && socket.read_exact(&mut some).await.is_ok() {
                    tokio::time::sleep(seconds(5)).await;
                }
                std::future::pending::<()>().await;
            });
            let ended = served.await.unwrap();
            assert!(matches!(ended, Err(ConnectionError::Http1(_))), "{ended:?}");
            assert!((60..70).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
            taking.abort();
        }
    });
}

#[test]
fn pages_over_http1_that_nobody_takes_are_bounded_together() {
    run(async {
        let budget = Arc::new(Budget::new(3 << 20, 64 << 10));
        let server = server_with(Settings::default(), budget);
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let (mut socket, served) = server.accept(4 << 10);
            socket.write_all(LARGE).await.unwrap();
            sockets.push((socket, served));
        }
        settle().await;
        let answer = async |socket: &mut DuplexStream| {
            socket.write_all(LARGE).await.unwrap();
            let mut answer = vec![0; 12];
            socket.read_exact(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        assert_eq!(answer(&mut server.accept(4 << 10).0).await, "HTTP/1.1 503");
        // One is taken: its connection stays, and holds nothing.
        let (taken, _) = &mut sockets[0];
        let mut page = vec![0; LARGE_PAGE_BYTES];
        taken.read_exact(&mut page).await.unwrap();
        while !page.ends_with(b"xxxx") || taken.read_buf(&mut page).await.unwrap() == 4 << 10 {}
        settle().await;
        assert_eq!(answer(&mut server.accept(4 << 10).0).await, "HTTP/1.1 200");
    });
}

#[test]
fn a_page_over_http2_must_be_taken() {
    run(async {
        let server = server(Settings::default());
        let client = server.connect().await;
        let request = Request::get("http://server/large").body(()).unwrap();
        let (response, _) = client.send.clone().ready().await.unwrap().send_request(request, true).unwrap();
        let mut body: RecvStream = response.await.unwrap().into_body();
        let started = Instant::now();
        let error = loop {
            // The window is opened by a little each time.
            match body.data().await.expect("the page is incomplete") {
                Ok(data) => body.flow_control().release_capacity(data.len().min(1000)).unwrap(),
                Err(error) => break error,
            }
            tokio::time::sleep(seconds(5)).await;
        };
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        assert!((60..100).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    });
}

#[test]
fn a_request_over_http1_that_does_not_end_is_given_up() {
    run(async {
        let server = server(Settings::default());
        for (begun, after) in [("G", 120), ("GET ", 300), ("GET /health HTTP/1.1\r\nhost: x\r\n", 300)] {
            let (mut socket, served) = server.accept(4 << 10);
            let started = Instant::now();
            socket.write_all(begun.as_bytes()).await.unwrap();
            let _ = served.await.unwrap();
            assert_eq!(started.elapsed().as_secs(), after, "{begun:?}");
        }
        // Pages take no body: one that does not come is not waited for.
        let (mut socket, served) = server.accept(4 << 10);
        socket.write_all(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("POST /x"), "{answer}");
        served.await.unwrap().unwrap();
    });
}

#[test]
fn a_connection_must_begin_but_may_be_idle() {
    run(async {
        let server = server(Settings::default());
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for begun in [&b""[..], b"P", &PREFACE[..20], PREFACE, &[PREFACE, &[0, 0, 0, 4]].concat()] {
            let (mut socket, served) = server.accept(4 << 10);
            let started = Instant::now();
            socket.write_all(begun).await.unwrap();
            let ended = served.await.unwrap();
            assert!(matches!(ended, Err(ConnectionError::Setup)), "{ended:?}");
            assert_eq!(started.elapsed().as_secs(), 120, "{begun:?}");
        }
        // With its settings it has begun.
        let (mut socket, served) = server.accept(4 << 10);
        socket.write_all(&[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await.unwrap();
        tokio::time::sleep(seconds(3600)).await;
        assert!(!served.is_finished());
    });
}
