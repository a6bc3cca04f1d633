//! `member list`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::connect;
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "list",
    short: "Lists all members in the cluster",
    group: Group::Maintenance,
    flags: &[Flag::text("consistency", "l", "linearizable(l) or serializable(s)")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let linearizable = match call.flags().text("consistency") {
        "l" => true,
        "s" => false,
        // etcd shows the default here, whatever was given.
        _ => return Err(Exit::bad_feature("unknown consistency flag \"l\"")),
    };
    let (client, printer) = connect::timed(&mut call).await?;
    printer.print(&Answer::MemberList(client.member_list(linearizable).await?))
}
