//! `endpoint hashkv`: hashes of what members hold, to compare.

use super::endpoints;
use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "hashkv",
    short: "Prints the KV history hash for each endpoint in --endpoints",
    group: Group::Maintenance,
    flags: &[Flag::int("rev", "maximum revision to hash (default: latest revision)")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let settings = Settings::read(&mut call, &[])?;
    let revision = call.flags().int("rev");
    let (mut all, mut last_error) = (Vec::new(), None);
    for endpoint in endpoints(&call, &settings).await? {
        let client = settings.connect_to(&endpoint).await.map_err(Exit::bad_connection)?;
        match client.with_timeout(settings.timeout).hash_kv(&endpoint, revision).await {
            Ok(response) => all.push((endpoint, response)),
            Err(error) => {
                eprintln!("Failed to get the hash of endpoint {endpoint} ({error})");
                last_error = Some(error);
            }
        }
    }
    settings.printer.print(&Answer::EndpointHashKv(all))?;
    last_error.map_or(Ok(()), |error| Err(error.into()))
}
