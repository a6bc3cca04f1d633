//! The counters of gRPC: calls and messages by method, and the log line of a call that took long.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ferrite_observe::log;
use ferrite_observe::log::{GoTime, Level, Logger, lines};
use ferrite_observe::metrics::{Counter, Histogram, Registry, families};

use super::caller::Caller;
use super::reply::{PREFIX_BYTES, Reply};
use super::status::Code;

/// Versions of clients that are told apart. More count as unknown: their names are the clients' choice.
const CLIENT_VERSIONS: usize = 64;
const UNKNOWN_VERSION: &str = "unknown";

/// What is told of calls beyond counting them.
#[derive(Clone, Debug)]
pub struct Observing {
    /// Histograms of handling times (`--metrics=extensive`).
    pub extensive: bool,
    /// Unary calls that take longer are logged (`--warning-unary-request-duration`).
    pub slow_after: Duration,
    pub logger: Logger,
}

/// How many messages each side of a method sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Unary,
    ServerStream,
    BidiStream,
}

impl Shape {
    fn label(self) -> &'static str {
        match self {
            Shape::Unary => "unary",
            Shape::ServerStream => "server_stream",
            Shape::BidiStream => "bidi_stream",
        }
    }
}

/// What is counted of one method.
pub(super) struct Meter {
    pub started: Counter,
    pub received: Counter,
    pub sent: Counter,
    /// Bytes of messages, as they are before they are compressed; of all methods.
    received_bytes: Counter,
    sent_bytes: Counter,
    handled: [Counter; Code::ALL.len()],
    handling: Option<Histogram>,
    clients: Clients,
    path: &'static str,
    shape: Shape,
    observing: Observing,
}

/// A call that is being carried through.
pub(super) struct Begun {
    at: Instant,
    remote: Option<SocketAddr>,
    request_bytes: Cell<usize>,
}

impl Begun {
    pub fn request_is(&self, bytes: usize) {
        self.request_bytes.set(bytes);
    }
}

/// Calls by the version that the client says it speaks. Most clients of a method speak the same: that is looked at first.
struct Clients {
    registry: Arc<Registry>,
    kind: &'static str,
    seen: RefCell<Vec<(Vec<u8>, Counter)>>,
}

impl Clients {
    fn count(&self, version: &[u8]) {
        let mut seen = self.seen.borrow_mut();
        if let Some((_, counter)) = seen.iter().find(|(each, _)| each == version) {
            return counter.increment();
        }
        let name = std::str::from_utf8(version).unwrap_or(UNKNOWN_VERSION);
        let is_new = seen.len() < CLIENT_VERSIONS;
        let labels = [self.kind, if is_new { name } else { UNKNOWN_VERSION }];
        let counter = self.registry.metric(&families::ETCD_SERVER_CLIENT_REQUESTS_TOTAL, &labels);
        counter.increment();
        if is_new {
            seen.push((version.to_vec(), counter));
        }
    }
}

impl Meter {
    fn new(registry: &Arc<Registry>, path: &'static str, shape: Shape, observing: Observing) -> Self {
        let (service, method) = split_path(path).expect("paths of the router are well formed");
        let labels = [shape.label(), service, method];
        let [kind, service, method] = labels;
        Self {
            started: registry.metric(&families::GRPC_SERVER_STARTED_TOTAL, &labels),
            received: registry.metric(&families::GRPC_SERVER_MSG_RECEIVED_TOTAL, &labels),
            sent: registry.metric(&families::GRPC_SERVER_MSG_SENT_TOTAL, &labels),
            handled: Code::ALL
                .map(|(_, code)| registry.metric(&families::GRPC_SERVER_HANDLED_TOTAL, &[kind, service, method, code])),
            received_bytes: registry.metric(&families::ETCD_NETWORK_CLIENT_GRPC_RECEIVED_BYTES_TOTAL, &[]),
            sent_bytes: registry.metric(&families::ETCD_NETWORK_CLIENT_GRPC_SENT_BYTES_TOTAL, &[]),
            handling: observing.extensive.then(|| registry.metric(&families::GRPC_SERVER_HANDLING_SECONDS, &labels)),
            clients: Clients {
                registry: registry.clone(),
                kind: if shape == Shape::Unary { "unary" } else { "stream" },
                seen: RefCell::default(),
            },
            path,
            shape,
            observing,
        }
    }

    /// A message has come.
    pub fn received_message(&self, bytes: usize) {
        self.received.increment();
        self.received_bytes.add(bytes as u64);
    }

    /// A reply is made, and will be sent.
    pub fn made(&self, reply: &Reply) {
        self.sent_bytes.add((reply.bytes() - PREFIX_BYTES) as u64);
    }

    /// A call has arrived.
    pub fn begin(&self, caller: &Caller) -> Begun {
        self.started.increment();
        self.clients.count(caller.metadata.get("client-api-version").unwrap_or(UNKNOWN_VERSION.as_bytes()));
        Begun { at: caller.arrived, remote: caller.address, request_bytes: Cell::new(0) }
    }

    /// It has ended.
    pub fn handled(&self, code: Code, begun: &Begun) {
        self.handled[code as usize].increment();
        let unary = self.shape == Shape::Unary;
        if unary && code != Code::Ok {
            // grpc-go counts an answer that is a status only, too.
            self.sent.increment();
        }
        if self.handling.is_none() && !unary {
            return;
        }
        let took = begun.at.elapsed();
        if let Some(handling) = &self.handling {
            handling.observe_seconds(took);
        }
        if unary && (took > self.observing.slow_after || self.observing.logger.enabled(Level::Debug)) {
            self.tell(took, begun);
        }
    }

    fn tell(&self, took: Duration, begun: &Begun) {
        let start = GoTime(SystemTime::now() - took).to_string();
        let remote = begun.remote.map_or_else(|| "No remote client info.".to_owned(), |remote| remote.to_string());
        let line = match took > self.observing.slow_after {
            true => lines::REQUEST_STATS,
            false => lines::REQUEST_STATS_DEBUG,
        };
        // What was asked for is the handlers' business, and how much it came to; as in etcd where it does not say.
        let unsaid = -1i64;
        let request_bytes = begun.request_bytes.get() as i64;
        let logger = &self.observing.logger;
        log!(logger, line, &start, took, &remote, self.path, unsaid, request_bytes, unsaid, unsaid, "");
    }
}

/// The meter of a method, in the registry from the first call on.
pub(super) struct LazyMeter {
    registry: Arc<Registry>,
    path: &'static str,
    shape: Shape,
    observing: Observing,
    meter: OnceCell<Rc<Meter>>,
}

impl LazyMeter {
    /// With `seeded`, zeros are shown before the first call.
    pub fn new(registry: &Arc<Registry>, path: &'static str, shape: Shape, seeded: bool, observing: Observing) -> Self {
        let lazy = Self { registry: registry.clone(), path, shape, observing, meter: OnceCell::new() };
        if seeded {
            lazy.get();
        }
        lazy
    }

    pub fn get(&self) -> &Rc<Meter> {
        self.meter.get_or_init(|| Rc::new(Meter::new(&self.registry, self.path, self.shape, self.observing.clone())))
    }
}

/// `/package.Service/Method` in its two parts.
pub(super) fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

#[cfg(test)]
mod tests {
    use super::super::caller::Metadata;
    use super::*;

    fn caller(version: &str) -> Caller {
        let mut headers = http::HeaderMap::new();
        headers.insert("client-api-version", version.parse().unwrap());
        Caller { metadata: Metadata(headers), address: None, arrived: Instant::now(), deadline: None }
    }

    fn meter(registry: &Arc<Registry>, extensive: bool, logger: Logger) -> Meter {
        let observing = Observing { extensive, slow_after: Duration::ZERO, logger };
        Meter::new(registry, "/etcdserverpb.KV/Put", Shape::Unary, observing)
    }

    #[test]
    fn clients_cannot_make_series_without_end() {
        let registry = Arc::new(Registry::new());
        let meter = meter(&registry, false, Logger::silent());
        for number in 0..2 * CLIENT_VERSIONS {
            meter.begin(&caller(&format!("3.{number}")));
        }
        meter.begin(&caller("3.0"));
        let text = registry.text();
        let of = |version: &str| {
            let name = "etcd_server_client_requests_total";
            let line = format!("{name}{{client_api_version=\"{version}\",type=\"unary\"}} ");
            text.lines().find_map(|each| each.strip_prefix(&line)).map(str::to_owned)
        };
        assert_eq!(text.matches("client_api_version=").count(), CLIENT_VERSIONS + 1);
        assert_eq!((of("3.0"), of("unknown")), (Some("2".to_owned()), Some(CLIENT_VERSIONS.to_string())));
    }

    #[test]
    fn how_long_calls_take_is_shown_if_asked_for_and_told_if_it_is_long() {
        for extensive in [true, false] {
            let registry = Arc::new(Registry::new());
            let (logger, told) = Logger::to_memory(Level::Info);
            let meter = meter(&registry, extensive, logger);
            let begun = meter.begin(&caller("3.7"));
            begun.request_is(12);
            meter.handled(Code::NotFound, &begun);
            let shown = registry.text().contains(
                "grpc_server_handling_seconds_count{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
                 grpc_type=\"unary\"} 1",
            );
            assert_eq!(shown, extensive);
            let told = told.lock().unwrap().clone();
            assert!(told.contains("\"msg\":\"request stats\"") && told.contains("\"request size\":12"), "{told}");
            assert_eq!((meter.sent.value(), meter.started.value()), (1, 1));
        }
    }
}
