//! etcd's peer protocol: how the messages of Raft travel between members, over HTTP/1.1.
//!
//!   member ──send──▶ Transport ──▶ Peer ──▶ queue "msgapp"  ──▶ Outgoing, a body without end ──▶ the peer that asked for it
//!                                    │  └─▶ queue "message" ──▶ Outgoing
//!                                    ├────▶ Pipeline, POST /raft: while no stream is open
//!                                    └────▶ POST /raft/snapshot
//!
//!   Incoming, one per peer and kind: dials, GET /raft/stream/... ──frames──▶ Owner::deliver
//!   Door, behind the peer port: streams, pipeline posts and snapshots of others ──▶ Owner::deliver
//!   Asker: any other page of a member
//!
//! What holds:
//! * whoever wants messages dials: the answer's body carries them. Each pair of members has four streams, two each way;
//! * log data has a stream of its own, so that heartbeats, votes and acknowledgements never wait behind it;
//! * every queue is bounded in messages, and all of one peer in bytes. What does not fit is dropped and reported to
//!   Raft, which asks again: a slow peer delays only itself, and nobody who sends ever waits;
//! * a length in a frame is a claim: memory is taken as bytes arrive, up to a limit;
//! * what others post is bounded, too, in bytes of all of them together and in time;
//! * what a peer sends is checked for the cluster, the version and the address before it reaches the owner.
//!
//! The rules are those of etcd's `rafthttp`, so that members of either kind work together. Tasks run on the runtime that
//! [`Transport::start`] is called on; the crate opens no listener.

mod ask;
mod body;
mod dial;
mod door;
mod frame;
mod gather;
mod headers;
mod incoming;
mod local;
mod outgoing;
mod owner;
mod peer;
mod pipeline;
mod prober;
mod queue;
mod snapshot;
mod transport;
mod urls;

pub use ask::{Answer, Asker};
pub use body::PeerBody;
pub use dial::{Connect, Connecting, Impatient, Io, Plain, Timeouts};
pub use door::Door;
pub use frame::{FrameError, Stream};
pub use headers::Refusal;
pub use local::{Local, Version};
pub use owner::{Delivery, Owner, ReceiveSnapshot};
pub use queue::message_bytes;
pub use snapshot::{Database, DatabasePieces};
pub use transport::Transport;
pub use urls::{BadUrl, PeerUrl, Scheme};
