//! The end of a member that cannot go on: nothing it holds is known to be right or durable.

use std::fmt;
use std::sync::Arc;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, Shown, Value, lines};

type Act = dyn Fn(&dyn Shown) + Send + Sync;

/// Ends the member, saying why. Any thread may find that it has to.
#[derive(Clone)]
pub struct Halt(Arc<Act>);

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Halt")
    }
}

impl Halt {
    /// Ends the process at once.
    pub fn of_process(logger: &Logger) -> Halt {
        let logger = logger.clone();
        Halt(Arc::new(move |error| {
            log!(logger, lines::OWNER_FAILED, Value::Shown(error));
            std::process::exit(1);
        }))
    }

    /// Tells somebody else, for tests.
    pub fn told(told: impl Fn(String) + Send + Sync + 'static) -> Halt {
        Halt(Arc::new(move |error| told(error.to_string())))
    }

    pub fn halt(&self, error: &dyn Shown) {
        (self.0)(error);
    }
}
