//! `member update`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::connect;
use crate::exit::Exit;
use crate::print::Answer;
use prost::Message as _;

pub static COMMAND: Command = Command {
    usage: "update <memberID> [options]",
    short: "Updates a member in the cluster",
    group: Group::Maintenance,
    flags: &[Flag::text("peer-urls", "", "comma separated peer URLs for the updated member")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let id = super::member_id(call.args())?;
    let urls = call.flags().text("peer-urls").to_string();
    if urls.is_empty() {
        return Err(Exit::bad_args("member peer urls not provided"));
    }
    let (client, printer) = connect::timed(&mut call).await?;
    let response = client.member_update(id, super::peer_urls(&urls)?).await?;
    let cluster = response.header.unwrap_or_default().cluster_id;
    printer.print(&Answer::MemberChange {
        text: format!("Member {id:16x} updated in cluster {cluster:16x}"),
        header: response.header,
        added: None,
        message: response.encode_to_vec().into(),
        members: response.members,
    })
}
