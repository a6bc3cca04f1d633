//! What a member keeps, whatever its disk does.
//!
//!   workload ──▶ Life: all owners, stepped in one thread as a seed says ──▶ LyingDisk
//!                  │ entries                       │ acknowledgements             │ cut, failed, full, damaged
//!                  ▼                               ▼                              ▼
//!                Model, a naive list of versions ◀── compared ── another Life, opened on what is left
//!
//! What holds: an entry whose outcome was answered is in the log of every later life, and the state is what the model
//! says of that log: keys, revisions, leases, compaction, HashKV. A log may be longer than what was answered.

mod crash;
mod damage;
mod faults;
mod harness;
mod model;
mod refusals;
mod space;
mod workload;
