//! `check`: whether a cluster is fast enough for a load.

mod datascale;
mod load;
mod perf;

use ferrite_client::{Client, Delete, Get};

use super::connect::Settings;
use crate::command::{Command, Flag, Flags, Group};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "check",
    short: "commands for checking properties of the etcd cluster",
    group: Group::Utility,
    commands: &[&datascale::COMMAND, &perf::COMMAND],
    ..Command::NONE
};

const LOAD: Flag = Flag::text("load", "s", "the load to check for: s(small), m(medium), l(large), xl(xLarge)");
const COMPACT: Flag = Flag::bool("auto-compact", "compact storage with the last revision after the check is finished");
const DEFRAG: Flag = Flag::bool("auto-defrag", "defragment storage after the check is finished");

/// A size of load, from small to very large.
#[derive(Clone, Copy, Debug)]
enum Size {
    Small,
    Medium,
    Large,
    VeryLarge,
}

impl Size {
    fn of(flags: &Flags) -> Result<Size, Exit> {
        match flags.text("load") {
            "s" | "small" => Ok(Size::Small),
            "m" | "medium" => Ok(Size::Medium),
            "l" | "large" => Ok(Size::Large),
            "xl" | "xLarge" => Ok(Size::VeryLarge),
            other => Err(Exit::bad_feature(format!("unknown load option {other}"))),
        }
    }
}

/// Keys that were there before must not be deleted with ours.
async fn is_empty(client: &Client, prefix: &str) -> Result<bool, Exit> {
    Ok(client.get(Get::new(prefix.to_string()).prefix().limit(1)).await?.kvs.is_empty())
}

/// As many clients as the load has, each with a connection of its own.
async fn clients(settings: &Settings, count: usize) -> Result<Vec<Client>, Exit> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(settings.connect().await?);
    }
    Ok(clients)
}

/// Deletes what was written, and with the flags for it, compacts and defragments.
async fn clean_up(client: &Client, flags: &Flags) -> Result<(), Exit> {
    let deleted = client.delete(Delete::new(flags.text("prefix").to_string()).prefix()).await;
    let failed = |error| Exit::error(format!("FAIL: Cleanup failed during key deletion: ERROR({error})"));
    let revision = deleted.map_err(failed)?.header.unwrap_or_default().revision;
    if flags.bool("auto-compact") {
        say(&format!("Compacting with revision {revision}"))?;
        client.compact(revision, true).await?;
        say(&format!("Compacted with revision {revision}"))?;
    }
    if flags.bool("auto-defrag") {
        for endpoint in &client.config().endpoints {
            say(&format!("Defragmenting {endpoint:?}"))?;
            client.defragment(endpoint).await?;
            say(&format!("Defragmented {endpoint:?}"))?;
        }
    }
    Ok(())
}

fn say(text: &str) -> Result<(), Exit> {
    exit::print(format!("{text}\n").as_bytes())
}
