//! `auth enable`.

use ferrite_client::{Client, Error, Known};

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, none};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "enable",
    short: "Enables authentication",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    none(call.args(), "auth enable command does not accept any arguments")?;
    let (client, _) = connect::timed(&mut call).await?;
    match client.auth_enable().await {
        // Who enables authentication wants root to be able to do everything.
        Err(error) if error.is(Known::RootRoleNotExist) => {
            make_root(&client).await?;
            client.auth_enable().await?
        }
        other => other?,
    };
    exit::print(b"Authentication Enabled\n")
}

async fn make_root(client: &Client) -> Result<(), Error> {
    match client.role_add("root").await {
        Err(error) if !error.is(Known::RoleAlreadyExist) => return Err(error),
        _ => {}
    }
    client.user_grant_role("root", "root").await?;
    Ok(())
}
