//! How long a peer takes to answer, for the metrics and the log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Id, lines};
use http::{Request, StatusCode};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::body::PeerBody;
use crate::dial::{Connection, read_short, timed_out};
use crate::peer::Link;

pub(crate) const PATH: &str = "/raft/probing";

/// Between two probes: less than the time after which an idle connection is closed.
const PERIOD: Duration = Duration::from_secs(4);

/// A new round trip counts for so much in the smoothed one.
const WEIGHT: f64 = 0.125;

pub(crate) async fn run(link: Arc<Link>) {
    let mut probes = interval(PERIOD);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    let mut smoothed: Option<f64> = None;
    let mut was_well = true;
    loop {
        probes.tick().await;
        let begin = Instant::now();
        let probed =
            timeout(link.context.timeouts.dial + link.context.timeouts.read, probe(&link, &mut connection)).await;
        match probed.unwrap_or_else(|_| Err(timed_out("a probe"))) {
            Ok(()) => {
                let took = begin.elapsed().as_secs_f64();
                let value = smoothed.map_or(took, |before| before + WEIGHT * (took - before));
                link.metrics.round_trip.observe(value);
                smoothed = Some(value);
                was_well = true;
            }
            Err(error) => {
                connection = None;
                if was_well {
                    log!(link.context.logger, lines::PROBER_UNHEALTHY, Id(link.remote.0), &error.to_string());
                }
                was_well = false;
            }
        }
    }
}

async fn probe(link: &Link, kept: &mut Option<Connection>) -> io::Result<()> {
    let context = &link.context;
    let url = link.url();
    let connection = match kept.take().filter(|kept| kept.is_usable() && *kept.url() == url) {
        Some(usable) => kept.insert(usable),
        None => kept.insert(Connection::open(&*context.connect, &url, context.timeouts).await?),
    };
    let answer = connection.send(Request::get("/"), PATH, PeerBody::whole("")).await?;
    let status = answer.status();
    read_short(answer).await?;
    if status == StatusCode::OK { Ok(()) } else { Err(io::Error::other(format!("{url} answers {status}"))) }
}
