//! Memory for answers that are not sent yet: one budget for the whole server.
//!
//!   read ──take──▶ its share grows ──▶ body ──▶ sent, or given up ──▶ given back
//!             └─full─▶ the read is given up, waits its turn for as much as it will need, and is made again
//!   answer that its client does not take at once ──charge──full──▶ given up
//!
//! What is short and leaves at once is not counted, so most calls never come here. What holds: all that waits for
//! clients, of all connections together, is at most the budget and what each thread has in hand; only an answer that is
//! larger than the budget exceeds it, and is the only one then. Nobody waits for room while he has any.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrite_state::answer::{MAX_ANSWER_BYTES, Room};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For long answers. Full: reads wait, and answers that would have to wait for their clients are given up.
const LONG_BYTES: u32 = 256 << 20;

/// For short answers whose clients do not take them at once. Apart from the others, so that clients who take large
/// answers slowly do not harm those who only put and get.
const SHORT_BYTES: u32 = 64 << 20;

/// Up to so many bytes an answer is short.
const SHORT_ANSWER_BYTES: u64 = 64 << 10;

/// The least that an answer counts for: what it takes besides its bytes.
const LEAST_BYTES: u64 = 512;

/// Shares grow by steps of at least this.
const STEP_BYTES: u64 = 1 << 20;

/// How fast a client must take a long answer while others wait for its room.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct Budget {
    long: Arc<Semaphore>,
    short: Arc<Semaphore>,
    long_bytes: u32,
    /// Reads that wait for room.
    waiting: AtomicUsize,
}

/// What one answer holds of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    taken: u64,
    /// Bytes of the permit.
    granted: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(LONG_BYTES, SHORT_BYTES)
    }
}

impl Budget {
    pub fn new(long_bytes: u32, short_bytes: u32) -> Budget {
        Budget {
            long: Arc::new(Semaphore::new(long_bytes as usize)),
            short: Arc::new(Semaphore::new(short_bytes as usize)),
            long_bytes,
            waiting: AtomicUsize::new(0),
        }
    }

    /// A share for an answer that is about to be read.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), taken: 0, granted: 0, permit: None }
    }

    /// A share of at least so many bytes, or of the whole budget, when it is this read's turn.
    pub async fn wait_for(self: &Arc<Self>, bytes: u64) -> Share {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        let granted = bytes.min(self.long_bytes.into());
        let permit = self.long.clone().acquire_many_owned(granted as u32).await;
        Share { granted, permit: Some(permit.expect("nobody closes it")), ..self.share() }
    }

    /// A share for an answer whose client does not take it at once, if there is room.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let mut share = self.share();
        if bytes > SHORT_ANSWER_BYTES {
            return share.take(bytes).then_some(share);
        }
        let bytes = bytes.max(LEAST_BYTES);
        share.permit = Some(self.short.clone().try_acquire_many_owned(bytes as u32).ok()?);
        share.granted = bytes;
        Some(share)
    }

    /// Whether somebody waits for room.
    pub fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether an answer of this length has been held for longer than others should have to wait for its room.
    pub(super) fn is_held_too_long(&self, bytes: u64, held: Duration) -> bool {
        self.is_contended() && held.as_secs() > bytes / BYTES_PER_SECOND
    }
}

impl Room for Share {
    fn take(&mut self, bytes: u64) -> bool {
        self.taken += bytes;
        self.taken <= SHORT_ANSWER_BYTES.max(self.granted) || self.taken <= MAX_ANSWER_BYTES && self.grow()
    }
}

impl Share {
    /// What it has of the budget.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Whether there can be no larger one.
    pub fn is_whole(&self) -> bool {
        self.granted == u64::from(self.budget.long_bytes)
    }

    /// Gives back what an answer of so many bytes does not need.
    pub fn settle(&mut self, bytes: u64) {
        let needed = if bytes <= SHORT_ANSWER_BYTES { 0 } else { bytes };
        let Some(permit) = &mut self.permit else { return };
        if let Some(rest) = self.granted.checked_sub(needed) {
            self.granted -= rest;
            drop(permit.split(rest as usize));
        }
    }

    /// Whether it is enough for an answer of so many bytes.
    pub(super) fn covers(&self, bytes: u64) -> bool {
        bytes <= self.granted || self.is_whole()
    }

    /// Makes room for what was taken.
    fn grow(&mut self) -> bool {
        let left = u64::from(self.budget.long_bytes) - self.granted;
        if left == 0 {
            // It has all there is, and may be as large as a message can be.
            return true;
        }
        let needed = (self.taken - self.granted).min(left);
        let step = needed.max(STEP_BYTES).min(left);
        let permit = [step, needed].into_iter().find_map(|bytes| {
            let permit = self.budget.long.clone().try_acquire_many_owned(bytes as u32).ok()?;
            self.granted += bytes;
            Some(permit)
        });
        match (permit, &mut self.permit) {
            (None, _) => return false,
            (Some(more), Some(permit)) => permit.merge(more),
            (more, none) => *none = more,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(16 << 20, 1 << 20))
    }

    fn left(budget: &Budget) -> u64 {
        budget.long.available_permits() as u64
    }

    #[test]
    fn a_share_grows_with_its_answer_and_goes_back() {
        let budget = budget();
        let mut share = budget.share();
        assert!(share.take(SHORT_ANSWER_BYTES), "what is short is free");
        assert_eq!(left(&budget), 16 * MIB);
        assert!(share.take(10 * MIB));
        let other = {
            let mut other = budget.share();
            assert!(other.take(5 * MIB));
            assert!(!other.take(2 * MIB), "there is not so much left");
            other
        };
        assert_eq!(other.granted(), 5 * MIB);
        drop(other);
        share.settle(3 * MIB);
        assert_eq!((share.granted(), left(&budget)), (3 * MIB, 13 * MIB));
        assert!(share.covers(3 * MIB) && !share.covers(3 * MIB + 1));
        share.settle(100);
        assert_eq!(left(&budget), 16 * MIB);
    }

    #[test]
    fn what_is_larger_than_the_budget_has_it_alone() {
        let budget = budget();
        let mut share = budget.share();
        assert!(share.take(100 * MIB) && share.is_whole() && share.covers(100 * MIB));
        assert!(!budget.share().take(MIB));
        assert!(!share.take(MAX_ANSWER_BYTES), "but it is no larger than a message may be");
        assert!(budget.charge(10).is_some(), "short answers have room of their own");
        drop(share);
        assert_eq!(left(&budget), 16 * MIB);
    }

    #[test]
    fn short_answers_that_wait_have_a_bound() {
        let budget = budget();
        let held: Vec<Share> = std::iter::from_fn(|| budget.charge(1)).collect();
        assert_eq!(held.len() as u64, MIB / LEAST_BYTES);
        drop(held);
        assert!(budget.charge(1).is_some());
    }

    #[test]
    fn who_waits_has_his_turn_and_hurries_the_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let budget = budget();
            let mut share = budget.share();
            assert!(share.take(12 * MIB));
            assert!(!budget.is_held_too_long(12 * MIB, Duration::from_secs(3600)), "nobody waits");
            {
                let mut waiting = Box::pin(budget.wait_for(8 * MIB));
                tokio::select! {
                    biased;
                    _ = &mut waiting => panic!("there is no room for it"),
                    () = std::future::ready(()) => {}
                }
                assert!(budget.is_held_too_long(12 * MIB, Duration::from_secs(13)));
                assert!(!budget.is_held_too_long(12 * MIB, Duration::from_secs(12)));
                assert!(!budget.share().take(MIB), "who comes later does not overtake it");
                drop(share);
                assert!(waiting.await.covers(8 * MIB));
            }
            assert!(!budget.is_held_too_long(12 * MIB, Duration::from_secs(3600)));
            assert_eq!(left(&budget), 16 * MIB);
            assert!(budget.wait_for(100 * MIB).await.is_whole());
        });
    }
}
