//! Turns of one member.

mod applying;
mod changes;
mod checkpoints;
mod compaction;
mod election;
mod leases;
mod rig;
mod stall;
