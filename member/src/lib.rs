//! One member: Raft, storage and state, driven by inputs.

mod alone;
mod applier;
mod backlog;
pub mod bootstrap;
mod checkpoint;
mod closing;
mod cut;
pub mod duty;
mod inbox;
mod inquiry;
mod install;
mod log_writer;
mod member;
mod outgoing;
mod progress;
mod reads;
mod receive;
mod request_ids;
mod silence;
mod store_keeper;
mod timing;
mod transfer;
mod v2_snapshot;

pub use applier::{Applier, ApplierError, ApplyDone, ApplyJob, ApplyNews, TrimPace};
pub use checkpoint::{Checkpoints, Limits};
pub use closing::Closing;
pub use cut::Cut;
pub use inbox::{Inbox, Outlet, StandIn, inbox};
pub use inquiry::Inquiry;
pub use log_writer::{Keep, LogCheckpoint, LogDone, LogJob, LogWriter, LogWriterError};
pub use member::{
    Apply, ConfChanged, Input, Member, MembersProposal, Outbox, Pace, Proposal, ReadFailed, Refused, Save, SaveNumber,
    Waiter, Waits,
};
pub use progress::Progress;
pub use receive::{Arriving, Place, Prepared, ReceiveError, Receiver};
pub use request_ids::RequestIds;
pub use store_keeper::{StoreDone, StoreJob, StoreKeeper, StoreKeeperError};
pub use timing::{ApplyTiming, ByKind, LogTiming, StoreTiming};
pub use transfer::transfer;
