//! `member promote`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect;
use crate::exit::Exit;
use crate::print::Answer;
use prost::Message as _;

pub static COMMAND: Command = Command {
    usage: "promote <memberID>",
    short: "Promotes a non-voting member in the cluster",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let id = super::member_id(call.args())?;
    let (client, printer) = connect::timed(&mut call).await?;
    let response = client.member_promote(id).await?;
    let cluster = response.header.unwrap_or_default().cluster_id;
    printer.print(&Answer::MemberChange {
        text: format!("Member {id:16x} promoted in cluster {cluster:16x}"),
        header: response.header,
        added: None,
        message: response.encode_to_vec().into(),
        members: response.members,
    })
}
