//! Turns of one member.

mod changes;
mod election;
mod leases;
mod rig;
mod stall;
