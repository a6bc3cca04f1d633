//! Each planted defect is found, by the check that is there for it.

use std::time::Duration;

use ferrite_sim::{Check, Defect, Fault, Faults, Plan, Run, Script, Weather, run};

/// Seeds that a defect may survive.
const MOST: u64 = 300;

/// Where a defect shows.
#[derive(Clone, Copy)]
struct Setting {
    faults: Faults,
    script: Script,
    leases: Plan,
    seconds: u64,
}

/// What goes wrong goes wrong at random.
fn random(faults: Faults) -> Setting {
    Setting { faults, script: &[], leases: Plan::Mixed, seconds: 20 }
}

/// Only this goes wrong.
fn scripted(script: Vec<(Duration, Fault)>) -> Setting {
    Setting { faults: Faults::NONE, script: script.leak(), leases: Plan::Mixed, seconds: 20 }
}

/// Runs seeds until one finds the defect.
#[track_caller]
fn check(defect: Defect, Setting { faults, script, leases, seconds }: Setting, checks: &[Check]) {
    let caught = (1..=MOST).find_map(|seed| {
        let run_of_seed = Run { defect: Some(defect), script, leases, ..Run::new(seed, 3, seconds, faults) };
        run(run_of_seed).err()
    });
    let finding = caught.unwrap_or_else(|| panic!("{defect:?} is not found in {MOST} seeds"));
    let what = finding.what.lines().next().unwrap_or_default();
    println!("{defect:?}: seed {}, {:?}, {:?}: {what}", finding.seed, finding.at, finding.check);
    assert!(checks.contains(&finding.check), "{defect:?} is found by chance: {finding}");
}

const QUIET: Faults = Faults { disks: false, clocks: false, members: false, ..Faults::ALL };
const DISKS: Faults = Faults { disks: true, ..QUIET };

/// Disks are slow, so that much is under way when the power of some members goes, and comes back at once.
fn power_cuts_with_slow_disks() -> Setting {
    let millis = Duration::from_millis;
    let mut script: Vec<(Duration, Fault)> =
        (0..3).map(|member| (millis(500), Fault::SlowDown { member, slowest: millis(400) })).collect();
    for second in 3..20 {
        let at = Duration::from_secs(second);
        script.push((at, Fault::LeaderPowerCut { down: millis(1500) }));
        for member in 0..2 {
            let member = (member + second as usize) % 3;
            script.push((at + millis(20), Fault::PowerCut { member, down: millis(5) }));
        }
    }
    scripted(script)
}

/// Elections follow one another, requests for votes take long and come twice, and voters lose their power.
fn elections_on_a_slow_network() -> Setting {
    let weather = Weather { lost: 0, doubled: 300, slowest: Duration::from_millis(700) };
    let mut script = vec![(Duration::from_millis(500), Fault::Weather(weather))];
    let cut = |round: u64| {
        (Duration::from_millis(2000 + 1500 * round), Fault::LeaderPowerCut { down: Duration::from_millis(300) })
    };
    script.extend((0..12).map(cut));
    Setting { faults: Faults { crashes: true, ..Faults::NONE }, ..scripted(script) }
}

/// Disks are so slow that some clients do not wait for them.
fn slow_disks() -> Setting {
    let slow = |member| (Duration::from_millis(500), Fault::SlowDown { member, slowest: Duration::from_millis(400) });
    scripted((0..3).map(slow).collect())
}

/// Leases are renewed a long time after they have been checkpointed, and then leaders go.
fn late_renewals() -> Setting {
    let cut = |round: u64| (Duration::from_secs(7 + 6 * round), Fault::LeaderPowerCut { down: Duration::from_secs(2) });
    Setting { leases: Plan::Slow, seconds: 40, ..scripted((0..6).map(cut).collect()) }
}

/// Nobody renews leases, and leaders go when they have led for some seconds.
fn leases_are_left() -> Setting {
    let cut = |round: u64| (Duration::from_secs(6 + 5 * round), Fault::LeaderPowerCut { down: Duration::from_secs(2) });
    let leases = Plan::Left { count: 20, ttl_seconds: &[10, 20] };
    Setting { leases, seconds: 40, ..scripted((0..5).map(cut).collect()) }
}

/// Leaders are cut off for as long as it takes to elect another one.
fn leaders_are_cut_off() -> Setting {
    let cut = |round: u64| (Duration::from_millis(3000 + 2500 * round), Fault::IsolateLeader);
    let heal = |round: u64| (Duration::from_millis(5200 + 2500 * round), Fault::Heal);
    scripted((0..6).flat_map(|round| [cut(round), heal(round)]).collect())
}

/// Leaders sleep until another one leads, and longer.
fn leaders_sleep() -> Setting {
    let sleep =
        |round: u64| (Duration::from_millis(3000 + 4500 * round), Fault::LeaderSleep { pause: Duration::from_secs(4) });
    scripted((0..4).map(sleep).collect())
}

macro_rules! defects {
    ($($name:ident: $defect:ident, $setting:expr, [$($check:ident),*];)*) => {
        $(
            #[test]
            fn $name() {
                check(Defect::$defect, $setting, &[$(Check::$check),*]);
            }
        )*
    };
}

defects! {
    a_save_that_is_reported_before_it_is_written:
        SavedBeforeWritten, power_cuts_with_slow_disks(), [Stopped, Committed];
    a_log_that_is_never_synced: LogNotSynced, random(QUIET), [Stopped, Committed];
    a_directory_that_is_never_synced: DirectoryNotSynced, random(QUIET), [Stopped, Leader, Committed];
    a_vote_that_is_not_saved: VoteNotSaved, elections_on_a_slow_network(), [Leader];
    a_failed_sync_that_is_ignored: SyncErrorIgnored, random(DISKS), [Swallowed];
    a_leader_that_reads_at_once: LeaderReadsAtOnce, leaders_are_cut_off(), [Revisions];
    a_follower_that_reads_at_once: FollowerReadsAtOnce, random(QUIET), [Revisions];
    a_read_at_the_revision_of_the_question: ReadsAtRevisionOfQuestion, random(QUIET), [Linearizable];
    an_entry_that_a_member_skips: EntrySkipped, random(Faults::NONE), [Watch, Equal];
    a_request_that_is_proposed_twice: ProposedTwice, slow_disks(), [Linearizable];
    an_acknowledgement_before_the_commit: AcknowledgedWhenSaved, random(QUIET), [Revisions, Written];
    a_renewal_by_an_old_leader: RenewedByOldLeader, leaders_sleep(), [LeaseEarly];
    a_renewal_over_a_checkpoint: RenewedOverCheckpoint, late_renewals(), [LeaseEarly];
    rests_of_leases_that_are_not_written: RestsNotWritten, leases_are_left(), [LeaseLate];
    a_put_that_forgets_its_lease: LeaseNotAttached, random(QUIET), [LeaseKey];
    a_watcher_that_asks_for_an_event_again: WatchRepeats, random(QUIET), [Watch];
    a_watcher_that_skips_a_revision: WatchSkips, random(QUIET), [Watch];
    a_watch_that_ends_without_a_compaction: WatchCompacted, random(QUIET), [Watch];
    a_watch_stream_that_loses_a_message: WatchLoses, random(QUIET), [Watch];
}
