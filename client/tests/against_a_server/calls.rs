//! Unary calls against a server that fails them: which come again, and how they end.

use std::time::Duration;

use crate::fake::{Call, Server, patiently};
use ferrite_client::proto::etcdserverpb::{AuthenticateResponse, LeaseKeepAliveResponse, PutResponse, RangeResponse};
use ferrite_client::{Client, Code, Config, Credentials, Error, Known, Put, Status};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_read_is_repeated_when_the_server_is_unavailable() {
    let mut server = Server::start().await;
    let client = Server::client(&[&server]).await;
    let get = tokio::spawn(async move { client.get("k").await });
    for failure in [Some(Status::unavailable("etcdserver: no leader")), Some(Status::deadline_exceeded("late")), None] {
        let Call::Range(request, answer) = server.call().await else { panic!("a read") };
        assert_eq!(request.key, "k");
        answer.send(failure.map_or(Ok(RangeResponse { count: 5, ..RangeResponse::default() }), Err)).unwrap();
    }
    assert_eq!(patiently(get).await.unwrap().unwrap().count, 5);
}

#[tokio::test]
async fn a_write_that_may_have_been_processed_is_not() {
    let mut server = Server::start().await;
    let client = Server::client(&[&server]).await;
    let put = tokio::spawn(async move { client.put(Put::new("k", "v")).await });
    let (_, _, answer) = server.put().await;
    answer.send(Err(Status::unavailable("etcdserver: no leader"))).unwrap();
    let error = patiently(put).await.unwrap().unwrap_err();
    assert!(error.is(Known::NoLeader), "{error}");
}

#[tokio::test]
async fn a_write_whose_connection_is_lost_fails_and_the_next_one_finds_another() {
    let (first, second) = (Server::start().await, Server::start().await);
    let client = Server::client(&[&first, &second]).await;
    let writer = client.clone();
    let put = tokio::spawn(async move { writer.put(Put::new("k", "v")).await });
    let (mut first, mut second) = (first, second);
    let (call, at_first) = tokio::select! {
        call = first.call() => (call, true),
        call = second.call() => (call, false),
    };
    let (dies, mut lives) = if at_first { (first, second) } else { (second, first) };
    drop((dies, call));
    let error = patiently(put).await.unwrap().unwrap_err();
    assert_ne!(error.code(), Code::Ok);

    for _ in 0..3 {
        let client = client.clone();
        let put = tokio::spawn(async move { client.put(Put::new("k", "v")).await });
        let (_, _, answer) = lives.put().await;
        answer.send(Ok(PutResponse::default())).unwrap();
        patiently(put).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn calls_go_to_the_endpoints_in_turn() {
    let (mut first, mut second) = (Server::start().await, Server::start().await);
    let client = Server::client(&[&first, &second]).await;
    let mut count = [0, 0];
    // Both connections stand once both have been called; from then on the calls alternate.
    for _ in 0..100 {
        let client = client.clone();
        let put = tokio::spawn(async move { client.put(Put::new("k", "v")).await });
        let (call, at) = tokio::select! { call = first.call() => (call, 0), call = second.call() => (call, 1) };
        let Call::Put(_, request, answer) = call else { panic!("a write") };
        assert_eq!((&request.key[..], &request.value[..]), (&b"k"[..], &b"v"[..]));
        answer.send(Ok(PutResponse::default())).unwrap();
        patiently(put).await.unwrap().unwrap();
        count[at] += 1;
    }
    assert!(count[0] >= 20 && count[1] >= 20, "{count:?}");
}

#[tokio::test]
async fn calls_wait_for_a_connection_until_their_deadline() {
    // A port where nothing listens.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::connect(Config::new([address.to_string()])).await.unwrap();
    let error = client.with_timeout(Duration::from_millis(50)).get("k").await.unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
    let Error::DeadlineExceeded { unreachable } = error else { panic!("{error:?}") };
    assert_eq!(unreachable.len(), 1);
    assert_eq!(unreachable[0].endpoint, address.to_string());
    assert!(unreachable[0].why.contains("refused"), "{unreachable:?}");
}

#[tokio::test]
async fn who_accepts_and_does_not_greet_is_dialled_at_leisure() {
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::connect(Config::new([listener.local_addr().unwrap().to_string()])).await.unwrap();
        let client = client.with_timeout(Duration::from_millis(500));
        let put = tokio::spawn(async move { client.put(Put::new("k", "v")).await });
        let mut accepted = 0;
        while !put.is_finished() {
            let Ok(connection) = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await else {
                continue;
            };
            connection.unwrap().0.write_all(answer).await.unwrap();
            accepted += 1;
        }
        let error = put.await.unwrap().unwrap_err();
        assert!(matches!(&error, Error::DeadlineExceeded { .. }), "nothing was sent: {error:?}");
        assert_eq!(error.unreachable().len(), 1, "{error:?}");
        assert!(accepted <= 2, "{accepted} connections");
    }
}

#[tokio::test]
async fn what_contradicts_itself_or_is_too_large_is_refused_here() {
    let error = Client::connect(Config::new([] as [&str; 0])).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdclient: no available endpoints");
    let config = Config { max_send_bytes: Some(9), max_receive_bytes: Some(8), ..Config::new(["h:1"]) };
    let error = Client::connect(config).await.unwrap_err();
    assert_eq!(error.to_string(), "gRPC message recv limit (8 bytes) must be greater than send limit (9 bytes)");
    let config = Config { max_send_bytes: Some(9), ..Config::new(["h:1"]) };
    let error = Client::connect(config).await.unwrap().put(Put::new("k", "123456789")).await.unwrap_err();
    let text = "rpc error: code = ResourceExhausted desc = trying to send message larger than max (14 vs. 9)";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_rejected_token_is_renewed_and_the_call_sent_again() {
    let mut server = Server::start().await;
    let credentials = Some(Credentials { user: "u".into(), password: "p".into() });
    let config = Config { credentials, ..Config::new([server.address.to_string()]) };
    let connecting = tokio::spawn(Client::connect(config));
    authenticate(&mut server, "first").await;
    let client = patiently(connecting).await.unwrap().unwrap();
    let put = tokio::spawn(async move { client.put(Put::new("k", "v")).await });

    let (metadata, _, answer) = server.put().await;
    assert_eq!(metadata.get("token").unwrap(), "first");
    answer.send(Err(Status::unauthenticated("etcdserver: invalid auth token"))).unwrap();
    authenticate(&mut server, "second").await;
    let (metadata, _, answer) = server.put().await;
    assert_eq!(metadata.get("token").unwrap(), "second");
    answer.send(Ok(PutResponse::default())).unwrap();
    patiently(put).await.unwrap().unwrap();
}

async fn authenticate(server: &mut Server, token: &str) {
    let Call::Authenticate(request, answer) = server.call().await else { panic!("an authentication") };
    assert_eq!((request.name.as_str(), request.password.as_str()), ("u", "p"));
    answer.send(Ok(AuthenticateResponse { token: token.into(), ..AuthenticateResponse::default() })).unwrap();
}

#[tokio::test]
async fn a_call_under_way_outlives_a_change_of_endpoints() {
    let (mut first, mut second) = (Server::start().await, Server::start().await);
    let client = Server::client(&[&first]).await;
    let put = |client: Client| tokio::spawn(async move { client.put(Put::new("k", "v")).await });
    let under_way = put(client.clone());
    let (_, _, answer) = first.put().await;
    client.set_endpoints([second.address.to_string()]).unwrap();
    let new = put(client);
    let (_, _, new_answer) = second.put().await;
    for (answer, put) in [(answer, under_way), (new_answer, new)] {
        answer.send(Ok(PutResponse::default())).unwrap();
        patiently(put).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn leases_are_renewed_over_a_new_stream_when_the_old_one_breaks() {
    let mut server = Server::start().await;
    let client = Server::client(&[&server]).await;
    let mut kept = client.keep_alive(7).unwrap();
    let answer = |ttl| Ok(LeaseKeepAliveResponse { id: 7, ttl, ..LeaseKeepAliveResponse::default() });
    // Not answered: asked for again, over the next stream.
    for failure in [Some(Status::unavailable("gone")), None] {
        let Call::KeepAlive(mut call) = server.call().await else { panic!("a stream of renewals") };
        assert_eq!(patiently(call.requests.message()).await.unwrap().unwrap().id, 7);
        if let Some(failure) = failure {
            patiently(call.responses.send(Err(failure))).await.unwrap();
            continue;
        }
        patiently(call.responses.send(answer(60))).await.unwrap();
        assert_eq!(patiently(kept.next()).await.unwrap().ttl, 60);
        patiently(call.responses.send(answer(0))).await.unwrap();
        assert!(patiently(kept.next()).await.is_none(), "the lease is gone");
    }
}
