//! The messages of etcd's API, log and files, one module a protobuf package, generated from `proto/*.proto`.
//!
//! `wire` reads them as generously as Go does. `raft` (a feature) is the only place where Raft's own types and their wire form meet.

macro_rules! packages {
    ($($(#[$doc:meta])* $module:ident = $package:literal;)*) => {
        $($(#[$doc])* #[allow(missing_debug_implementations, clippy::all)]
        pub mod $module { include!(concat!(env!("OUT_DIR"), "/", $package, ".rs")); })*
    };
}

packages! {
    /// Users, roles and permissions as they are stored.
    authpb = "authpb";
    /// The client API, and the requests that the log carries.
    etcdserverpb = "etcdserverpb";
    /// Leases as they are stored.
    leasepb = "leasepb";
    /// Members and versions as the log carries them.
    membershippb = "membershippb";
    /// Keys and events.
    mvccpb = "mvccpb";
    /// Raft's messages and persistent state.
    raftpb = "raftpb";
    /// The envelope of a `.snap` file.
    snappb = "snappb";
    /// The election service.
    v3electionpb = "v3electionpb";
    /// The lock service.
    v3lockpb = "v3lockpb";
    /// Records of the write-ahead log.
    walpb = "walpb";
    /// The gRPC health service.
    healthpb = "grpc.health.v1";
}

#[cfg(feature = "raft")]
pub mod raft;
pub mod wire;
