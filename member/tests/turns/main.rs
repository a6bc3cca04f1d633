//! Turns of one member.

mod changes;
mod checkpoints;
mod election;
mod leases;
mod rig;
mod stall;
