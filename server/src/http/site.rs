//! The pages of a listener: from a path to its answer.

use std::fmt;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, Value, lines};
use ferrite_observe::metrics::{Registry, families};
use ferrite_raft::NodeId;
use ferrite_state::ApplyError;
use ferrite_state::cluster::Member;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::answer::{self, JSON, TEXT};
use super::door::FrontDoor;
use super::{gauges, health, query};
use crate::handle::{CallError, Handle};
use crate::membership::{self, ChangeError, PROMOTE_PATH};
use crate::rpc::{Pages, Status};
use crate::version;

const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
const VARIABLES: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");

/// Whom a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Metrics,
}

/// What the pages of one net thread look at.
pub struct Site {
    pub handle: Handle,
    pub metrics: Arc<Registry>,
    pub door: FrontDoor,
    pub logger: Logger,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("door", &self.door).finish_non_exhaustive()
    }
}

impl Site {
    /// The pages for a role.
    pub fn pages(self: &Rc<Self>, role: Role) -> Pages {
        let site = self.clone();
        Rc::new(move |request| {
            let site = site.clone();
            Box::pin(async move {
                match role {
                    Role::Client => site.client(request).await,
                    Role::Metrics => site.metrics_page(&request).await.unwrap_or_else(answer::not_found),
                }
            })
        })
    }

    async fn client(&self, request: Request<()>) -> Response<Bytes> {
        if let Some(refused) = self.door.refuse_host(&request, &self.logger) {
            return refused;
        }
        let origin = self.door.allowed_origin(&request);
        let mut response = if request.method() == Method::OPTIONS {
            Response::new(Bytes::new())
        } else {
            self.client_page(&request).await
        };
        if let Some(origin) = origin {
            FrontDoor::allow_origin(&mut response, origin);
        }
        response
    }

    async fn client_page(&self, request: &Request<()>) -> Response<Bytes> {
        if let Some(response) = self.metrics_page(request).await {
            return response;
        }
        let page = match request.uri().path() {
            "/version" => Site::version,
            "/debug/vars" => Site::variables,
            _ => return answer::not_found(),
        };
        if request.method() == Method::GET { page(self) } else { answer::method_not_allowed() }
    }

    /// Metrics and health, which further listeners may serve alone.
    async fn metrics_page(&self, request: &Request<()>) -> Option<Response<Bytes>> {
        let path = request.uri().path();
        if path == "/metrics" {
            return Some(self.scrape(request));
        }
        let checks = [health::LIVEZ, health::READYZ]
            .into_iter()
            .find_map(|endpoint| endpoint.asked(path).map(|checks| (endpoint, checks)));
        if path != "/health" && checks.is_none() {
            return None;
        }
        if request.method() != Method::GET {
            return Some(answer::method_not_allowed());
        }
        let parameters = query::parameters(request.uri().query());
        Some(match checks {
            Some((endpoint, asked)) => health::checks(self, endpoint, path, asked, &parameters).await,
            None => health::health(self, &parameters).await,
        })
    }

    /// What peers ask for, but for the messages of Raft.
    pub async fn peer(&self, request: &Request<()>) -> Response<Bytes> {
        let path = request.uri().path();
        if let Some(id) = path.strip_prefix(PROMOTE_PATH) {
            return match *request.method() == Method::POST {
                true => self.of_cluster(self.promote(id).await),
                false => answer::only("POST"),
            };
        }
        match path {
            "/version" | "/members" | "/downgrade/enabled" if request.method() != Method::GET => {
                answer::method_not_allowed()
            }
            "/version" => self.version(),
            "/members" => self.members(),
            "/downgrade/enabled" => self.downgrade_enabled().await,
            _ => answer::not_found(),
        }
    }

    /// Whether the cluster is on its way to an older version.
    async fn downgrade_enabled(&self) -> Response<Bytes> {
        if let Err(error) = self.handle.confirm_read_by_member().await {
            let text = format!("failed linearized read: {}", Status::from(error).message);
            return answer::error(StatusCode::INTERNAL_SERVER_ERROR, &text);
        }
        let enabled = self.handle.state().tables().cluster.downgrade().enabled;
        self.of_cluster(answer::answer(StatusCode::OK, TEXT, enabled.to_string()))
    }

    /// Adds which cluster this is.
    fn of_cluster(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        let id = format!("{:x}", self.handle.ids().cluster);
        response.headers_mut().insert(CLUSTER_ID, HeaderValue::try_from(id).expect("hex is a header value"));
        response
    }

    fn scrape(&self, request: &Request<()>) -> Response<Bytes> {
        gauges::refresh(&self.metrics, &self.handle);
        let scrapes = self.metrics.metric(&families::PROMHTTP_METRIC_HANDLER_REQUESTS_IN_FLIGHT, &[]);
        scrapes.add(1.0);
        let mut text = self.metrics.text();
        text.push_str(gauges::NO_GARBAGE_COLLECTION);
        scrapes.add(-1.0);
        self.metrics.metric(&families::PROMHTTP_METRIC_HANDLER_REQUESTS_TOTAL, &["200"]).increment();
        let accepted = request.headers().get(ACCEPT_ENCODING).and_then(|accepted| accepted.to_str().ok());
        let gzip = accepted.is_some_and(|accepted| {
            accepted.split(',').any(|each| each.split(';').next().unwrap_or_default().trim() == "gzip")
        });
        if !gzip {
            return answer::answer(StatusCode::OK, METRICS, text);
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("writing to memory does not fail");
        let body = encoder.finish().expect("writing to memory does not fail");
        let mut response = answer::answer(StatusCode::OK, METRICS, body);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    }

    fn version(&self) -> Response<Bytes> {
        let tables = self.handle.state().tables();
        let cluster = tables.cluster.version().map_or("not_decided".to_owned(), ToString::to_string);
        let storage = tables.cluster.storage_version().map_or("unknown".to_owned(), ToString::to_string);
        let server = version::ETCD;
        let json = format!(r#"{{"etcdserver":"{server}","etcdcluster":"{cluster}","storage":"{storage}"}}"#);
        answer::answer(StatusCode::OK, JSON, json)
    }

    /// All members, as peers ask for them.
    fn members(&self) -> Response<Bytes> {
        self.of_cluster(members(self.handle.state().tables().cluster.members()))
    }

    /// Another member was asked to promote a learner, and does not lead.
    async fn promote(&self, id: &str) -> Response<Bytes> {
        let Ok(node) = id.parse() else {
            return answer::error(StatusCode::NOT_FOUND, &format!("member {id} not found in cluster"));
        };
        let error = match membership::promote(&self.handle, NodeId(node)).await {
            Ok(promoted) => return members(&promoted),
            Err(error) => error,
        };
        log!(self.logger, lines::PROMOTE_FAILED, Id(node), Value::Shown(&error));
        match error {
            ChangeError::Call(CallError::Refused(ApplyError::MemberNotFound)) => {
                answer::error(StatusCode::NOT_FOUND, &error.to_string())
            }
            ChangeError::LearnerNotReady | ChangeError::Call(CallError::Refused(ApplyError::MemberNotLearner)) => {
                answer::error(StatusCode::PRECONDITION_FAILED, &error.to_string())
            }
            _ => answer::answer(StatusCode::INTERNAL_SERVER_ERROR, JSON, r#"{"message":"Internal Server Error"}"#),
        }
    }

    /// What Go's `expvar` shows. There is no Go runtime to tell of here.
    fn variables(&self) -> Response<Bytes> {
        let arguments: Vec<String> = std::env::args().collect();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let progress = self.handle.progress();
        let leader = self.handle.leader();
        let own = self.handle.ids().member.0;
        let raft = serde_json::json!({
            "id": format!("{own:x}"),
            "term": progress.applied_term().0,
            "commit": progress.committed().0,
            "applied": progress.applied().0,
            "lead": format!("{leader:x}"),
            "raftState": if leader == own { "StateLeader" } else { "StateFollower" },
        });
        let variables = [
            ("cmdline", serde_json::json!(arguments)),
            ("file_descriptor_limit", serde_json::json!(limit)),
            ("memstats", serde_json::json!({})),
            ("raft.status", raft),
        ];
        let entries: Vec<String> = variables.iter().map(|(name, value)| format!("{name:?}: {value}")).collect();
        answer::answer(StatusCode::OK, VARIABLES, format!("{{\n{}\n}}\n", entries.join(",\n")))
    }
}

/// Members as JSON, ascending by id.
fn members<'a>(members: impl IntoIterator<Item = &'a Member>) -> Response<Bytes> {
    // As etcd shows them.
    let json = |member: &Member| Member { is_ferrite: false, ..member.clone() }.to_json();
    let members: Vec<String> = members.into_iter().map(json).collect();
    let json = if members.is_empty() { "null\n".to_owned() } else { format!("[{}]\n", members.join(",")) };
    answer::answer(StatusCode::OK, JSON, json)
}
