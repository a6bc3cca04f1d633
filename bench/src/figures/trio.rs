//! Three members that know each other, and who of them leads.

use super::{PATIENCE, Side};
use crate::command::Failure;
use crate::grpc::{Connection, rpc};
use crate::process::{Server, Setup};
use ferrite_proto::etcdserverpb::{MemberAddRequest, MemberRemoveRequest, StatusRequest, StatusResponse};
use std::path::Path;
use std::time::Duration;

pub const MEMBERS: usize = 3;
/// How often and how long the leader is asked for a change of members that it does not let pass yet.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The members, each at the place of its setup.
#[derive(Debug)]
pub struct Trio {
    pub setups: Vec<Setup>,
    pub servers: Vec<Server>,
}

impl Trio {
    /// A new cluster.
    pub async fn start(side: &Side) -> Result<Trio, Failure> {
        let fresh = |number: usize| Setup::fresh(&side.binary, &side.dir.join(name(number)), &[]);
        let mut setups = (0..MEMBERS).map(fresh).collect::<Result<Vec<_>, _>>()?;
        let all = initial_cluster(setups.iter().enumerate());
        for (number, setup) in setups.iter_mut().enumerate() {
            setup.set_flags(flags(side, number, &all, &[]));
        }
        let servers = start_all(&setups).await?;
        Ok(Trio { setups, servers })
    }

    /// Kills all members, and starts them again on what they have.
    pub async fn crash(self) -> Result<Trio, Failure> {
        let Trio { setups, servers } = self;
        for server in servers {
            server.kill()?;
        }
        let servers = start_all(&setups).await?;
        Ok(Trio { setups, servers })
    }

    /// The place of the leader.
    pub async fn leader(&self) -> Result<usize, Failure> {
        for (number, server) in self.servers.iter().enumerate() {
            let status = status(server).await?;
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(number);
            }
        }
        Err(Failure("nobody leads".to_owned()))
    }

    /// Kills a member, and starts it again on what it has once `meanwhile` is done.
    pub async fn kill_for<T>(
        &mut self,
        member: usize,
        meanwhile: impl AsyncFnOnce(&[Server]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.servers.remove(member).kill()?;
        let done = meanwhile(&self.servers).await?;
        self.servers.insert(member, self.setups[member].start(PATIENCE).await?);
        Ok(done)
    }

    /// Ends a follower for good, and takes it out of the cluster. Returns a setup for one that is to take its place, with
    /// nothing in its folder; the cluster knows of it already.
    pub async fn replace(
        &mut self,
        side: &Side,
        (leader, follower): (usize, usize),
        folder: &Path,
    ) -> Result<Setup, Failure> {
        let gone = status(&self.servers[follower]).await?.header.unwrap_or_default().member_id;
        let connection = Connection::open(&self.servers[leader].endpoint()).await?;
        self.setups.remove(follower);
        self.servers.remove(follower).kill()?;
        let remove = MemberRemoveRequest { id: gone };
        until_it_passes(async || connection.call(rpc::MEMBER_REMOVE, &remove).await.map(drop)).await?;
        let mut newcomer = Setup::fresh(&side.binary, folder, &[])?;
        let add = MemberAddRequest { peer_ur_ls: vec![newcomer.peer_url()], is_learner: false };
        until_it_passes(async || connection.call(rpc::MEMBER_ADD, &add).await.map(drop)).await?;
        let numbers = (0..MEMBERS).filter(|number| *number != follower).chain([MEMBERS]);
        let all = initial_cluster(numbers.zip(self.setups.iter().chain([&newcomer])));
        newcomer.set_flags(flags(side, MEMBERS, &all, &["--initial-cluster-state=existing".to_owned()]));
        Ok(newcomer)
    }
}

/// All at once: one that is alone does not answer.
async fn start_all(setups: &[Setup]) -> Result<Vec<Server>, Failure> {
    let [a, b, c] = setups else { unreachable!("there are {MEMBERS} of them") };
    let (a, b, c) = tokio::try_join!(a.start(PATIENCE), b.start(PATIENCE), c.start(PATIENCE))?;
    Ok(vec![a, b, c])
}

fn name(number: usize) -> String {
    format!("member{number}")
}

fn initial_cluster<'a>(members: impl Iterator<Item = (usize, &'a Setup)>) -> String {
    members.map(|(number, setup)| format!("{}={}", name(number), setup.peer_url())).collect::<Vec<_>>().join(",")
}

/// Of a flag that is given twice, the last one counts.
fn flags(side: &Side, number: usize, all: &str, more: &[String]) -> Vec<String> {
    let own = [format!("--name={}", name(number)), format!("--initial-cluster={all}")];
    [&own, more, &side.flags].concat()
}

async fn status(server: &Server) -> Result<StatusResponse, Failure> {
    let connection = Connection::open(&server.endpoint()).await?;
    Ok(connection.call(rpc::STATUS, &StatusRequest::default()).await?)
}

/// A change that the cluster does not feel well enough for is asked for again.
async fn until_it_passes(ask: impl AsyncFn() -> Result<(), crate::grpc::CallError>) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    loop {
        match ask().await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > PATIENCE || !error.says("unhealthy cluster") => return Err(error.into()),
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}
