//! One member: Raft, storage and state, driven by inputs.

mod checkpoint;
pub mod duty;
mod inbox;
mod member;
mod progress;
mod reads;
mod request_ids;

pub use checkpoint::{Checkpoints, Limits};
pub use inbox::{Inbox, Outlet, inbox};
pub use member::{
    Apply, ConfChanged, Input, Member, Outbox, Proposal, ReadFailed, Refused, Save, SaveNumber, Waiter, Waits,
};
pub use progress::Progress;
pub use request_ids::RequestIds;
