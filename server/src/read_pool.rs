//! Threads for reads that take long: a range over many keys, a hash over all of them. Net threads go on meanwhile.
//!
//!   net thread: run(read) ──in turn──▶ read thread ──answer──▶ post ──▶ net thread
//!
//! Each read is waited for by a call, so there are never more of them than calls. One whose call has been given up is
//! not begun. Snapshots to and from peers have a thread of their own: making a store of a database takes long. It gives way to
//! all others, so that it costs those who write no time where cores are few.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ferrite_member::{Inbox, Outlet, Waiter, inbox};

use tokio::sync::oneshot;

use crate::handle::CallError;
use crate::post::{Post, call};

/// How many there are: more would take turns from those who write.
const THREADS: usize = 2;

type Read = Box<dyn FnOnce() + Send>;

/// Where reads are handed in. Clones are the same.
#[derive(Clone)]
pub struct ReadPool {
    threads: Vec<Outlet<Read>>,
    turn: Arc<AtomicUsize>,
    /// For snapshots.
    apart: Outlet<Read>,
}

impl fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// The niceness of the thread for snapshots: it gets a third of what others get where all are busy, so that it goes on.
const SNAPSHOT_NICENESS: i32 = 5;

/// What a read thread runs.
pub struct ReadThread {
    inbox: Inbox<Read>,
    niceness: i32,
}

impl fmt::Debug for ReadThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadThread").finish_non_exhaustive()
    }
}

/// A pool, and what its threads run.
pub fn read_pool() -> (ReadPool, Vec<ReadThread>) {
    let (threads, inboxes): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| inbox()).unzip();
    let (apart, last) = inbox();
    let pool = ReadPool { threads, turn: Arc::default(), apart };
    let mut all: Vec<ReadThread> = inboxes.into_iter().map(|inbox| ReadThread { inbox, niceness: 0 }).collect();
    all.push(ReadThread { inbox: last, niceness: SNAPSHOT_NICENESS });
    (pool, all)
}

impl ReadPool {
    /// Runs a read for a call of the net thread whose post this is.
    pub async fn run<T: Send + 'static>(
        &self,
        post: &Arc<Post>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (reply, awaited) = call(post);
        let post = post.clone();
        let read = Box::new(move || {
            if !reply.gone() {
                reply.answer(read());
                post.flush();
            }
        });
        let thread = &self.threads[self.turn.fetch_add(1, Relaxed) % self.threads.len()];
        thread.push(read).map_err(|_| CallError::Stopped)?;
        awaited.await.ok_or(CallError::Stopped)
    }

    /// Does a step of a snapshot for a task that waits for it. `None` if the threads have ended.
    pub async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            if !sender.is_closed() {
                // Who waits for it may have given up since.
                let _ = sender.send(work());
            }
        };
        self.apart.push(Box::new(work)).ok()?;
        receiver.await.ok()
    }

    /// Drops what belongs to a snapshot, when what was handed in before is done.
    pub fn discard(&self, what: impl Send + 'static) {
        // Where the threads have ended it is dropped here.
        let _ = self.apart.push(Box::new(move || drop(what)));
    }

    /// Ends the threads when what waits is done.
    pub fn close(&self) {
        self.threads.iter().chain([&self.apart]).for_each(Outlet::close);
    }
}

impl ReadThread {
    pub fn run(self) {
        if self.niceness > 0 {
            // On Linux this is of the thread alone. One that may not be nice does its work all the same.
            let _ = rustix::process::nice(self.niceness);
        }
        let mut taken = Vec::new();
        while self.inbox.take(&mut taken, None) {
            taken.drain(..).for_each(|read: Read| read());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn reads_run_on_other_threads_and_their_answers_come_back() {
        let (pool, threads) = read_pool();
        let threads: Vec<_> = threads.into_iter().map(|thread| std::thread::spawn(|| thread.run())).collect();
        let post = Arc::<Post>::default();
        let here = std::thread::current().id();
        let answers = block_on(async {
            let delivering = post.clone();
            tokio::select! {
                () = async move { delivering.deliver().await } => unreachable!("it delivers as long as it is asked to"),
                answers = async {
                    let mut answers = Vec::new();
                    for number in 0..10 {
                        answers.push(pool.run(&post, move || (number, std::thread::current().id())).await.unwrap());
                    }
                    answers
                } => answers,
            }
        });
        assert!(answers.iter().enumerate().all(|(i, (number, thread))| i == *number && *thread != here));
        pool.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(block_on(pool.run(&post, || ())), Err(CallError::Stopped));
    }

    #[test]
    fn work_on_snapshots_gives_way() {
        let (pool, threads) = read_pool();
        let threads: Vec<_> = threads.into_iter().map(|thread| std::thread::spawn(|| thread.run())).collect();
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let here = niceness();
        assert_eq!(block_on(pool.work(niceness)), Some((here + SNAPSHOT_NICENESS).min(19)));
        let post = Arc::<Post>::default();
        block_on(async {
            let delivering = post.clone();
            tokio::select! {
                () = async move { delivering.deliver().await } => unreachable!("it delivers as long as it is asked to"),
                read = pool.run(&post, niceness) => assert_eq!(read, Ok(here), "reads do not"),
            }
        });
        pool.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn reads_do_not_wait_for_a_snapshot() {
        let (pool, threads) = read_pool();
        let threads: Vec<_> = threads.into_iter().map(|thread| std::thread::spawn(|| thread.run())).collect();
        let post = Arc::<Post>::default();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let delivering = post.clone();
        block_on(async {
            tokio::select! {
                () = async move { delivering.deliver().await } => unreachable!("it delivers as long as it is asked to"),
                () = async {
                    let snapshot = pool.work(move || ended.recv().unwrap());
                    let mut snapshot = std::pin::pin!(snapshot);
                    std::future::poll_fn(|cx| {
                        // It is handed in, and is not done.
                        assert!(snapshot.as_mut().poll(cx).is_pending());
                        std::task::Poll::Ready(())
                    })
                    .await;
                    for number in 0..2 * THREADS {
                        assert_eq!(pool.run(&post, move || number).await, Ok(number));
                    }
                    end.send(()).unwrap();
                    assert_eq!(snapshot.await, Some(()));
                } => {}
            }
            assert_eq!(pool.work(|| 7).await, Some(7));
        });
        pool.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(block_on(pool.work(|| 7)), None);
    }

    #[test]
    fn a_read_that_nobody_waits_for_is_not_begun() {
        let (pool, threads) = read_pool();
        let post = Arc::<Post>::default();
        block_on(async {
            let given_up = pool.run(&post, || panic!("nobody waits for this"));
            tokio::select! {
                biased;
                _ = given_up => unreachable!("its thread does not run"),
                () = std::future::ready(()) => {}
            }
        });
        pool.close();
        threads.into_iter().for_each(ReadThread::run);
    }
}
