//! The pages of the peer port that take a body: what other members ask this one as their leader, or to compare.

use bytes::Bytes;
use ferrite_proto::{etcdserverpb as pb, leasepb};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

use crate::handle::{CallError, Handle};
use crate::http::answer::{JSON, answer, error, method_not_allowed};
use crate::leases::{self, KEEP_ALIVE_PATH, LeaseCallError, TIME_TO_LIVE_PATH};

const HASH_KV_PATH: &str = "/members/hashkv";

/// What a question may take.
const MAX_BODY_BYTES: usize = 64 << 10;
/// What is committed has to be applied within this time before a lease is looked at.
const APPLY_TIMEOUT: Duration = Duration::from_secs(1);

const PROTOBUF: HeaderValue = HeaderValue::from_static(leases::CONTENT_TYPE);

/// Whether a path is answered here.
pub(super) fn knows(path: &str) -> bool {
    matches!(path, KEEP_ALIVE_PATH | TIME_TO_LIVE_PATH | HASH_KV_PATH)
}

/// Answers a request for a path that is known.
pub(super) async fn page(request: Request<Incoming>, handle: &Handle) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let is_hash = head.uri.path() == HASH_KV_PATH;
    let method = if is_hash { Method::GET } else { Method::POST };
    if head.method != method {
        return match is_hash {
            true => method_not_allowed(),
            false => error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        };
    }
    let own_cluster = format!("{:x}", handle.ids().cluster);
    let theirs = head.headers.get("x-etcd-cluster-id").map(|id| id.as_bytes() == own_cluster.as_bytes());
    if is_hash && theirs == Some(false) {
        return error(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
    }
    let patience = handle.peers().transport.timeouts().read;
    let body = match timeout(patience, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(refused)) if refused.is::<LengthLimitError>() => {
            return error(StatusCode::PAYLOAD_TOO_LARGE, "request body too large");
        }
        Ok(Err(_)) | Err(_) => return error(StatusCode::BAD_REQUEST, "error reading body"),
    };
    match head.uri.path() {
        KEEP_ALIVE_PATH => keep_alive(body, handle).await,
        TIME_TO_LIVE_PATH => time_to_live(body, handle).await,
        _ => {
            let mut response = hash_kv(&body, handle).await;
            let id = HeaderValue::try_from(own_cluster).expect("hex is a header value");
            response.headers_mut().insert("x-etcd-cluster-id", id);
            response
        }
    }
}

async fn keep_alive(body: Bytes, handle: &Handle) -> Response<Bytes> {
    let Ok(request) = pb::LeaseKeepAliveRequest::decode(body) else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    match in_time(leases::renew_here(handle, request.id)).await {
        // A lease that is gone has no time.
        Ok(0) => no_lease(),
        Ok(ttl) => {
            let response = pb::LeaseKeepAliveResponse { header: None, id: request.id, ttl };
            answer(StatusCode::OK, PROTOBUF, response.encode_to_vec())
        }
        Err(refused) => refused,
    }
}

async fn time_to_live(body: Bytes, handle: &Handle) -> Response<Bytes> {
    let request = leasepb::LeaseInternalRequest::decode(body).ok();
    let Some(request) = request.and_then(|request| request.lease_time_to_live_request) else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    match in_time(leases::time_to_live_here(handle, &request)).await {
        Ok(None) => no_lease(),
        Ok(Some(found)) => {
            let found = pb::LeaseTimeToLiveResponse { header: Some(pb::ResponseHeader::default()), ..found };
            let response = leasepb::LeaseInternalResponse { lease_time_to_live_response: Some(found) };
            answer(StatusCode::OK, PROTOBUF, response.encode_to_vec())
        }
        Err(refused) => refused,
    }
}

fn no_lease() -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, "lease not found")
}

async fn in_time<T>(call: impl Future<Output = Result<T, LeaseCallError>>) -> Result<T, Response<Bytes>> {
    match timeout(APPLY_TIMEOUT, call).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(LeaseCallError::NotPrimary | LeaseCallError::NoLeader)) => {
            Err(error(StatusCode::BAD_REQUEST, "not a primary lessor"))
        }
        Ok(Err(LeaseCallError::Call(CallError::TimedOut))) | Err(_) => {
            let text = "waiting for node to catch up its applied index has timed out";
            Err(error(StatusCode::REQUEST_TIMEOUT, text))
        }
        Ok(Err(LeaseCallError::Call(other))) => {
            let text = crate::rpc::Status::from(other).message;
            Err(error(StatusCode::INTERNAL_SERVER_ERROR, &text))
        }
    }
}

#[derive(Deserialize)]
struct HashRequest {
    #[serde(default)]
    revision: i64,
}

/// As Go writes it: what is zero is left out.
#[derive(Serialize)]
struct Hashed {
    header: HashHeader,
    #[serde(skip_serializing_if = "is_zero")]
    hash: u32,
    #[serde(skip_serializing_if = "is_zero")]
    compact_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    hash_revision: i64,
}

#[derive(Serialize)]
struct HashHeader {
    #[serde(skip_serializing_if = "is_zero")]
    revision: i64,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

async fn hash_kv(body: &[u8], handle: &Handle) -> Response<Bytes> {
    let revision = match serde_json::from_slice::<HashRequest>(body) {
        Ok(request) => request.revision,
        Err(_) => return error(StatusCode::BAD_REQUEST, "error unmarshalling request"),
    };
    let found = match handle.read(move |state| state.keyspace().hash_kv(revision)).await {
        Ok(found) => found,
        Err(stopped) => {
            return error(StatusCode::INTERNAL_SERVER_ERROR, &crate::rpc::Status::from(stopped).message);
        }
    };
    match found {
        Ok(found) => {
            let hashed = Hashed {
                header: HashHeader { revision: handle.state().keyspace().revision() as i64 },
                hash: found.hash,
                compact_revision: found.compact_revision,
                hash_revision: found.revision,
            };
            let json = serde_json::to_string(&hashed).expect("numbers have no keys but strings");
            answer(StatusCode::OK, JSON, json)
        }
        Err(refused) => {
            // The words that members look for stand behind the prefix of clients.
            let text = crate::rpc::Status::from(refused).message;
            error(StatusCode::BAD_REQUEST, text.strip_prefix("etcdserver: ").unwrap_or(&text))
        }
    }
}
