//! `make-mirror`: copies one cluster to another, and keeps copying.

use super::not_built;
use crate::command::{Command, Flag, Group, Kind};

pub static COMMAND: Command = Command {
    usage: "make-mirror [options] <destination>",
    short: "Makes a mirror at the destination etcd cluster",
    group: Group::Utility,
    flags: &[
        Flag::text("prefix", "", "key-value prefix to mirror"),
        Flag::int("rev", "the revision to start from; without it everything is copied first"),
        Flag::new(Kind::Uint, "max-txn-ops", "128", "maximum number of operations in a transaction"),
        Flag::text("dest-prefix", "", "destination prefix to mirror a prefix to a different prefix"),
        Flag::bool("no-dest-prefix", "mirror key-values to the root of the destination cluster"),
        Flag::text("dest-cert", "", "identify with this TLS certificate file at the destination"),
        Flag::text("dest-key", "", "identify with this TLS key file at the destination"),
        Flag::text("dest-cacert", "", "verify the destination with this bundle of certificates"),
        Flag::new(Kind::Bool, "dest-insecure-transport", "true", "allow connections to the destination without TLS"),
        Flag::text("dest-user", "", "destination username[:password] for authentication"),
        Flag::text("dest-password", "", "destination password for authentication"),
    ],
    run: Some(|call| Box::pin(not_built(call))),
    ..Command::NONE
};
