//! gRPC as a caller needs it: length-prefixed messages over the `h2` crate, and nothing between.
//!
//! A `Connection` is a handle on one HTTP/2 connection, cheap to clone. Everything runs on one thread: what drives the
//! connections is spawned on the thread's `LocalSet`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use std::marker::PhantomData;
use tokio::net::TcpStream;

/// An RPC: its path and the types of its messages.
#[derive(Debug)]
pub struct Rpc<Q, A> {
    path: &'static str,
    messages: PhantomData<fn(Q) -> A>,
}

impl<Q, A> Rpc<Q, A> {
    pub const fn at(path: &'static str) -> Self {
        Rpc { path, messages: PhantomData }
    }
}

/// The RPCs that load is made of.
pub mod rpc {
    use super::Rpc;
    use ferrite_proto::etcdserverpb::*;

    pub const RANGE: Rpc<RangeRequest, RangeResponse> = Rpc::at("/etcdserverpb.KV/Range");
    pub const RANGE_STREAM: Rpc<RangeRequest, RangeStreamResponse> = Rpc::at("/etcdserverpb.KV/RangeStream");
    pub const PUT: Rpc<PutRequest, PutResponse> = Rpc::at("/etcdserverpb.KV/Put");
    pub const DELETE_RANGE: Rpc<DeleteRangeRequest, DeleteRangeResponse> = Rpc::at("/etcdserverpb.KV/DeleteRange");
    pub const TXN: Rpc<TxnRequest, TxnResponse> = Rpc::at("/etcdserverpb.KV/Txn");
    pub const COMPACT: Rpc<CompactionRequest, CompactionResponse> = Rpc::at("/etcdserverpb.KV/Compact");
    pub const WATCH: Rpc<WatchRequest, WatchResponse> = Rpc::at("/etcdserverpb.Watch/Watch");
    pub const LEASE_GRANT: Rpc<LeaseGrantRequest, LeaseGrantResponse> = Rpc::at("/etcdserverpb.Lease/LeaseGrant");
    pub const LEASE_REVOKE: Rpc<LeaseRevokeRequest, LeaseRevokeResponse> = Rpc::at("/etcdserverpb.Lease/LeaseRevoke");
    pub const LEASE_KEEP_ALIVE: Rpc<LeaseKeepAliveRequest, LeaseKeepAliveResponse> =
        Rpc::at("/etcdserverpb.Lease/LeaseKeepAlive");
    pub const LEASE_TIME_TO_LIVE: Rpc<LeaseTimeToLiveRequest, LeaseTimeToLiveResponse> =
        Rpc::at("/etcdserverpb.Lease/LeaseTimeToLive");
    pub const LEASE_LEASES: Rpc<LeaseLeasesRequest, LeaseLeasesResponse> = Rpc::at("/etcdserverpb.Lease/LeaseLeases");
    pub const STATUS: Rpc<StatusRequest, StatusResponse> = Rpc::at("/etcdserverpb.Maintenance/Status");
    pub const MEMBER_ADD: Rpc<MemberAddRequest, MemberAddResponse> = Rpc::at("/etcdserverpb.Cluster/MemberAdd");
    pub const MEMBER_REMOVE: Rpc<MemberRemoveRequest, MemberRemoveResponse> =
        Rpc::at("/etcdserverpb.Cluster/MemberRemove");
    pub const HASH_KV: Rpc<HashKvRequest, HashKvResponse> = Rpc::at("/etcdserverpb.Maintenance/HashKV");
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The server's answer was this status.
    Status { code: u32, message: String },
    /// No answer came, so that nobody knows whether the request was carried out.
    Broken(String),
}

impl CallError {
    pub fn says(&self, text: &str) -> bool {
        matches!(self, CallError::Status { message, .. } if message.contains(text))
    }

    fn broken(error: impl std::fmt::Display) -> CallError {
        CallError::Broken(error.to_string())
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Status { code, message } => write!(f, "rpc error: code = {code} desc = {message}"),
            CallError::Broken(reason) => write!(f, "connection broken: {reason}"),
        }
    }
}

/// Bytes a stream may send us unread: a list of 10,000 keys comes without a pause, and a stalled reader still stops its server.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    authority: String,
}

impl Connection {
    /// Connects to `host:port`, with or without `http://` before it.
    pub async fn open(endpoint: &str) -> Result<Connection, CallError> {
        let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint).to_owned();
        let socket = TcpStream::connect(&authority).await.map_err(CallError::broken)?;
        socket.set_nodelay(true).map_err(CallError::broken)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(socket)
            .await
            .map_err(CallError::broken)?;
        // Its error, if any, is also that of every call on the connection.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Connection { requests, authority })
    }

    /// One request, one answer.
    pub async fn call<Q: Message, A: Message + Default>(&self, rpc: Rpc<Q, A>, request: &Q) -> Result<A, CallError> {
        let mut stream = self.stream(rpc).await?;
        stream.sender.send_last(request)?;
        let answer = stream.next().await?;
        match (answer, stream.next().await?) {
            (Some(answer), None) => Ok(answer),
            _ => Err(CallError::Broken("not exactly one message in the answer".to_owned())),
        }
    }

    /// Opens a stream in both directions.
    pub async fn stream<Q: Message, A: Message + Default>(&self, rpc: Rpc<Q, A>) -> Result<Stream<Q, A>, CallError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(self.authority.as_str())
            .path_and_query(rpc.path)
            .build()
            .map_err(CallError::broken)?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        let mut requests = self.requests.clone().ready().await.map_err(CallError::broken)?;
        let (response, sender) = requests.send_request(request, false).map_err(CallError::broken)?;
        Ok(Stream {
            sender: Sender { stream: sender, message: PhantomData },
            answers: Answers::Awaited(response),
            buffer: BytesMut::new(),
            message: PhantomData,
        })
    }
}

/// The half of a stream that sends. Dropping it cancels the stream only once the receiving half is gone too.
#[derive(Debug)]
pub struct Sender<Q> {
    stream: SendStream<Bytes>,
    message: PhantomData<fn(Q)>,
}

impl<Q: Message> Sender<Q> {
    pub fn send(&mut self, request: &Q) -> Result<(), CallError> {
        self.stream.send_data(frame(request), false).map_err(CallError::broken)
    }

    pub fn send_last(&mut self, request: &Q) -> Result<(), CallError> {
        self.stream.send_data(frame(request), true).map_err(CallError::broken)
    }
}

fn frame(message: &impl Message) -> Bytes {
    let bytes = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + bytes);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(bytes).expect("a request below 4 GiB"));
    message.encode(&mut frame).expect("room was reserved");
    frame.freeze()
}

#[derive(Debug)]
enum Answers {
    Awaited(h2::client::ResponseFuture),
    Coming(RecvStream),
    Ended,
}

/// A stream: `sender` for requests, `next` for answers.
#[derive(Debug)]
pub struct Stream<Q, A> {
    pub sender: Sender<Q>,
    answers: Answers,
    buffer: BytesMut,
    message: PhantomData<fn() -> A>,
}

impl<Q, A: Message + Default> Stream<Q, A> {
    /// The next message, or none when the server has ended the stream with OK.
    pub async fn next(&mut self) -> Result<Option<A>, CallError> {
        if let Answers::Awaited(response) = &mut self.answers {
            let response = response.await.map_err(CallError::broken)?;
            if response.headers().contains_key("grpc-status") {
                self.answers = Answers::Ended;
                return status(response.headers()).map(|()| None);
            }
            self.answers = Answers::Coming(response.into_body());
        }
        let Answers::Coming(body) = &mut self.answers else { return Ok(None) };
        loop {
            if let Some(message) = take_message(&mut self.buffer)? {
                return A::decode(message).map(Some).map_err(CallError::broken);
            }
            match body.data().await {
                Some(data) => {
                    let data = data.map_err(CallError::broken)?;
                    body.flow_control().release_capacity(data.len()).map_err(CallError::broken)?;
                    self.buffer.extend_from_slice(&data);
                }
                None => {
                    let trailers = body.trailers().await.map_err(CallError::broken)?;
                    self.answers = Answers::Ended;
                    return status(&trailers.unwrap_or_default()).map(|()| None);
                }
            }
        }
    }
}

fn take_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, CallError> {
    if buffer.len() < 5 {
        return Ok(None);
    }
    if buffer[0] != 0 {
        return Err(CallError::Broken("a compressed message, though no compression was offered".to_owned()));
    }
    let bytes = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
    if buffer.len() < 5 + bytes {
        buffer.reserve(5 + bytes - buffer.len());
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(bytes).freeze()))
}

fn status(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    match text("grpc-status").and_then(|code| code.parse().ok()) {
        Some(0) => Ok(()),
        Some(code) => {
            Err(CallError::Status { code, message: percent_decoded(text("grpc-message").unwrap_or_default()) })
        }
        None => Err(CallError::Broken("an answer without grpc-status".to_owned())),
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrite_proto::etcdserverpb::PutRequest;

    #[test]
    fn messages_come_out_of_any_cut() {
        let requests: Vec<PutRequest> = ["a", "", "ccc"]
            .iter()
            .map(|k| PutRequest { key: Bytes::from_static(k.as_bytes()), ..Default::default() })
            .collect();
        let wire: Vec<u8> = requests.iter().flat_map(frame).collect();
        for cut in 1..wire.len() {
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            for part in wire.chunks(cut) {
                buffer.extend_from_slice(part);
                while let Some(message) = take_message(&mut buffer).unwrap() {
                    seen.push(PutRequest::decode(message).unwrap());
                }
            }
            assert_eq!(seen, requests, "cut every {cut} bytes");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_status_is_read_from_its_headers() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect::<HeaderMap>()
        };
        assert_eq!(status(&headers(&[("grpc-status", "0")])), Ok(()));
        let error = CallError::Status { code: 11, message: "a b%".to_owned() };
        assert_eq!(status(&headers(&[("grpc-status", "11"), ("grpc-message", "a%20b%")])), Err(error));
        assert!(matches!(status(&headers(&[])), Err(CallError::Broken(_))));
    }
}
