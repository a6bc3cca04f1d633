//! `role`: what users may do.

mod add;
mod delete;
mod get;
mod grant_permission;
mod list;
mod revoke_permission;

use bytes::Bytes;
use ferrite_client::prefix_end;

use crate::command::{Command, Flags, Group};
use crate::exit::Exit;

pub static COMMAND: Command = Command {
    usage: "role",
    short: "Role related commands",
    group: Group::Authentication,

    commands: &[
        &add::COMMAND,
        &delete::COMMAND,
        &get::COMMAND,
        &grant_permission::COMMAND,
        &list::COMMAND,
        &revoke_permission::COMMAND,
    ],
    ..Command::NONE
};

/// The key and the end of the range that a permission is about.
fn range(flags: &Flags, key: &Bytes, end: Option<&Bytes>) -> Result<(Bytes, Bytes), Exit> {
    const OPEN: Bytes = Bytes::from_static(&[0]);
    let (prefix, from_key) = (flags.bool("prefix"), flags.bool("from-key"));
    let conflict = match end {
        None if prefix && from_key => Some("--from-key and --prefix flags are mutually exclusive"),
        Some(_) if prefix => Some("unexpected endkey argument with --prefix flag"),
        Some(_) if from_key => Some("unexpected endkey argument with --from-key flag"),
        _ => None,
    };
    if let Some(conflict) = conflict {
        return Err(Exit::bad_args(conflict));
    }
    // Servers know no empty key: the first one takes its place, and its end is not asked for.
    Ok(match (key.is_empty(), end) {
        (true, _) => (OPEN, if prefix || from_key { OPEN } else { Bytes::new() }),
        (false, Some(end)) => (key.clone(), end.clone()),
        (false, None) if prefix => (key.clone(), prefix_end(key)),
        (false, None) if from_key => (key.clone(), OPEN),
        (false, None) => (key.clone(), Bytes::new()),
    })
}
