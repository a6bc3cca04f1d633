//! Leases whose leader goes twice.

use std::time::Duration;

use ferrite_sim::{EndedLease, Fault, Faults, Plan, Run, Script, run};

const FIRST: Duration = Duration::from_secs(9);
const SECOND: Duration = Duration::from_secs(24);
const DOWN: Duration = Duration::from_secs(5);
const SCRIPT: Script = &[(FIRST, Fault::LeaderPowerCut { down: DOWN }), (SECOND, Fault::LeaderPowerCut { down: DOWN })];

#[test]
fn none_ends_early_and_none_late_when_the_leader_goes_twice() {
    for seed in 1..4 {
        let leases = Plan::Left { count: 300, ttl_seconds: &[12, 30, 60] };
        let run_of_seed = Run { script: SCRIPT, leases, ..Run::new(seed, 3, 80, Faults::NONE) };
        // That none ends early is looked at in every run.
        let report = run(run_of_seed).unwrap_or_else(|finding| panic!("{finding}"));
        assert_eq!(report.leases.len(), 300, "seed {seed}");
        assert_eq!(report.elections.len(), 3, "seed {seed}");
        for EndedLease { ttl, promised, ended } in report.leases {
            let outages = report.elections[1..].iter().zip([FIRST, SECOND]).filter(|(_, cut)| *cut < ended);
            let outage = outages.map(|(elected, cut)| *elected - cut).sum::<Duration>();
            let latest = promised + ttl + ttl / 10 + Duration::from_secs(1) + outage;
            assert!(
                ended <= latest,
                "seed {seed}: of {ttl:?}, promised at {promised:?}, ended at {ended:?}, not {latest:?}"
            );
        }
    }
}

/// Leaders go again and again, each three seconds after the one before, and come back soon, so that who takes over has often
/// just been started. That no lease ends late is looked at in every run.
#[test]
fn none_ends_late_however_often_the_leader_goes() {
    let cut =
        |round: u64| (Duration::from_secs(6 + 3 * round), Fault::LeaderPowerCut { down: Duration::from_millis(900) });
    let script = (0..20).map(cut).collect::<Vec<_>>().leak();
    for seed in 1..4 {
        let leases = Plan::Left { count: 60, ttl_seconds: &[5, 20, 40, 60] };
        let report = run(Run { script, leases, ..Run::new(seed, 3, 100, Faults { clocks: true, ..Faults::NONE }) });
        let report = report.unwrap_or_else(|finding| panic!("{finding}"));
        // All are granted at once, and a member that is sent a snapshot of that hears of no answer.
        assert!(report.leases.len() > 30, "seed {seed}: {}", report.leases.len());
        assert!(report.elections.len() > 15, "seed {seed}: {:?}", report.elections);
    }
}
