//! Where an owner finds its work: senders push, the owner takes all that has arrived at once.
//!
//!   net threads ──push──▶ ┌───────┐
//!   wal, apply  ──push──▶ │ Inbox │ ──take everything──▶ owner's step
//!                         └───────┘
//!
//! What waits is the batch: while the owner works, arrivals gather, and the next step takes them together.
//! A push wakes the owner only if it sleeps, and not even then if the sender can do the owner's work in its place
//! ([`StandIn`]): a wake-up costs several times what a small step does. An inbox has no size of its own: each kind of
//! sender is bounded by what it may have outstanding.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

/// The receiving end's state, shared with the senders.
#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
    /// Gone when the owner is.
    stand_in: OnceLock<Weak<dyn StandIn>>,
}

/// Does the work of an owner that sleeps, on the thread of whoever brings it.
pub trait StandIn: Debug + Send + Sync {
    /// Does what waits, if that is possible at once. False: the owner has to be woken. It must not wait for anything, and
    /// leave it to the owner when somebody else stands in already.
    fn stand_in(&self) -> bool;
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
    let shared = Arc::new(Shared { queue, arrived: Condvar::new(), stand_in: OnceLock::new() });
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
        if queue.asleep {
            drop(queue);
            let stand_in = self.shared.stand_in.get().and_then(Weak::upgrade);
            if !stand_in.is_some_and(|stand_in| stand_in.stand_in()) {
                self.wake();
            }
        }
        Ok(())
    }

    fn wake(&self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut queue.asleep) {
            drop(queue);
            self.shared.arrived.notify_one();
        }
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

    /// From now on senders may do the work of an owner that sleeps.
    pub fn let_stand_in(&self, stand_in: Weak<dyn StandIn>) {
        // The first one stays: it is the owner's.
        let _ = self.shared.stand_in.set(stand_in);
    }

    /// Waits until something has arrived or `deadline` is reached, and moves all of it into `taken`, which must be
    /// empty: its allocation is reused. False once the inbox is closed and empty.
    pub fn take(&self, taken: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        self.wait(deadline);
        self.take_now(taken)
    }

    /// Waits until something has arrived, a stand-in wants the owner, or `deadline` is reached.
    pub fn wait(&self, deadline: Option<Instant>) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.asleep = queue.items.is_empty() && !queue.closed;
        // A stand-in may have taken what came, and want the owner all the same: then it is awake.
        while queue.asleep && queue.items.is_empty() && !queue.closed {
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
    }

    /// Moves what has arrived into `taken`, which must be empty. False once the inbox is closed and empty.
    pub fn take_now(&self, taken: &mut Vec<T>) -> bool {
        debug_assert!(taken.is_empty(), "what was taken before has not been worked off");
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.items, taken);
        !(queue.closed && taken.is_empty())
    }

    /// Looks at what has arrived.
    pub fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).items)
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

    /// Sums up what arrives.
    #[derive(Debug)]
    struct Sum {
        inbox: Inbox<u64>,
        sum: Mutex<u64>,
    }

    impl Sum {
        fn add(&self, sum: &mut u64) {
            let mut taken = Vec::new();
            self.inbox.take_now(&mut taken);
            *sum += taken.iter().sum::<u64>();
        }
    }

    impl StandIn for Sum {
        fn stand_in(&self) -> bool {
            let Ok(mut sum) = self.sum.try_lock() else { return false };
            // What is odd is left to the owner.
            let is_easy = self.inbox.look(|items| items.iter().all(|item| item % 2 == 0));
            if is_easy {
                self.add(&mut sum);
            }
            is_easy
        }
    }

    /// Takes what arrives, and wants the owner to do the rest.
    #[derive(Debug)]
    struct Half(Inbox<u64>);

    impl StandIn for Half {
        fn stand_in(&self) -> bool {
            self.0.take_now(&mut Vec::new());
            false
        }
    }

    #[test]
    fn an_owner_is_woken_even_if_nothing_is_left_for_it_to_take() {
        let (outlet, inbox) = inbox();
        let owner = Arc::new(Half(inbox));
        let weak: Weak<Half> = Arc::downgrade(&owner);
        owner.0.let_stand_in(weak);
        let sleeping = owner.clone();
        let thread = std::thread::spawn(move || sleeping.0.wait(None));
        // Until it sleeps, what is pushed stays.
        while !thread.is_finished() {
            outlet.push(1).unwrap();
            std::thread::yield_now();
        }
        thread.join().unwrap();
    }

    #[test]
    fn a_sender_stands_in_for_an_owner_that_sleeps_and_nothing_is_left_lying() {
        const EACH: u64 = 5000;
        let (outlet, inbox) = inbox();
        let owner = Arc::new(Sum { inbox, sum: Mutex::new(0) });
        let weak: Weak<Sum> = Arc::downgrade(&owner);
        owner.inbox.let_stand_in(weak);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let outlet = outlet.clone();
                std::thread::spawn(move || (0..EACH).for_each(|item| outlet.push(item * (sender % 2 + 1)).unwrap()))
            })
            .collect();
        let expected = 2 * (0..EACH).sum::<u64>() + 2 * (0..EACH).map(|item| item * 2).sum::<u64>();
        // Without a deadline: an item that nobody was woken for would be waited for for ever.
        let working = owner.clone();
        let thread = std::thread::spawn(move || {
            while *working.sum.lock().unwrap() < expected {
                working.inbox.wait(None);
                working.add(&mut working.sum.lock().unwrap());
            }
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        // The last items may have been done by a sender: the owner looks once more when it is woken.
        while *owner.sum.lock().unwrap() < expected {
            std::thread::yield_now();
        }
        outlet.close();
        thread.join().unwrap();
        assert_eq!(*owner.sum.lock().unwrap(), expected);
    }
}
