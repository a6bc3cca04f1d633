//! `role revoke-permission`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::{connect, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "revoke-permission [options] <role name> <key> [endkey]",
    short: "Revokes a key from a role",
    group: Group::Authentication,
    flags: &[
        Flag::bool("prefix", "revoke a prefix permission"),
        Flag::bool("from-key", "revoke a permission of keys that are greater than or equal to the given key"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let [role, typed, end @ ..] = call.args() else {
        let text = "role revoke-permission command requires role name and key [endkey] as its argument";
        return Err(Exit::bad_args(text));
    };
    let (key, range_end) = super::range(call.flags(), typed, end.first())?;
    let (role, typed) = (text(role), text(typed));
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.role_revoke_permission(&role, key, range_end.clone()).await?;
    let text = match &range_end[..] {
        [] => format!("Permission of key {typed} is revoked from role {role}"),
        [0] => format!("Permission of range [{typed}, <open ended> is revoked from role {role}"),
        end => {
            let end = String::from_utf8_lossy(end);
            format!("Permission of range [{typed}, {end}) is revoked from role {role}")
        }
    };
    printer.print(&Answer::Done { text, header: response.header })
}
