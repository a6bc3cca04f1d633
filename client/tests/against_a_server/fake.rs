//! A server that does what a test says, message by message.

use std::net::SocketAddr;
use std::time::Duration;

use ferrite_client::proto::etcdserverpb::*;
use ferrite_client::proto::mvccpb::{Event, KeyValue, event::EventType};
use ferrite_client::{Client, Config};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use stubs::auth_server::AuthServer;
use stubs::kv_server::KvServer;
use stubs::lease_server::LeaseServer;
use stubs::watch_server::WatchServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming};

#[allow(missing_debug_implementations, clippy::all)]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/server/etcdserverpb.rs"));
}

/// Nothing that a test waits for may take longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A call that the server has got, to be answered by the test.
#[derive(Debug)]
pub enum Call {
    Range(RangeRequest, oneshot::Sender<Result<RangeResponse, Status>>),
    Authenticate(AuthenticateRequest, oneshot::Sender<Result<AuthenticateResponse, Status>>),
    KeepAlive(KeepAliveCall),
    Put(Metadata, PutRequest, oneshot::Sender<Result<PutResponse, Status>>),
    Watch(WatchCall),
}

pub type Metadata = tonic::metadata::MetadataMap;

/// A stream of lease renewals, seen from the server.
#[derive(Debug)]
pub struct KeepAliveCall {
    pub requests: Streaming<LeaseKeepAliveRequest>,
    pub responses: mpsc::Sender<Result<LeaseKeepAliveResponse, Status>>,
}

/// A watch stream, seen from the server.
#[derive(Debug)]
pub struct WatchCall {
    pub metadata: Metadata,
    requests: Streaming<WatchRequest>,
    responses: mpsc::Sender<Result<WatchResponse, Status>>,
}

/// A server on a port of its own. Dropping it closes its connections.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub calls: mpsc::Receiver<Call>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Service(mpsc::Sender<Call>);

impl Server {
    pub async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::channel(16);
        let service = Service(sender);
        Server { address, calls, task: tokio::spawn(serve(listener, service)) }
    }

    /// The next call, which has to be a write; and what to answer it with.
    pub async fn put(&mut self) -> (Metadata, PutRequest, oneshot::Sender<Result<PutResponse, Status>>) {
        match self.call().await {
            Call::Put(metadata, request, answer) => (metadata, request, answer),
            other => panic!("expected a write, got {other:?}"),
        }
    }

    pub async fn client(servers: &[&Server]) -> Client {
        let endpoints = servers.iter().map(|server| server.address.to_string());
        Client::connect(Config::new(endpoints)).await.unwrap()
    }

    pub async fn call(&mut self) -> Call {
        patiently(self.calls.recv()).await.expect("the server is up")
    }

    pub async fn watch(&mut self) -> WatchCall {
        match self.call().await {
            Call::Watch(call) => call,
            other => panic!("expected a watch, got {other:?}"),
        }
    }
}

pub async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// Serves one connection after the other, each in a task of its own; all of them end with this one.
async fn serve(listener: TcpListener, service: Service) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service.clone();
        let answer = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let service = service.clone();
            async move {
                match request.uri().path().split('/').nth(1) {
                    Some("etcdserverpb.Watch") => WatchServer::new(service).call(request).await,
                    Some("etcdserverpb.Auth") => AuthServer::new(service).call(request).await,
                    Some("etcdserverpb.Lease") => LeaseServer::new(service).call(request).await,
                    _ => KvServer::new(service).call(request).await,
                }
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
        connections.spawn(connection);
    }
}

impl WatchCall {
    /// The next request, which has to be for a watch.
    pub async fn create_request(&mut self) -> WatchCreateRequest {
        match self.request().await {
            watch_request::RequestUnion::CreateRequest(request) => request,
            other => panic!("expected a create request, got {other:?}"),
        }
    }

    /// The next request, which has to end a watch.
    pub async fn cancel_request(&mut self) -> i64 {
        match self.request().await {
            watch_request::RequestUnion::CancelRequest(request) => request.watch_id,
            other => panic!("expected a cancel request, got {other:?}"),
        }
    }

    async fn request(&mut self) -> watch_request::RequestUnion {
        patiently(self.requests.message()).await.unwrap().expect("the stream is open").request_union.unwrap()
    }

    pub async fn send(&self, response: WatchResponse) {
        patiently(self.responses.send(Ok(response))).await.unwrap();
    }

    pub async fn created(&self, watch_id: i64, revision: i64) {
        self.send(WatchResponse { created: true, ..response(watch_id, revision) }).await;
    }

    pub async fn event(&self, watch_id: i64, revision: i64) {
        self.send(WatchResponse { events: vec![put(revision)], ..response(watch_id, revision) }).await;
    }

    /// Breaks the stream off.
    pub async fn fail(self, status: Status) {
        patiently(self.responses.send(Err(status))).await.unwrap();
    }
}

pub fn response(watch_id: i64, revision: i64) -> WatchResponse {
    let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
    WatchResponse { watch_id, header, ..WatchResponse::default() }
}

/// A put of "k" at `revision`.
pub fn put(revision: i64) -> Event {
    let kv = KeyValue { key: "k".into(), mod_revision: revision, ..KeyValue::default() };
    Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: None }
}

#[tonic::async_trait]
impl stubs::watch_server::Watch for Service {
    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<tonic::codegen::BoxStream<WatchResponse>>, Status> {
        let (responses, sent) = mpsc::channel(1);
        let metadata = request.metadata().clone();
        let call = WatchCall { metadata, requests: request.into_inner(), responses };
        self.0.send(Call::Watch(call)).await.map_err(|_| Status::aborted("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }
}

impl Service {
    async fn ask<A>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<A, Status>>) -> Call,
    ) -> Result<Response<A>, Status> {
        let over = || Status::aborted("the test is over");
        let (answer, answered) = oneshot::channel();
        self.0.send(call(answer)).await.map_err(|_| over())?;
        answered.await.map_err(|_| over())?.map(Response::new)
    }
}

#[tonic::async_trait]
impl stubs::kv_server::Kv for Service {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        self.ask(|answer| Call::Range(request.into_inner(), answer)).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let metadata = request.metadata().clone();
        self.ask(|answer| Call::Put(metadata, request.into_inner(), answer)).await
    }
}

#[tonic::async_trait]
impl stubs::auth_server::Auth for Service {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.ask(|answer| Call::Authenticate(request.into_inner(), answer)).await
    }
}

#[tonic::async_trait]
impl stubs::lease_server::Lease for Service {
    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<tonic::codegen::BoxStream<LeaseKeepAliveResponse>>, Status> {
        let (responses, sent) = mpsc::channel(1);
        let call = KeepAliveCall { requests: request.into_inner(), responses };
        self.0.send(Call::KeepAlive(call)).await.map_err(|_| Status::aborted("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }
}
