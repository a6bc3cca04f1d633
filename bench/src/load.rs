//! Load: many clients, each with one request at a time, sharing one count of requests.
//!
//! ```text
//! clients ──take the next number──▶ wait until it is due (--rate) ──▶ request ──▶ Recorder ──▶ Report
//! ```
//!
//! Under a rate, a request that is late because its client still waited for the one before is timed from when it was due.

use crate::grpc::{CallError, Connection};
use crate::process;
use crate::report::{Recorder, Report};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How much, by how many, how fast.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub total: u64,
    pub clients: u64,
    /// Requests a second; 0 is as fast as answers come.
    pub rate: u64,
}

/// Starts of requests under a rate.
#[derive(Debug)]
pub struct Pace {
    begin: Instant,
    rate: u64,
}

impl Pace {
    pub fn new(rate: u64) -> Pace {
        Pace { begin: Instant::now(), rate }
    }

    /// Waits until request `number` is due, and says from when on it is to be timed.
    pub async fn due(&self, number: u64) -> Instant {
        let now = Instant::now();
        if self.rate == 0 {
            return now;
        }
        let due = self.begin + Duration::from_secs_f64(number as f64 / self.rate as f64);
        if due <= now {
            return due;
        }
        tokio::time::sleep_until(due).await;
        Instant::now()
    }
}

/// Puts the load on; `operation` makes the request of one number.
pub async fn drive<F>(connections: &[Connection], plan: Plan, operation: F) -> Report
where
    F: AsyncFn(Connection, u64) -> Result<(), CallError> + 'static,
{
    let operation = Rc::new(operation);
    let next = Rc::new(Cell::new(0));
    let recorder = Rc::new(RefCell::new(Recorder::new()));
    let pace = Rc::new(Pace::new(plan.rate));
    let cpu = process::own_cpu();
    let clients: Vec<_> = (0..plan.clients)
        .map(|client| {
            let connection = connections[client as usize % connections.len()].clone();
            let (operation, next, recorder, pace) = (operation.clone(), next.clone(), recorder.clone(), pace.clone());
            tokio::task::spawn_local(async move {
                while next.get() < plan.total {
                    let number = next.get();
                    next.set(number + 1);
                    let begin = pace.due(number).await;
                    let result = operation(connection.clone(), number).await;
                    recorder.borrow_mut().add(begin, result);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client does not panic");
    }
    let recorder = Rc::try_unwrap(recorder).expect("every client has ended").into_inner();
    recorder.report(process::own_cpu().saturating_sub(cpu))
}
