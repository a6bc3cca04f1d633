//! `role grant-permission`.

use ferrite_client::proto::authpb::Permission;
use ferrite_client::proto::authpb::permission::Type;

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::{connect, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "grant-permission [options] <role name> <permission type> <key> [endkey]",
    short: "Grants a key to a role",
    group: Group::Authentication,
    flags: &[
        Flag::bool("prefix", "grant a prefix permission"),
        Flag::bool("from-key", "grant a permission of keys that are greater than or equal to the given key"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let [role, kind, key, end @ ..] = call.args() else {
        let text = "role grant command requires role name, permission type, and key [endkey] as its argument";
        return Err(Exit::bad_args(text));
    };
    let perm_type = match &text(kind).to_uppercase()[..] {
        "READ" => Type::Read,
        "WRITE" => Type::Write,
        "READWRITE" => Type::Readwrite,
        _ => return Err(Exit::bad_args(format!("invalid permission type: {}", text(kind)))),
    };
    let (key, range_end) = super::range(call.flags(), key, end.first())?;
    let permission = Permission { perm_type: perm_type.into(), key, range_end };
    let role = text(role);
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.role_grant_permission(&role, permission).await?;
    printer.print(&Answer::Done { text: format!("Role {role} updated"), header: response.header })
}
