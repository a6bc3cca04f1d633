//! `defrag`: gives unused space back to the file system.

use tokio::time::Instant;

use super::connect::Settings;
use super::endpoint::{CLUSTER, endpoints};
use crate::command::{Command, Group, Invocation};
use crate::exit::{self, Exit};
use crate::go::duration::GoDuration;

pub static COMMAND: Command = Command {
    usage: "defrag",
    short: "Defragments the storage of the etcd members with given endpoints",
    group: Group::Maintenance,
    flags: &[CLUSTER],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let settings = Settings::read(&mut call, &[])?;
    let mut failed = false;
    for endpoint in endpoints(&call, &settings).await? {
        let client = settings.connect_to(&endpoint).await.map_err(Exit::bad_connection)?;
        let start = Instant::now();
        let result = client.with_timeout(settings.timeout).defragment(&endpoint).await;
        let took = GoDuration::from(start.elapsed());
        match result {
            Ok(_) => {
                let text = format!("Finished defragmenting etcd member[{endpoint}]. took {took}\n");
                exit::print(text.as_bytes())?;
            }
            Err(error) => {
                eprintln!("Failed to defragment etcd member[{endpoint}]. took {took}. ({error})");
                failed = true;
            }
        }
    }
    if failed { Err(Exit::silent(1)) } else { Ok(()) }
}
