//! The end of a server.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::watch_request::RequestUnion;

use crate::server::{Home, run};

#[test]
fn streams_are_told_and_the_signal_is_passed_on() {
    let home = Home::new();
    let mut server = home.start(&[]);
    let begun = run(async {
        let mut client = server.connect().await.0;
        client.ready().await.unwrap();
        let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec = tonic_prost::ProstCodec::<pb::WatchRequest, pb::WatchResponse>::default();
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        requests.send(create).await.unwrap();
        let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut answers = client.streaming(tonic::Request::new(receiver), path, codec).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().unwrap().created);
        let begun = Instant::now();
        server.terminate();
        let end = answers.message().await.unwrap_err();
        assert_eq!((end.code(), end.message()), (tonic::Code::Unavailable, "etcdserver: server stopped"));
        begun
    });
    let (status, said) = server.wait_for_end();
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(status.signal(), Some(rustix::process::Signal::TERM.as_raw()));
    let place = |text: &str| said.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}"));
    let order = [
        "Running: ",
        "Initialize and start etcd server",
        "configuring peer listeners",
        "configuring client listeners",
        "\"msg\":\"starting an etcd server\"",
        "enabled backend quota with default value",
        "kvstore restored",
        "\"msg\":\"starting etcd server\"",
        "now serving peer/client/metrics",
        "serving peer traffic",
        "ready to serve client requests",
        "notifying init daemon",
        "received signal; shutting down",
        "closing etcd server",
        "closed etcd server",
    ];
    let places = order.map(place);
    assert!(places.is_sorted(), "{places:?} in {said:#?}");
}
