//! A replicated map: the smallest use of Raft, the write-ahead log, snapshots and the peer protocol. Its README tries it.
//!
//! ```text
//!   PUT, GET, POST, DELETE ──▶ api ──Input──▶ node, a thread ── save, then send, then apply ──▶ state (the map, the members)
//!                               │               │    ▲  │                                        ▲
//!                               │               ▼    │  └── messages ──▶ Transport ──▶ other members
//!                               │              disk  └── Input ── peers ◀── messages of others   │
//!                               └── GET reads what this member has applied ──────────────────────┘
//! ```
//!
//! What holds: nothing is sent or applied before what it stands on is saved; every member applies the same entries in the
//! same order; a member that was killed goes on from its disk.

mod api;
mod disk;
mod member;
mod node;
mod peers;
mod state;

pub use disk::DiskError;
pub use member::{Ended, Member, Options, Settings, StartError};
