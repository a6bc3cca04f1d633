//! The door of the crate: what a node takes, what it hands out and in which order, and what it refuses.

mod bad_input;
mod contracts;
mod fuzz;
mod one;
mod order;
