//! `member add`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::{connect, text};
use crate::exit::Exit;
use crate::go::quote::quote;
use crate::print::Answer;
use bytes::Bytes;
use ferrite_client::proto::etcdserverpb::Member;
use prost::Message as _;

pub static COMMAND: Command = Command {
    usage: "add <memberName> [options]",
    short: "Adds a member into the cluster",
    group: Group::Maintenance,
    flags: &[
        Flag::text("peer-urls", "", "comma separated peer URLs for the new member"),
        Flag::bool("learner", "the new member does not vote"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let name = match call.args() {
        [] => return Err(Exit::bad_args("member name not provided")),
        [name] => text(name),
        many => return Err(Exit::bad_args(too_many(many))),
    };
    let urls = call.flags().text("peer-urls").to_string();
    if urls.is_empty() {
        return Err(Exit::bad_args("member peer urls not provided"));
    }
    let learner = call.flags().bool("learner");
    let (client, printer) = connect::timed(&mut call).await?;
    let response = client.member_add(super::peer_urls(&urls)?, learner).await?;
    let id = response.member.as_ref().map_or(0, |member| member.id);
    let cluster = response.header.unwrap_or_default().cluster_id;
    let role = if learner { "added as learner to" } else { "added to" };
    let text =
        format!("Member {id:16x} {role} cluster {cluster:16x}\n\n{}", variables(&name, &urls, id, &response.members));
    printer.print(&Answer::MemberChange {
        text,
        header: response.header,
        message: response.encode_to_vec().into(),
        added: response.member,
        members: response.members,
    })
}

/// What the new member has to be started with.
fn variables(name: &str, urls: &str, id: u64, members: &[Member]) -> String {
    let cluster: Vec<String> = members
        .iter()
        .flat_map(|member| {
            let name = if member.id == id { name } else { &member.name };
            member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
        })
        .collect();
    [
        ("ETCD_NAME", name),
        ("ETCD_INITIAL_CLUSTER", &cluster.join(",")),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", urls),
        ("ETCD_INITIAL_CLUSTER_STATE", "existing"),
    ]
    .map(|(name, value)| format!("{name}={}", quote(value.as_bytes())))
    .join("\n")
}

fn too_many(words: &[Bytes]) -> String {
    let mut text = "too many arguments".to_string();
    for word in words.iter().map(text_of) {
        if word.to_lowercase().starts_with("http") {
            text.push_str(&format!(", did you mean --peer-urls={word}"));
        }
    }
    text
}

fn text_of(word: &Bytes) -> String {
    text(word)
}
