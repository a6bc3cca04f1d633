//! `check`: whether a cluster is fast enough for a load.

use super::not_built;
use crate::command::{Command, Flag, Group};

pub static COMMAND: Command = Command {
    usage: "check",
    short: "commands for checking properties of the etcd cluster",
    group: Group::Utility,
    commands: &[&PERF, &DATASCALE],
    ..Command::NONE
};

static PERF: Command = Command {
    usage: "perf [options]",
    short: "Check the performance of the etcd cluster",
    flags: &[
        Flag::text("load", "s", "the load to check for: s(small), m(medium), l(large), xl(xLarge)"),
        Flag::text("prefix", "/etcdctl-check-perf/", "the prefix of the keys that are written"),
        Flag::bool("auto-compact", "compact when it is done"),
        Flag::bool("auto-defrag", "defragment when it is done"),
    ],
    run: Some(|call| Box::pin(not_built(call))),
    ..Command::NONE
};

static DATASCALE: Command = Command {
    usage: "datascale [options]",
    short: "Check the memory usage of holding data for different workloads on a given server endpoint.",
    flags: &[
        Flag::text("load", "s", "the load to check for: s(small), m(medium), l(large), xl(xLarge)"),
        Flag::text("prefix", "/etcdctl-check-datascale/", "the prefix of the keys that are written"),
        Flag::bool("auto-compact", "compact when it is done"),
        Flag::bool("auto-defrag", "defragment when it is done"),
    ],
    run: Some(|call| Box::pin(not_built(call))),
    ..Command::NONE
};
