//! How an answer finds the call that waits for it.
//!
//!   net thread: call ──▶ Awaited ───────────── poll ────────────────────────▶ answer
//!                            │                                                  ▲
//!   apply thread: Reply::answer ──waker──▶ Post ──one wake a batch──▶ deliver ──┘ wakes on its own thread
//!
//! Waking a task of another thread costs a system call. A batch of answers therefore goes into the post of each net
//! thread, and the thread is woken once: its `deliver` task wakes the calls, which is cheap where they live.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ferrite_member::Waiter;
use tokio::sync::Notify;

/// The post of one net thread. It holds at most one waker for each call that is open.
#[derive(Debug, Default)]
pub struct Post {
    wakers: Mutex<Vec<Waker>>,
    arrived: Notify,
    /// Somebody on this thread follows what is published.
    follows: AtomicBool,
    published: Notify,
}

impl Post {
    /// Tells the net thread that new revisions can be read, if it follows them.
    pub fn announce(&self) {
        if self.follows.load(Ordering::SeqCst) {
            self.published.notify_one();
        }
    }

    /// From now on, or no more, this thread wants to be told what is published.
    pub fn follow(&self, follows: bool) {
        self.follows.store(follows, Ordering::SeqCst);
    }

    /// Waits until something has been published since the last call.
    pub async fn published(&self) {
        self.published.notified().await;
    }

    /// Wakes the net thread if anything is in its post.
    pub fn flush(&self) {
        if !lock(&self.wakers).is_empty() {
            self.arrived.notify_one();
        }
    }

    /// Runs on the net thread for as long as it serves: hands out what arrives.
    pub async fn deliver(&self) {
        let mut taken = Vec::new();
        loop {
            self.arrived.notified().await;
            std::mem::swap(&mut *lock(&self.wakers), &mut taken);
            taken.drain(..).for_each(Waker::wake);
        }
    }
}

#[derive(Debug)]
enum Slot<T> {
    Open(Option<Waker>),
    Answered(T),
    /// The answer has been taken, or will never come.
    Closed,
}

/// The answering end. Dropped without an answer, the call learns that the member has stopped.
#[derive(Debug)]
pub struct Reply<T> {
    slot: Arc<Mutex<Slot<T>>>,
    post: Arc<Post>,
}

/// The waiting end: a future of the answer, `None` if none will come.
#[derive(Debug)]
pub struct Awaited<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

/// The two ends of a call of the net thread whose post this is.
pub fn call<T>(post: &Arc<Post>) -> (Reply<T>, Awaited<T>) {
    let slot = Arc::new(Mutex::new(Slot::Open(None)));
    (Reply { slot: Arc::clone(&slot), post: Arc::clone(post) }, Awaited { slot })
}

impl<T> Reply<T> {
    /// Puts the answer into the post. It is seen when the post is flushed.
    pub fn answer(self, value: T) {
        self.put(Slot::Answered(value));
    }

    fn put(&self, value: Slot<T>) {
        let before = std::mem::replace(&mut *lock(&self.slot), value);
        if let Slot::Open(Some(waker)) = before {
            lock(&self.post.wakers).push(waker);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let open = matches!(&*lock(&self.slot), Slot::Open(_));
        if open {
            self.put(Slot::Closed);
            self.post.flush();
        }
    }
}

impl<T: Send> Waiter for Reply<T> {
    fn gone(&self) -> bool {
        Arc::strong_count(&self.slot) == 1
    }
}

impl<T> Future for Awaited<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.slot);
        match &mut *slot {
            Slot::Open(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            Slot::Answered(_) | Slot::Closed => match std::mem::replace(&mut *slot, Slot::Closed) {
                Slot::Answered(value) => Poll::Ready(Some(value)),
                Slot::Open(_) | Slot::Closed => Poll::Ready(None),
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn answers_given_on_another_thread_arrive_with_one_flush() {
        let post = Arc::new(Post::default());
        let (replies, awaited): (Vec<_>, Vec<_>) = (0..3).map(|_| call::<usize>(&post)).unzip();
        let answering = {
            let post = Arc::clone(&post);
            move || {
                replies.into_iter().enumerate().for_each(|(number, reply)| reply.answer(number));
                post.flush();
            }
        };
        let answers = run(async move {
            let post = Arc::clone(&post);
            tokio::spawn(async move { post.deliver().await });
            let calls: Vec<_> = awaited.into_iter().map(tokio::spawn).collect();
            std::thread::spawn(answering);
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await.unwrap());
            }
            answers
        });
        assert_eq!(answers, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn an_answer_given_before_the_first_poll_needs_no_post() {
        let post = Arc::new(Post::default());
        let (reply, awaited) = call(&post);
        reply.answer(5);
        assert_eq!(run(awaited), Some(5));
    }

    #[test]
    fn a_reply_that_is_dropped_ends_the_call_and_a_call_that_is_dropped_is_gone() {
        let post = Arc::new(Post::default());
        let (reply, awaited) = call::<u8>(&post);
        assert!(!reply.gone());
        drop(reply);
        assert_eq!(run(awaited), None);
        let (reply, awaited) = call::<u8>(&post);
        drop(awaited);
        assert!(reply.gone());
    }
}
