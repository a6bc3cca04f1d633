//! The binary `raftexample`.

mod flags;

use std::process::ExitCode;

use ferrite_peer::PeerUrl;
use ferrite_raftexample::{Ended, Member};
use tokio::net::TcpListener;

use flags::Flags;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Removed) => {
            eprintln!("this member was removed from its cluster");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("raftexample: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<Ended, Box<dyn std::error::Error>> {
    let Some(Flags { options, port }) = Flags::parse(std::env::args().skip(1))? else {
        print!("{}", flags::HELP);
        return Ok(Ended::Stopped);
    };
    let url = options.url().ok_or_else(|| format!("--id {}: there is no such member in --cluster", options.id))?;
    let address = url.parse::<PeerUrl>()?.address;
    // Clients and members reach this one under the same host.
    let (host, _) = address.rsplit_once(':').ok_or_else(|| format!("{url} has no port"))?;
    let bind = async |address: String| {
        TcpListener::bind(&address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    let mut member = Member::start(&options, bind(address.clone()).await?, bind(format!("{host}:{port}")).await?)?;
    Ok(member.ended().await?)
}
