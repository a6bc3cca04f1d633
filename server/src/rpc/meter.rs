//! The counters of gRPC: calls and messages by method.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use ferrite_observe::metrics::{Counter, Registry, families};

use super::status::Code;

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
    handled: [Counter; Code::ALL.len()],
}

impl Meter {
    fn new(registry: &Registry, service: &str, method: &str, shape: Shape) -> Self {
        let labels = [shape.label(), service, method];
        let [kind, service, method] = labels;
        Self {
            started: registry.metric(&families::GRPC_SERVER_STARTED_TOTAL, &labels),
            received: registry.metric(&families::GRPC_SERVER_MSG_RECEIVED_TOTAL, &labels),
            sent: registry.metric(&families::GRPC_SERVER_MSG_SENT_TOTAL, &labels),
            handled: Code::ALL
                .map(|(_, code)| registry.metric(&families::GRPC_SERVER_HANDLED_TOTAL, &[kind, service, method, code])),
        }
    }

    pub fn handled(&self, code: Code) {
        self.handled[code as usize].increment();
    }
}

/// The meter of a method, in the registry from the first call on.
pub(super) struct LazyMeter {
    registry: Arc<Registry>,
    path: &'static str,
    shape: Shape,
    meter: OnceCell<Rc<Meter>>,
}

impl LazyMeter {
    /// With `seeded`, zeros are shown before the first call.
    pub fn new(registry: &Arc<Registry>, path: &'static str, shape: Shape, seeded: bool) -> Self {
        let lazy = Self { registry: registry.clone(), path, shape, meter: OnceCell::new() };
        if seeded {
            lazy.get();
        }
        lazy
    }

    pub fn get(&self) -> &Rc<Meter> {
        self.meter.get_or_init(|| {
            let (service, method) = split_path(self.path).expect("paths of the router are well formed");
            Rc::new(Meter::new(&self.registry, service, method, self.shape))
        })
    }
}

/// `/package.Service/Method` in its two parts.
pub(super) fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}
