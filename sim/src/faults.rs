//! What goes wrong, and when: as the dice say, or as a script does.

use std::time::Duration;

use ferrite_storage::vfs::lying::Dice;

use crate::cluster::Cluster;
use crate::network::Weather;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of its own, and any of them may be on")]
pub struct Faults {
    /// Loss, delay, doubling, cuts one-way and two-way.
    pub network: bool,
    /// Power failures, and processes that are killed.
    pub crashes: bool,
    pub pauses: bool,
    /// Failed syncs and writes, full and slow disks.
    pub disks: bool,
    /// Clocks that drift.
    pub clocks: bool,
    /// Members come and go, leadership is handed over.
    pub members: bool,
}

impl Faults {
    pub const ALL: Faults =
        Faults { network: true, crashes: true, pauses: true, disks: true, clocks: true, members: true };
    pub const NONE: Faults =
        Faults { network: false, crashes: false, pauses: false, disks: false, clocks: false, members: false };
}

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Weather(Weather),
    /// Nothing gets from one to the other.
    Cut {
        from: usize,
        to: usize,
    },
    /// Nothing gets to it or from it.
    Isolate(usize),
    /// The same of whoever leads.
    IsolateLeader,
    /// All ways are open.
    Heal,
    /// Without power for so long.
    PowerCut {
        member: usize,
        down: Duration,
    },
    /// The same of whoever leads.
    LeaderPowerCut {
        down: Duration,
    },
    /// Its process is killed, and started again after so long.
    Kill {
        member: usize,
        down: Duration,
    },
    /// The same of whoever leads.
    LeaderKill {
        down: Duration,
    },
    /// It does nothing for so long.
    Sleep {
        member: usize,
        pause: Duration,
    },
    /// The same of whoever leads.
    LeaderSleep {
        pause: Duration,
    },
    FailSync(usize),
    FailWrite(usize),
    /// So many bytes fit on its disk.
    Fill {
        member: usize,
        room: u64,
    },
    /// Its disk takes up to this long for a step.
    SlowDown {
        member: usize,
        slowest: Duration,
    },
    MendDisks,
}

/// Faults at their times.
pub type Script = &'static [(Duration, Fault)];

/// The source of faults.
#[derive(Debug)]
pub(crate) struct Trouble {
    faults: Faults,
    next: Duration,
    script: Script,
}

impl Trouble {
    pub fn new(faults: Faults, script: Script) -> Trouble {
        Trouble { faults, next: Duration::from_secs(2), script }
    }

    pub fn next(&self) -> Duration {
        self.script.first().map_or(self.next, |(at, _)| self.next.min(*at))
    }

    /// What is due happens.
    pub fn act(&mut self, cluster: &mut Cluster) {
        while let Some(((_, fault), rest)) = self.script.split_first().filter(|((at, _), _)| *at <= cluster.now) {
            strike(*fault, cluster);
            self.script = rest;
        }
        if self.next <= cluster.now {
            self.next = cluster.now + Duration::from_millis(200 + cluster.dice.below(3000));
            if let Some(fault) = self.choose(cluster) {
                strike(fault, cluster);
            }
        }
    }

    /// Nothing more happens.
    pub fn end(&mut self) {
        (self.next, self.script) = (Duration::MAX, &[]);
    }

    fn choose(&self, cluster: &mut Cluster) -> Option<Fault> {
        let Faults { network, crashes, pauses, disks, .. } = self.faults;
        Some(match cluster.dice.below(14) {
            0 | 1 if network => Fault::Weather(match cluster.dice.below(3) {
                0 => Weather::FINE,
                1 => Weather { lost: 50, doubled: 50, slowest: Duration::from_millis(50) },
                _ => Weather { lost: 200, doubled: 10, slowest: Duration::from_millis(300) },
            }),
            2 | 3 if network => Fault::Cut { from: cluster.any_node(), to: cluster.any_node() },
            4 if network => Fault::Isolate(victim(cluster)),
            5 | 6 => Fault::Heal,
            7 if crashes && cluster.dice.once_in(2) => {
                Fault::Kill { member: victim(cluster), down: up_to(3000, &mut cluster.dice) }
            }
            7 if crashes => Fault::PowerCut { member: victim(cluster), down: up_to(3000, &mut cluster.dice) },
            // So short that nobody has noticed.
            8 if crashes => Fault::PowerCut { member: victim(cluster), down: up_to(50, &mut cluster.dice) },
            9 | 10 if pauses => Fault::Sleep { member: victim(cluster), pause: up_to(6000, &mut cluster.dice) },
            11 if disks => Fault::MendDisks,
            12 if disks => Fault::SlowDown {
                member: victim(cluster),
                slowest: Duration::from_millis(1) + up_to(400, &mut cluster.dice),
            },
            13 if disks => match cluster.dice.below(4) {
                0 => Fault::FailWrite(victim(cluster)),
                1 => Fault::Fill { member: victim(cluster), room: cluster.dice.below(200 << 10) },
                _ => Fault::FailSync(victim(cluster)),
            },
            _ => return None,
        })
    }
}

fn up_to(millis: u64, dice: &mut Dice) -> Duration {
    Duration::from_millis(dice.below(millis))
}

/// Whom it hits: often one that leads, where it hurts most.
fn victim(cluster: &mut Cluster) -> usize {
    match cluster.leader() {
        Some(leader) if cluster.dice.once_in(2) => leader,
        _ => cluster.any_node(),
    }
}

fn strike(fault: Fault, cluster: &mut Cluster) {
    match fault {
        Fault::Weather(weather) => {
            cluster.network.weather = weather;
            cluster.tell(&format_args!("the network: {weather:?}"));
        }
        Fault::Cut { from, to } => {
            cluster.network.cut(cluster.nodes[from].id().0, cluster.nodes[to].id().0);
            cluster.tell(&format_args!("nothing gets from m{} to m{}", from + 1, to + 1));
        }
        Fault::IsolateLeader => {
            if let Some(leader) = cluster.leader() {
                strike(Fault::Isolate(leader), cluster);
            }
        }
        Fault::Isolate(member) => {
            let alone = cluster.nodes[member].id().0;
            for other in &cluster.nodes {
                cluster.network.cut(alone, other.id().0);
                cluster.network.cut(other.id().0, alone);
            }
            cluster.tell(&format_args!("m{} is cut off", member + 1));
        }
        Fault::Heal => {
            cluster.network.heal();
            cluster.tell(&"all ways are open");
        }
        Fault::PowerCut { member, down } => cluster.crash(member, down),
        Fault::LeaderPowerCut { down } => {
            if let Some(leader) = cluster.leader() {
                cluster.crash(leader, down);
            }
        }
        Fault::Kill { member, down } => cluster.kill(member, down),
        Fault::LeaderKill { down } => {
            if let Some(leader) = cluster.leader() {
                cluster.kill(leader, down);
            }
        }
        Fault::Sleep { member, pause } => {
            cluster.nodes[member].asleep_until = cluster.now + pause;
            cluster.tell(&format_args!("m{} sleeps for {pause:?}", member + 1));
        }
        Fault::LeaderSleep { pause } => {
            if let Some(member) = cluster.leader() {
                strike(Fault::Sleep { member, pause }, cluster);
            }
        }
        Fault::FailSync(member) => {
            cluster.nodes[member].fail_sync(&mut cluster.dice);
            cluster.tell(&format_args!("a sync of m{} will fail", member + 1));
        }
        Fault::FailWrite(member) => {
            cluster.nodes[member].fail_write(&mut cluster.dice);
            cluster.tell(&format_args!("a write of m{} will fail", member + 1));
        }
        Fault::Fill { member, room } => {
            cluster.nodes[member].fill(room);
            cluster.tell(&format_args!("the disk of m{} has room for {room} bytes", member + 1));
        }
        Fault::SlowDown { member, slowest } => {
            cluster.nodes[member].slow_down(slowest);
            cluster.tell(&format_args!("the disk of m{} takes up to {slowest:?}", member + 1));
        }
        Fault::MendDisks => {
            cluster.nodes.iter_mut().for_each(|node| node.mend_disk());
            cluster.tell(&"all disks are as they should be");
        }
    }
}
