//! Watches against a server that breaks off: nothing is lost, nothing comes twice.

use crate::fake::{Server, WatchCall, patiently, put, response};
use ferrite_client::proto::etcdserverpb::WatchResponse as Message;
use ferrite_client::{Client, Known, Status, Watch, Watcher};

/// A client with a watch on "k" that stands as number 0 since revision 10.
async fn standing(server: &mut Server) -> (Client, Watcher, WatchCall) {
    let client = Server::client(&[server]).await;
    let (watcher, call) = tokio::join!(client.watch("k"), async {
        let mut call = server.watch().await;
        assert_eq!(call.create_request().await.start_revision, 0);
        call.created(0, 10).await;
        call
    });
    (client, watcher.unwrap(), call)
}

/// The revisions of the next response's events.
async fn next_revisions(watcher: &mut Watcher) -> Vec<i64> {
    let response = patiently(watcher.next()).await.expect("the watch goes on");
    assert!(response.error.is_none(), "{response:?}");
    response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect()
}

/// The error that the watch ends with.
async fn end(watcher: &mut Watcher) -> ferrite_client::Error {
    let response = patiently(watcher.next()).await.expect("the end is announced");
    assert!(patiently(watcher.next()).await.is_none(), "nothing follows the end");
    response.error.expect("the reason is given")
}

#[tokio::test]
async fn a_broken_stream_is_resumed_behind_the_last_event() {
    let mut server = Server::start().await;
    let (_client, mut watcher, call) = standing(&mut server).await;
    call.event(0, 11).await;
    call.event(0, 12).await;
    assert_eq!(next_revisions(&mut watcher).await, [11]);
    assert_eq!(next_revisions(&mut watcher).await, [12]);
    call.fail(Status::unavailable("gone")).await;

    let mut call = server.watch().await;
    assert_eq!(call.create_request().await.start_revision, 13);
    call.created(7, 20).await;
    call.event(7, 13).await;
    assert_eq!(next_revisions(&mut watcher).await, [13]);
}

#[tokio::test]
async fn a_watch_without_events_is_resumed_from_where_it_began_or_has_progressed_to() {
    for (progress, resumed) in [(None, 11), (Some(15), 16)] {
        let mut server = Server::start().await;
        let (_client, mut watcher, call) = standing(&mut server).await;
        if let Some(revision) = progress {
            call.send(response(-1, revision)).await;
            assert!(patiently(watcher.next()).await.unwrap().is_progress());
        }
        call.fail(Status::unavailable("gone")).await;
        assert_eq!(server.watch().await.create_request().await.start_revision, resumed);
    }
}

#[tokio::test]
async fn when_a_member_dies_its_watches_go_on_at_another() {
    let (mut first, mut second) = (Server::start().await, Server::start().await);
    let client = Server::client(&[&first, &second]).await;
    let watch = tokio::spawn(async move { client.watch("k").await.unwrap() });
    let (mut call, at_first) = tokio::select! {
        call = first.watch() => (call, true),
        call = second.watch() => (call, false),
    };
    let (dies, mut lives) = if at_first { (first, second) } else { (second, first) };
    call.create_request().await;
    call.created(0, 10).await;
    call.event(0, 11).await;
    let mut watcher = patiently(watch).await.unwrap();
    assert_eq!(next_revisions(&mut watcher).await, [11]);
    drop((call, dies));
    assert_eq!(lives.watch().await.create_request().await.start_revision, 12);
}

#[tokio::test]
async fn a_response_in_fragments_is_one_and_half_of_it_is_none() {
    let mut server = Server::start().await;
    let (_client, mut watcher, call) = standing(&mut server).await;
    let part = |fragment, events| Message { fragment, events, ..response(0, 12) };
    call.send(part(true, vec![put(11)])).await;
    call.send(part(false, vec![put(12)])).await;
    assert_eq!(next_revisions(&mut watcher).await, [11, 12]);
    call.send(part(true, vec![put(13)])).await;
    call.fail(Status::unavailable("gone")).await;

    let mut call = server.watch().await;
    assert_eq!(call.create_request().await.start_revision, 13);
    call.created(0, 14).await;
    call.event(0, 13).await;
    assert_eq!(next_revisions(&mut watcher).await, [13]);
}

#[tokio::test]
async fn a_slow_reader_is_taken_off_the_server_and_misses_nothing() {
    let mut server = Server::start().await;
    let (_client, mut watcher, mut call) = standing(&mut server).await;
    let mut revision = 10;
    // Until the client says stop, which it does when its queue is full.
    let stopped = loop {
        revision += 1;
        tokio::select! {
            biased;
            stopped = call.cancel_request() => break stopped,
            () = async { tokio::task::yield_now().await } => {}
        }
        call.event(0, revision).await;
    };
    assert_eq!(stopped, 0);
    call.send(Message { canceled: true, ..response(0, revision) }).await;
    let (mut seen, mut call) = (Vec::new(), call);
    let resumed = loop {
        tokio::select! {
            revisions = next_revisions(&mut watcher) => seen.extend(revisions),
            request = call.create_request() => break request.start_revision,
        }
    };
    assert_eq!(seen, (11..resumed).collect::<Vec<_>>(), "all up to where it was asked for again");
    call.created(1, revision).await;
    call.event(1, resumed).await;
    assert_eq!(next_revisions(&mut watcher).await, [resumed]);
}

#[tokio::test]
async fn watches_share_a_stream_and_are_created_one_at_a_time() {
    let mut server = Server::start().await;
    let client = Server::client(&[&server]).await;
    let creating =
        [client.clone(), client.clone()].map(|client| tokio::spawn(async move { client.watch("k").await.unwrap() }));
    let mut call = server.watch().await;
    call.create_request().await;
    tokio::select! {
        biased;
        _ = call.create_request() => panic!("the first is not answered yet"),
        () = tokio::task::yield_now() => {}
    }
    call.created(0, 10).await;
    call.create_request().await;
    call.created(1, 10).await;
    let mut watchers = Vec::new();
    for watcher in creating {
        watchers.push(patiently(watcher).await.unwrap());
    }
    call.send(response(-1, 12)).await;
    for watcher in &mut watchers {
        assert!(patiently(watcher.next()).await.unwrap().is_progress(), "progress is for all of them");
    }
    // Whoever is dropped is cancelled, and the others go on.
    drop(watchers.pop());
    call.cancel_request().await;
}

#[tokio::test]
async fn the_end_comes_with_its_reason() {
    let canceled = |compact_revision, cancel_reason: &str| Message {
        canceled: true,
        compact_revision,
        cancel_reason: cancel_reason.into(),
        ..response(0, 20)
    };
    for (message, known) in
        [(canceled(15, ""), Known::Compacted), (canceled(0, "etcdserver: permission denied"), Known::PermissionDenied)]
    {
        let mut server = Server::start().await;
        let (_client, mut watcher, call) = standing(&mut server).await;
        call.send(message).await;
        assert!(end(&mut watcher).await.is(known), "{known:?}");
    }
    for (status, text) in [
        (Status::unavailable("etcdserver: no leader"), "etcdserver: no leader"),
        (Status::permission_denied("no"), "rpc error: code = PermissionDenied desc = no"),
    ] {
        let mut server = Server::start().await;
        let (_client, mut watcher, call) = standing(&mut server).await;
        call.fail(status).await;
        assert_eq!(end(&mut watcher).await.to_string(), text);
    }
}

#[tokio::test]
async fn a_refused_watch_says_why() {
    let mut server = Server::start().await;
    let client = Server::client(&[&server]).await;
    let watch = tokio::spawn(async move { client.with_require_leader().watch(Watch::new("b").range("a")).await });
    let mut call = server.watch().await;
    assert_eq!(call.metadata.get("hasleader").unwrap(), "true");
    assert_eq!(call.metadata.get("client-api-version").unwrap(), "3.7");
    call.create_request().await;
    let reason = "mvcc: watcher range is empty".to_string();
    call.send(Message { created: true, canceled: true, cancel_reason: reason, ..response(-1, 10) }).await;
    let mut watcher = patiently(watch).await.unwrap().unwrap();
    let error = end(&mut watcher).await;
    assert_eq!(error.to_string(), "mvcc: watcher range is empty");
}
