//! What happens on one connection, as its calls and its driver see it. Shared within the connection's thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;

/// Pings that come too early, this many are forgiven.
const MAX_PING_STRIKES: u32 = 2;

/// Without calls, pings may come this far apart.
const IDLE_PING_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Debug)]
pub(super) struct Traffic {
    pub calls: Cell<u32>,
    /// When bytes came last.
    pub last_read: Cell<Instant>,
    /// The client has sent a frame.
    pub has_begun: Cell<bool>,
    /// The highest stream the client has opened.
    pub last_stream: Cell<u32>,
    /// Since when the socket takes nothing while we have something for it.
    pub blocked_since: Cell<Option<Instant>>,
    /// Calls that wait until the socket takes bytes again, and the number of times that has happened.
    waiting: RefCell<Vec<Waker>>,
    unblocked: Cell<u64>,
    pings: Pings,
    /// What answers that wait are charged to.
    pub budget: Arc<Budget>,
}

/// Remembers that a call waits, so that polling it again does not add it again.
#[derive(Debug, Default)]
pub(super) struct Waiting(Option<(u64, Waker)>);

#[derive(Debug)]
struct Pings {
    /// Zero: pings may come as often as they like.
    min_interval: Duration,
    last: Cell<Option<Instant>>,
    strikes: Cell<u32>,
    /// We have sent headers or data since the last ping.
    sent: Cell<bool>,
    too_many: Cell<bool>,
}

impl Traffic {
    pub fn new(min_ping_interval: Duration, budget: Arc<Budget>) -> Self {
        Self {
            calls: Cell::new(0),
            last_read: Cell::new(Instant::now()),
            has_begun: Cell::new(false),
            last_stream: Cell::new(0),
            blocked_since: Cell::new(None),
            waiting: RefCell::default(),
            unblocked: Cell::new(0),
            pings: Pings {
                min_interval: min_ping_interval,
                last: Cell::new(None),
                strikes: Cell::new(0),
                sent: Cell::new(false),
                too_many: Cell::new(false),
            },
            budget,
        }
    }

    /// Whether the socket takes bytes. If not, the call is woken when it does again.
    pub fn ready_or_wait(&self, waiting: &mut Waiting, waker: &Waker) -> bool {
        if self.blocked_since.get().is_none() {
            return true;
        }
        let now = self.unblocked.get();
        if !matches!(&waiting.0, Some((at, known)) if *at == now && known.will_wake(waker)) {
            waiting.0 = Some((now, waker.clone()));
            self.waiting.borrow_mut().push(waker.clone());
        }
        false
    }

    pub fn set_blocked(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(Instant::now()));
        }
    }

    pub fn set_unblocked(&self) {
        if self.blocked_since.take().is_some() {
            self.unblocked.set(self.unblocked.get() + 1);
            self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// Bytes went out while others still wait: the client is slow, not gone.
    pub fn progressed(&self) {
        if self.blocked_since.get().is_some() {
            self.blocked_since.set(Some(Instant::now()));
        }
    }

    /// Headers or data go out.
    pub fn sending(&self) {
        self.pings.sent.set(true);
    }

    /// A ping came: grpc-go's rule of when that is too often.
    pub fn ping_came(&self) {
        let pings = &self.pings;
        let now = Instant::now();
        let last = pings.last.replace(Some(now));
        if pings.sent.replace(false) {
            pings.strikes.set(0);
            return;
        }
        if pings.min_interval.is_zero() {
            return;
        }
        let interval = if self.calls.get() == 0 { IDLE_PING_INTERVAL } else { pings.min_interval };
        if last.is_some_and(|last| now < last + interval) {
            pings.strikes.set(pings.strikes.get() + 1);
        }
        if pings.strikes.get() > MAX_PING_STRIKES {
            pings.too_many.set(true);
        }
    }

    pub fn too_many_pings(&self) -> bool {
        self.pings.too_many.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each letter is what happens: `p` a ping, `s` something is sent.
    fn too_many(calls: u32, min: Duration, script: &str) -> bool {
        let traffic = Traffic::new(min, Arc::default());
        traffic.calls.set(calls);
        for event in script.chars() {
            match event {
                'p' => traffic.ping_came(),
                's' => traffic.sending(),
                _ => unreachable!("script"),
            }
        }
        traffic.too_many_pings()
    }

    #[test]
    fn pings_are_counted_as_in_grpc_go() {
        let five = Duration::from_secs(5);
        for (calls, min, script, expected) in [
            (1, five, "ppp", false),
            (1, five, "pppp", true),
            (0, five, "pppp", true),
            (1, five, "pspspspspsp", false),
            (1, five, "pppspppp", true),
            (1, five, "pppsppp", false),
            (1, Duration::from_nanos(1), "pppppp", false),
            (0, Duration::from_nanos(1), "pppppp", true),
            (0, Duration::ZERO, "pppppp", false),
        ] {
            assert_eq!(too_many(calls, min, script), expected, "{calls} {min:?} {script}");
        }
    }
}
