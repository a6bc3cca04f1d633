//! `crash`: rounds of load, SIGKILL, restart and check on a server binary; the check is in `crate::crash`.

use super::Failure;
use crate::args::{Args, Flag, Kind, flag};
use crate::crash::check::{Tally, check};
use crate::crash::load::{SHORT_TTL, Shared, start};
use crate::crash::model::Model;
use crate::crash::{Known, Round};
use crate::grpc::{Connection, rpc};
use crate::ledger::WriteIds;
use crate::process::{Server, Setup};
use crate::rng::Rng;
use ferrite_proto::etcdserverpb::LeaseLeasesRequest;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub const FLAGS: &[Flag] = &[
    flag("server", Kind::Text, "", "the server binary (required)"),
    flag("rounds", Kind::Uint, "300", "number of rounds"),
    flag("seed", Kind::Uint, "0", "seed of requests and moments (0: from the clock)"),
    flag("dir", Kind::Text, "", "folder for data and log, emptied first (default: a temporary one)"),
    flag("longest", Kind::Duration, "600ms", "longest load of a round"),
    flag("server-flag", Kind::List, "", "a flag for the server"),
];

/// How long a restart may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Log entries between snapshots: from several in a round to none.
const SNAPSHOT_COUNTS: [u64; 4] = [50, 500, 5_000, 100_000];

pub async fn run(args: &Args) -> Result<(), Failure> {
    if args.text("server").is_empty() {
        return Err(Failure("crash needs --server=BINARY".to_owned()));
    }
    let seed = match args.uint("seed") {
        0 => Rng::from_clock().next(),
        seed => seed,
    };
    let temporary = std::env::temp_dir().join(format!("benchmark-crash-{}", std::process::id()));
    let dir = if args.text("dir").is_empty() { temporary.as_path() } else { Path::new(args.text("dir")) };
    println!("seed {seed}, folder {}", dir.display());
    let mut setup = Setup::fresh(Path::new(args.text("server")), dir, args.list("server-flag"))?;
    let mut rng = Rng::new(seed);
    let shared =
        Shared { rng: Rng::new(rng.next()), ids: WriteIds::new(), known: Known::default(), round: Round::default() };
    let shared = Rc::new(RefCell::new(shared));
    let mut model = Model::new();
    let mut sum = Tally::default();
    let mut slowest_start = Duration::ZERO;
    let begin = Instant::now();
    for number in 1..=args.uint("rounds") {
        let failed = |what: &dyn std::fmt::Display| {
            Failure(format!(
                "round {number}, seed {seed}: {what}\nkept: {}, log {}",
                dir.display(),
                setup.log().display()
            ))
        };
        let server = start_again(&setup, &mut rng).await.map_err(|e| failed(&e))?;
        slowest_start = slowest_start.max(server.started_in);
        let tally = one_check(&server, &shared, &mut model, &mut rng).await.map_err(|e| failed(&e))?;
        add(&mut sum, tally);
        let clients = start(&server.endpoint(), model.revision + 1, &shared).await.map_err(|e| failed(&e))?;
        let load =
            Duration::from_micros(20_000 + rng.below(args.duration("longest").as_micros().max(20_001) as u64 - 20_000));
        tokio::time::sleep(load).await;
        server.kill()?;
        for client in clients {
            client.await.map_err(|e| failed(&e))?;
        }
        let requests = shared.borrow().round.requests;
        if requests == 0 {
            return Err(failed(&"no request was made"));
        }
        println!(
            "round {number}: killed after {load:.3?} and {requests} requests; {tally:?}, at revision {}",
            model.revision
        );
        let mut flags = args.list("server-flag").to_vec();
        flags.push(format!("--snapshot-count={}", SNAPSHOT_COUNTS[rng.below(SNAPSHOT_COUNTS.len() as u64) as usize]));
        setup.set_flags(flags);
    }
    let failed =
        |what: &dyn std::fmt::Display| Failure(format!("at the end, seed {seed}: {what}\nkept: {}", dir.display()));
    let server = setup.start(PATIENCE).await.map_err(|e| failed(&e))?;
    let tally = one_check(&server, &shared, &mut model, &mut rng).await.map_err(|e| failed(&e))?;
    add(&mut sum, tally);
    short_leases_end(&server, &shared).await.map_err(|e| failed(&e))?;
    server.kill()?;
    println!(
        "{} rounds in {:.0?}: {} acknowledged writes, none lost, none doubled, no gap up to revision {}; \
         in flight at a kill: {} kept, {} not; {} leases ended, slowest start {slowest_start:.2?}; {} hashes compared",
        args.uint("rounds"),
        begin.elapsed(),
        sum.acknowledged,
        model.revision,
        sum.in_flight_kept,
        sum.in_flight_lost,
        sum.lease_ends,
        sum.hashes,
    );
    if args.text("dir").is_empty() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

/// Starts the server; in one round of four it is first killed while it recovers.
async fn start_again(setup: &Setup, rng: &mut Rng) -> Result<Server, crate::process::StartError> {
    if rng.below(4) == 0 {
        let moment = Duration::from_micros(rng.below(200_000));
        setup.start_and_kill(moment).await?;
    }
    setup.start(PATIENCE).await
}

async fn one_check(
    server: &Server,
    shared: &RefCell<Shared>,
    model: &mut Model,
    rng: &mut Rng,
) -> Result<Tally, String> {
    let connection = Connection::open(&server.endpoint()).await.map_err(|e| e.to_string())?;
    let (mut round, mut known) = {
        let mut shared = shared.borrow_mut();
        (std::mem::take(&mut shared.round), std::mem::take(&mut shared.known))
    };
    let result = check(&connection, &mut round, &mut known, model, rng).await;
    shared.borrow_mut().known = known;
    result.map_err(|e| e.to_string())
}

/// Waits until every lease with a short time has ended.
async fn short_leases_end(server: &Server, shared: &RefCell<Shared>) -> Result<(), String> {
    let connection = Connection::open(&server.endpoint()).await.map_err(|e| e.to_string())?;
    let begin = Instant::now();
    loop {
        let list = connection.call(rpc::LEASE_LEASES, &LeaseLeasesRequest {}).await.map_err(|e| e.to_string())?;
        let short = |id: &i64| shared.borrow().known.leases.get(id).is_some_and(|l| l.ttl.as_secs() == SHORT_TTL);
        let left = list.leases.iter().filter(|l| short(&l.id)).count();
        if left == 0 {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("{left} leases of {SHORT_TTL} s have not ended within {PATIENCE:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn add(sum: &mut Tally, one: Tally) {
    sum.acknowledged += one.acknowledged;
    sum.in_flight_kept += one.in_flight_kept;
    sum.in_flight_lost += one.in_flight_lost;
    sum.lease_ends += one.lease_ends;
    sum.hashes += one.hashes;
}
