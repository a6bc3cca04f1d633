//! Turns of one member.

mod changes;
mod election;
mod rig;
mod stall;
