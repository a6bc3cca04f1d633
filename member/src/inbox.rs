//! Where an owner finds its work: senders push, the owner takes all that has arrived at once.
//!
//!   net threads ──push──▶ ┌───────┐
//!   wal, apply  ──push──▶ │ Inbox │ ──take everything──▶ owner's step
//!                         └───────┘
//!
//! What waits is the batch: while the owner works, arrivals gather, and the next step takes them together.
//! A push wakes the owner only if it sleeps. An inbox has no size of its own: each kind of sender is bounded
//! by what it may have outstanding (see `Bounded` for clients).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// The receiving end's state, shared with the senders.
#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    items: Vec<T>,
    /// The owner sleeps and wants to be woken.
    asleep: bool,
    /// No sender will come again, or the owner has gone.
    closed: bool,
}

/// The owner's end.
#[derive(Debug)]
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

/// A sender's end.
#[derive(Debug)]
pub struct Outlet<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Outlet { shared: Arc::clone(&self.shared) }
    }
}

/// A new inbox and a first sender for it.
pub fn inbox<T>() -> (Outlet<T>, Inbox<T>) {
    let queue = Mutex::new(Queue { items: Vec::new(), asleep: false, closed: false });
    let shared = Arc::new(Shared { queue, arrived: Condvar::new() });
    (Outlet { shared: Arc::clone(&shared) }, Inbox { shared })
}

impl<T> Outlet<T> {
    /// Hands one item over; gives it back if the owner has gone.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return Err(item);
        }
        queue.items.push(item);
        if std::mem::take(&mut queue.asleep) {
            drop(queue);
            self.shared.arrived.notify_one();
        }
        Ok(())
    }

    /// Tells the owner that nothing more will come; what is queued is still taken.
    pub fn close(&self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.arrived.notify_all();
    }
}

impl<T> Inbox<T> {
    /// Another sender.
    pub fn outlet(&self) -> Outlet<T> {
        Outlet { shared: Arc::clone(&self.shared) }
    }

    /// Waits until something has arrived or `deadline` is reached, and moves all of it into `taken`, which must be
    /// empty: its allocation is reused. False once the inbox is closed and empty.
    pub fn take(&self, taken: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        debug_assert!(taken.is_empty(), "what was taken before has not been worked off");
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.items.is_empty() && !queue.closed {
            queue.asleep = true;
            match deadline {
                None => queue = self.shared.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let woken = self.shared.arrived.wait_timeout(queue, left);
                    queue = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        queue.asleep = false;
        std::mem::swap(&mut queue.items, taken);
        !(queue.closed && taken.is_empty())
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.items.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_that_arrived_is_taken_at_once_and_in_order() {
        let (outlet, inbox) = inbox();
        for number in 0..3 {
            outlet.push(number).unwrap();
        }
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, None));
        assert_eq!(taken, [0, 1, 2]);
    }

    #[test]
    fn a_sleeping_owner_is_woken() {
        let (outlet, inbox) = inbox();
        let owner = std::thread::spawn(move || {
            let mut taken = Vec::new();
            inbox.take(&mut taken, None);
            taken
        });
        outlet.push(7).unwrap();
        assert_eq!(owner.join().unwrap(), [7]);
    }

    #[test]
    fn a_deadline_ends_the_wait_and_closing_ends_the_inbox() {
        let (outlet, inbox) = inbox::<u8>();
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, Some(Instant::now() + Duration::from_millis(1))));
        assert!(taken.is_empty());
        outlet.push(1).unwrap();
        outlet.close();
        assert!(inbox.take(&mut taken, None), "what was queued before closing is still taken");
        taken.clear();
        assert!(!inbox.take(&mut taken, None));
        assert_eq!(outlet.push(2), Err(2));
    }

    #[test]
    fn an_owner_that_has_gone_refuses_work() {
        let (outlet, inbox) = inbox();
        drop(inbox);
        assert_eq!(outlet.push(1), Err(1));
    }
}
