//! `endpoint status`: what members say of themselves.

use super::endpoints;
use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::exit::Exit;
use crate::log;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "status",
    short: "Prints out the status of endpoints specified in `--endpoints` flag",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let settings = Settings::read(&mut call, &[])?;
    let (mut all, mut failed) = (Vec::new(), false);
    for endpoint in endpoints(&call, &settings).await? {
        let client = settings.connect_to(&endpoint).await.map_err(Exit::bad_connection)?;
        match client.with_timeout(settings.timeout).status(&endpoint).await {
            Ok(status) => all.push((endpoint, status)),
            Err(error) => {
                log::unreachable(error.unreachable());
                eprintln!("Failed to get the status of endpoint {endpoint} ({error})");
                failed = true;
            }
        }
    }
    settings.printer.print(&Answer::EndpointStatus(all))?;
    if failed { Err(Exit::silent(1)) } else { Ok(()) }
}
