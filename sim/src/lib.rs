//! A whole cluster in one thread: the members that production runs, with network, disks and clocks that one seed decides.
//!
//!   seed ──▶ World ──▶ clients, holders of leases, watchers, an administrator ──▶ Cluster ──▶ answers ──▶ History
//!               └──▶ faults ───────────────────────────────────────────────────────▶ │
//!                                                                                     ├─▶ Ledger: at every step
//!                                                                                     └─▶ checks: at the end
//!
//! [`engine`] is one member, [`node`] a member with its disk, clock and watchers, [`cluster`] all of them with the network.
//! What holds: nothing here looks at a real clock, thread or file, so a seed always makes the same run. The code under
//! test is that of `member`, `raft`, `storage` and `state`; only the loops around it are ours.

mod administrator;
mod clients;
mod clock;
mod cluster;
mod defect;
mod delays;
pub mod engine;
mod faults;
mod finding;
mod history;
mod leases;
mod ledger;
pub mod linearizable;
mod network;
mod node;
mod requests;
mod watches;
mod world;
mod written;

pub use administrator::Changes;
pub use defect::Defect;
pub use faults::{Fault, Faults, Script};
pub use finding::{Check, Finding};
pub use history::{Event, History, Operation, Outcome, SLOTS, Value, Values};
pub use leases::Plan;
pub use network::Weather;
pub use world::{EndedLease, Report, Run, run};
