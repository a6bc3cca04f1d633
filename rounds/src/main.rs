//! Rounds of real faults against a cluster of real processes, under load, and the check that what its clients were told
//! could have happened on one machine.
//!
//!   street (namespaces, one a member) ◀─ faults: cuts of one or both ways, SIGKILL, SIGSTOP, a slow disk
//!          ▲
//!   members (processes) ◀── load: clients that note what they ask and are told ──▶ history ──▶ linearizable? revisions?
//!
//! A round: load begins, a fault comes, stays and goes, every member makes a put, load ends, every member tells what it has in the end of this round
//! and of an earlier one, and all must have come to the same keys. Behind the last one all members are killed and started,
//! and tell what they have of all rounds. What is found is printed with the seed, which decides faults and requests (not the
//! machine's time, so that a round is not repeated exactly).
//!
//! It needs root, `ip`, and for slow disks the block I/O controller of cgroups v1. It touches nothing outside namespaces
//! and groups of its own.

mod faults;
mod load;
mod member;
mod street;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use faults::Fault;
use load::{Load, Notes};
use member::Member;
use street::Street;
use verdict::{judge, longest_pause, since};

const USAGE: &str = "usage: ferrite-rounds --etcd PATH[,PATH,PATH] [--rounds N] [--seed N] [--dir DIR]
  --etcd    the binary of each member, or of all
  --rounds  how many (default 100)
  --seed    what decides faults and requests (default 1)
  --dir     where members keep their data and logs (default ./rounds)";

/// How long load runs before a fault, how long a fault stays, and how long load goes on behind it.
const BEFORE: Duration = Duration::from_secs(1);
const DURING: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(3);
/// Behind a round's load, which goes on for as long, every member must make a put within this time. What may keep a member
/// that is whole from it for longer than `AFTER` is the way to the others, which TCP tries again only after as long as it
/// was cut (`DURING`, so a second later), elections (up to two seconds each, more than one if votes are split), and requests
/// given up after two seconds each: less than ten seconds. As much again is for a machine that has other work.
const WRITE_AGAIN: Duration = Duration::from_secs(20);
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
    if arguments.rounds == 0 {
        return Err("--rounds 0 would show nothing".to_owned());
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
    let notes = Notes::begin();
    // Nor before there is a leader, or the first pause would be that of its election.
    on_local(&runtime, load::written_everywhere(&notes, load::groups(0).start, SETTLE))?;
    for round in 0..arguments.rounds {
        let begun = notes.now();
        let ran = one_round(&street, &mut members, &notes, round, &mut dice);
        let (fault, ended) = on_local(&runtime, ran).map_err(|error| format!("round {round}: {error}"))?;
        judge(&notes.history(), begun).map_err(|violation| format!("round {round}, {fault:?}: {}", violation.0))?;
        let history = since(&notes.history(), begun);
        println!(
            "round {round}: {fault:?}: {} requests, {} answered, longest pause {:.2} s, {:.1} s",
            history.0.len(),
            history.answered(),
            longest_pause(&history, begun, ended).as_secs_f64(),
            (notes.now() - begun).as_secs_f64()
        );
    }
    on_local(&runtime, at_last(&street, &mut members, &notes, arguments.rounds))
        .map_err(|error| format!("behind all rounds: {error}"))?;
    let history = notes.history();
    judge(&history, Duration::ZERO).map_err(|violation| format!("behind all rounds: {}", violation.0))?;
    println!("{} rounds clean: {} requests, {} answered", arguments.rounds, history.0.len(), history.answered());
    Ok(())
}

fn on_local<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(LocalSet::new().run_until(work))
}

/// Says which fault it was, and when load ended.
async fn one_round(
    street: &Street,
    members: &mut [Member],
    notes: &Notes,
    round: u64,
    dice: &mut Dice,
) -> Result<(Fault, Duration), AnyError> {
    let load = Load::begin(notes, round, dice.roll());
    tokio::time::sleep(BEFORE).await;
    let leader = load::leader().await;
    let fault = Fault::draw(dice, leader);
    let ran: Result<Duration, AnyError> = async {
        fault.begin(street, members)?;
        tokio::time::sleep(DURING).await;
        fault.end(street, members)?;
        tokio::time::sleep(AFTER).await;
        // While load goes on: otherwise the time until the last member has written would look like a pause.
        load::written_everywhere(notes, load::groups(round).start, WRITE_AGAIN).await?;
        let ended = notes.now();
        load.end().await?;
        load::read_everywhere(notes, load::groups(round), SETTLE).await?;
        if round > 0 {
            load::read_everywhere(notes, load::groups(dice.below(round)), SETTLE).await?;
        }
        load::same_everywhere(SETTLE).await?;
        Ok(ended)
    }
    .await;
    // This comes before what came of it.
    let ran = members.iter_mut().try_for_each(Member::still_runs).and(ran);
    Ok((fault, ran.map_err(|error| format!("{fault:?}: {error}"))?))
}

/// Every member starts once more on what it has, and tells what it has of all rounds: none of it may come from what only
/// memory held.
async fn at_last(street: &Street, members: &mut [Member], notes: &Notes, rounds: u64) -> Result<(), AnyError> {
    Fault::AllKilled.begin(street, members)?;
    Fault::AllKilled.end(street, members)?;
    load::read_everywhere(notes, 0..load::groups(rounds).start, SETTLE).await?;
    load::same_everywhere(SETTLE).await
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

    #[test]
    fn arguments() {
        let parsed = |text: &str| parse(text.split(' ').map(str::to_owned));
        assert_eq!(parsed("--etcd a").unwrap().binaries.len(), MEMBERS);
        assert_eq!(parsed("--etcd a,b,c --rounds 7 --seed 9").unwrap().rounds, 7);
        for wrong in ["--etcd a,b", "--etcd a --rounds many", "--etcd a --rounds 0", "--etcd", "--etcd a --speed 9"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
