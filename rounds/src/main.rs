//! Rounds of real faults against a cluster of real processes, under load, and the check that what its clients were told
//! could have happened on one machine.
//!
//!   street (namespaces, one a member) ◀─ faults: cuts of one or both ways, SIGKILL, SIGSTOP, a slow disk
//!          ▲
//!   members (processes) ◀── load: clients that note what they ask and are told ──▶ history ──▶ linearizable? revisions?
//!
//! A round: load begins, a fault comes, stays and goes, load ends, every member tells what it has in the end, and all
//! must have come to the same keys. What is found is printed with the seed, which decides faults and requests (not the
//! machine's time, so that a round is not repeated exactly).
//!
//! It needs root, `ip`, and for slow disks the block I/O controller of cgroups v1. It touches nothing outside namespaces
//! and groups of its own.

mod faults;
mod load;
mod member;
mod street;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ferrite_sim::linearizable::{check, check_revisions};
use ferrite_sim::{Event, History, Operation, Outcome, Value};
use tokio::task::LocalSet;

use faults::Fault;
use load::Load;
use member::Member;
use street::Street;

const USAGE: &str = "usage: ferrite-rounds --etcd PATH[,PATH,PATH] [--rounds N] [--seed N] [--dir DIR]
  --etcd    the binary of each member, or of all
  --rounds  how many (default 100)
  --seed    what decides faults and requests (default 1)
  --dir     where members keep their data and logs (default ./rounds)";

/// How long load runs before a fault, how long a fault stays, and how long load goes on behind it.
const BEFORE: Duration = Duration::from_secs(1);
const DURING: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(3);
/// All members must have come to the same keys within this time behind a round.
const SETTLE: Duration = Duration::from_secs(30);

/// How many members there are.
pub(crate) const MEMBERS: usize = 3;

pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

struct Arguments {
    binaries: Vec<PathBuf>,
    rounds: u64,
    seed: u64,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match rounds(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seed {}: {error}", arguments.seed);
            ExitCode::FAILURE
        }
    }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { binaries: Vec::new(), rounds: 100, seed: 1, dir: PathBuf::from("rounds") };
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag} is a number, not {value:?}"));
        match flag.as_str() {
            "--etcd" => arguments.binaries = value.split(',').map(PathBuf::from).collect(),
            "--rounds" => arguments.rounds = number()?,
            "--seed" => arguments.seed = number()?,
            "--dir" => arguments.dir = PathBuf::from(value),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    match arguments.binaries.len() {
        1 => arguments.binaries = vec![arguments.binaries[0].clone(); MEMBERS],
        MEMBERS => {}
        other => return Err(format!("--etcd names 1 binary or {MEMBERS}, not {other}")),
    }
    Ok(arguments)
}

fn rounds(arguments: &Arguments) -> Result<(), AnyError> {
    let street = Street::build()?;
    // Everything that is started from here on lives where the street begins.
    street.move_in()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut members = (0..MEMBERS)
        .map(|number| Member::start(&street, number, &arguments.binaries[number], &arguments.dir))
        .collect::<Result<Vec<_>, _>>()?;
    // Not before all are there: what is asked of nobody tells nothing.
    runtime.block_on(load::same_everywhere(SETTLE))?;
    let mut dice = Dice(arguments.seed);
    let (mut asked, mut answered) = (0, 0);
    for round in 0..arguments.rounds {
        let begun = Instant::now();
        let (fault, history) =
            runtime.block_on(LocalSet::new().run_until(one_round(&street, &mut members, round, &mut dice)))?;
        let holds = check_revisions(&history).and_then(|()| check(&seen_through(&history)));
        holds.map_err(|violation| format!("round {round}, {fault:?}: {}", violation.0))?;
        asked += history.0.len();
        answered += history.answered();
        println!(
            "round {round}: {fault:?}: {} requests, {} answered, longest pause {:.2} s, {:.1} s",
            history.0.len(),
            history.answered(),
            longest_pause(&history).as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
    }
    println!("{} rounds clean: {asked} requests, {answered} answered", arguments.rounds);
    Ok(())
}

async fn one_round(
    street: &Street,
    members: &mut [Member],
    round: u64,
    dice: &mut Dice,
) -> Result<(Fault, History), AnyError> {
    let load = Load::begin(round, dice.roll());
    tokio::time::sleep(BEFORE).await;
    let leader = load::leader().await;
    let fault = Fault::draw(dice, leader);
    fault.begin(street, members)?;
    tokio::time::sleep(DURING).await;
    fault.end(street, members)?;
    tokio::time::sleep(AFTER).await;
    let history = load.end(SETTLE).await?;
    load::same_everywhere(SETTLE).await?;
    Ok((fault, history))
}

/// The history with what can be concluded from it: a write that nobody was told of, and whose value somebody has seen, was
/// made by the time when the first who saw it was told. Otherwise it could have been made at any time to the end, and the
/// search for an order would have to try them all.
fn seen_through(history: &History) -> History {
    let mut seen: HashMap<(u64, Value), Duration> = HashMap::new();
    for event in &history.0 {
        if let Some((when, Outcome::Found { values, .. })) = event.answered {
            for value in values {
                let first = seen.entry((event.group, value)).or_insert(when);
                *first = when.min(*first);
            }
        }
    }
    let conclude = |event: &Event| {
        let value = match event.operation {
            Operation::Put { value, .. } | Operation::Swap { new: value, .. } => Some(value),
            Operation::Delete { .. } | Operation::Get => None,
        };
        let by = value.and_then(|value| seen.get(&(event.group, value)));
        let concluded = by.map(|when| (*when, Outcome::Written { revision: 0 }));
        Event { answered: event.answered.or(concluded), ..*event }
    };
    History(history.0.iter().map(conclude).collect())
}

/// The longest time in which nothing was written.
fn longest_pause(history: &History) -> Duration {
    let mut times: Vec<Duration> = history
        .0
        .iter()
        .filter_map(|event| match event.answered {
            Some((when, Outcome::Written { .. })) => Some(when),
            _ => None,
        })
        .collect();
    times.sort();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(operation: Operation, asked: u64, answered: Option<(u64, Outcome)>) -> Event {
        let answered = answered.map(|(when, outcome)| (Duration::from_secs(when), outcome));
        Event { group: 1, operation, asked: Duration::from_secs(asked), answered }
    }

    #[test]
    fn a_write_that_was_seen_was_made_by_then() {
        let put = |value| Operation::Put { slot: 0, value };
        let found = |value| Outcome::Found { values: [value, 0], revision: 3 };
        let history = History(vec![
            event(put(7), 0, None),
            event(put(8), 0, None),
            event(Operation::Get, 1, Some((5, found(7)))),
            event(Operation::Get, 1, Some((4, found(7)))),
        ]);
        let concluded: Vec<_> =
            seen_through(&history).0.iter().map(|event| event.answered.map(|(when, _)| when)).collect();
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(concluded, [seconds(4), None, seconds(5), seconds(4)]);
        assert!(check(&seen_through(&history)).is_ok());
    }

    #[test]
    fn a_lost_write_is_found() {
        let put = event(Operation::Put { slot: 0, value: 7 }, 0, Some((1, Outcome::Written { revision: 2 })));
        let get = event(Operation::Get, 2, Some((3, Outcome::Found { values: [0, 0], revision: 2 })));
        assert!(check(&seen_through(&History(vec![put, get]))).is_err());
    }

    #[test]
    fn arguments() {
        let parsed = |text: &str| parse(text.split(' ').map(str::to_owned));
        assert_eq!(parsed("--etcd a").unwrap().binaries.len(), MEMBERS);
        assert_eq!(parsed("--etcd a,b,c --rounds 7 --seed 9").unwrap().rounds, 7);
        for wrong in ["--etcd a,b", "--etcd a --rounds many", "--etcd", "--etcd a --speed 9"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
