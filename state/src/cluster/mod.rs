//! Who is in the cluster, and which version it speaks: the rows of `members`, `members_removed` and `cluster`, and Raft's
//! configuration beside them.
//!
//!   conf change ──validate──▶ members, conf state ──▶ rows
//!   publish, cluster version, downgrade ──▶ rows
//!
//! A change that does not pass changes nothing, neither here nor in Raft. A removed member never comes back.

mod conf_state;
mod id;
mod member;
mod membership;
mod version;

pub use id::{cluster_id, member_id, member_id_at};
pub use member::Member;
pub use membership::{Cluster, DowngradeInfo, RowError};
pub use version::ClusterVersion;
