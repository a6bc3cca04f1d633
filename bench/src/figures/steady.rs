//! Puts that come at a steady pace, however long their answers take, as those of many clients do.

use super::measure::Crowd;
use super::{KEY_BYTES, VALUE_BYTES};
use crate::command::{Failure, key};
use crate::grpc::rpc;
use crate::ledger::{Write, WriteId, WriteIds};
use crate::load::Pace;
use crate::report::{Recorder, Report};
use crate::rng::Rng;
use ferrite_proto::etcdserverpb::PutRequest;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What came of steady puts.
#[derive(Debug)]
pub struct Steady {
    pub report: Report,
    pub refused: u64,
}

/// How many puts a second, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Steadiness {
    pub rate: u64,
    pub least: Duration,
    pub most: Duration,
}

/// Puts at a steady rate, each when it is due whether or not others have been answered, until `done`.
pub async fn steady_puts(
    crowd: &Crowd,
    Steadiness { rate, least, most }: Steadiness,
    keys: u64,
    writes: &mut Vec<Write>,
    done: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Steady, Failure> {
    let shared = Rc::new(RefCell::new((Recorder::new(), Vec::new(), 0)));
    let (pace, mut rng, mut ids) = (Pace::new(rate), Rng::from_clock(), WriteIds::new());
    let begin = Instant::now();
    // At most the puts of `most` are unanswered.
    let mut puts = Vec::new();
    let mut is_done = false;
    for number in 0.. {
        if begin.elapsed() >= most || (is_done && begin.elapsed() >= least) {
            break;
        }
        let due = tokio::select! {
            due = pace.due(number) => due,
            () = &mut *done, if !is_done => {
                is_done = true;
                pace.due(number).await
            }
        };
        let (id, mut value) = (ids.next(), rng.bytes(VALUE_BYTES));
        WriteId::stamp(id, &mut value);
        let request = PutRequest { key: key(rng.below(keys), KEY_BYTES), value: value.into(), ..Default::default() };
        let connection = crowd.connections[number as usize % crowd.connections.len()].clone();
        let shared = shared.clone();
        puts.push(tokio::task::spawn_local(async move {
            let answer = connection.call(rpc::PUT, &request).await;
            let (recorder, writes, refused) = &mut *shared.borrow_mut();
            if let Ok(answer) = &answer {
                let revision = answer.header.as_ref().map_or(0, |h| h.revision);
                writes.push(Write { revision, id, key: request.key });
            }
            // A refusal, too, is something that the client has waited for.
            recorder.add_latency(due.elapsed());
            *refused += u64::from(answer.is_err());
        }));
    }
    for put in puts {
        put.await.map_err(Failure::because)?;
    }
    let (recorder, acknowledged, refused) = Rc::try_unwrap(shared).expect("every put has ended").into_inner();
    writes.extend(acknowledged);
    Ok(Steady { report: recorder.report(Duration::ZERO), refused })
}
