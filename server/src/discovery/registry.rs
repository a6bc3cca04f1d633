//! Discovery through another etcd: each member puts itself into a list there, and waits until the list is long enough.
//!
//!   read size and list ──full?──▶ put own key ──▶ read again ──▶ watch for those who are missing ──▶ the first `size` of them
//!
//! What the registry answers is final; that it does not answer is not: it is asked again, ever less often.

use std::time::Duration;

use ferrite_client::{Client, Credentials, Get, Put, Tls, Watch};
use ferrite_observe::log;
use ferrite_observe::log::{Logger, Value, lines};
use ferrite_raft::NodeId;

use super::list::{Keys, Members, NoMember};
use crate::config::{Config, Discovery, InitialCluster};

/// The pause before another try doubles so many times.
const DOUBLINGS: u32 = 8;

/// Why a member is not in the cluster that a registry describes. The texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("discovery: size key not found")]
    NoSize,
    #[error("discovery: size key is bad")]
    BadSize,
    #[error("discovery: cluster is full")]
    Full,
    #[error("discovery: invalid peer URL")]
    BadUrl,
    /// No client of the registry can be made of the flags.
    #[error("{0}")]
    Client(String),
}

/// Puts this member into the registry, and waits until all are there. `own` is how it describes itself.
pub async fn join(
    config: &Config,
    id: NodeId,
    own: &InitialCluster,
    logger: &Logger,
) -> Result<InitialCluster, JoinError> {
    let discovery = &config.discovery;
    let client = connect(discovery).await.map_err(JoinError::Client)?;
    let endpoints = discovery.endpoints.join(",");
    let keys = Keys::of(&discovery.token);
    let own_key = keys.member(id.0);
    let names = Names { token: &discovery.token, endpoints: &endpoints };
    let registry = Registry { client, keys, own_key, limit: discovery.request_timeout, names, logger };
    match registry.join(&own.text()).await {
        Ok((text, cluster)) => {
            log!(logger, lines::DISCOVERY_JOINED, names.token, names.endpoints, &text);
            Ok(cluster)
        }
        Err((text, error)) => {
            log!(logger, lines::DISCOVERY_FAILED, names.token, names.endpoints, &text, Value::Shown(&error));
            Err(error)
        }
    }
}

async fn connect(discovery: &Discovery) -> Result<Client, String> {
    let mut config = ferrite_client::Config::new(discovery.endpoints.iter().cloned());
    config.dial_timeout = Some(discovery.dial_timeout);
    config.keep_alive = Some((discovery.keepalive_time, discovery.keepalive_timeout));
    config.tls = tls(discovery)?;
    let known = !discovery.user.is_empty() && !discovery.password.is_empty();
    config.credentials =
        known.then(|| Credentials { user: discovery.user.clone(), password: discovery.password.clone() });
    Client::connect(config).await.map_err(|error| error.to_string())
}

fn tls(discovery: &Discovery) -> Result<Option<Tls>, String> {
    let Discovery { cert, key, cacert, insecure_transport, insecure_skip_tls_verify, .. } = discovery;
    if cert.is_empty() != key.is_empty() {
        return Err(format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]"));
    }
    let read = |path: &String| match path.is_empty() {
        true => Ok(None),
        false => std::fs::read(path).map(Some).map_err(|error| format!("open {path}: {error}")),
    };
    let (identity, authorities) = (read(cert)?.zip(read(key)?), read(cacert)?);
    let asks_for_nothing = identity.is_none() && authorities.is_none() && !insecure_skip_tls_verify;
    if asks_for_nothing && *insecure_transport {
        return Ok(None);
    }
    Ok(Some(Tls { authorities, identity, server_name: None, skip_verification: *insecure_skip_tls_verify }))
}

/// What every line of the log names.
#[derive(Clone, Copy)]
struct Names<'a> {
    token: &'a str,
    endpoints: &'a str,
}

struct Registry<'a> {
    client: Client,
    keys: Keys,
    own_key: String,
    /// How long a request may take.
    limit: Duration,
    names: Names<'a>,
    logger: &'a Logger,
}

/// The list as of a revision.
struct Listing {
    size: usize,
    members: Members,
    revision: i64,
}

/// A deadline alone tells nobody what to mend.
fn why(error: &ferrite_client::Error) -> String {
    let unreachable = error.unreachable().iter();
    unreachable
        .fold(error.to_string(), |text, each| format!("{text}; cannot connect to {}: {}", each.endpoint, each.why))
}

impl Registry<'_> {
    /// The cluster and its text, or why there is none, with the text as far as there is one.
    async fn join(&self, own: &str) -> Result<(String, InitialCluster), (String, JoinError)> {
        let failed = |error| (String::new(), error);
        self.list().await.map_err(failed)?;
        self.register(own).await;
        let mut listing = self.list().await.map_err(failed)?;
        while listing.members.len() < listing.size {
            self.wait_for_others(&mut listing).await;
            if listing.members.len() < listing.size {
                // The watch has ended. Who came meanwhile is in the list.
                listing = self.list().await.map_err(failed)?;
            }
        }
        match listing.members.cluster(listing.size) {
            (text, Some(cluster)) => Ok((text, cluster)),
            (text, None) => Err((text, JoinError::BadUrl)),
        }
    }

    /// Reads size and members until the registry answers. There must be a place for this member.
    async fn list(&self) -> Result<Listing, JoinError> {
        let mut tries = Tries::default();
        let listing = loop {
            match self.try_list().await {
                Ok(listing) => break listing?,
                Err(Unanswered) => tries.pause("cluster status check", self).await,
            }
        };
        match listing.members.leaves_out(&self.own_key, listing.size) {
            true => Err(JoinError::Full),
            false => Ok(listing),
        }
    }

    async fn try_list(&self) -> Result<Result<Listing, JoinError>, Unanswered> {
        let Names { token, endpoints } = self.names;
        let found = self.client.with_timeout(self.limit).get(self.keys.size.clone()).await.map_err(|error| {
            log!(self.logger, lines::SIZE_NOT_READ, token, endpoints, &self.keys.size, &why(&error));
            Unanswered
        })?;
        let Some(size) = found.kvs.first() else { return Ok(Err(JoinError::NoSize)) };
        let size = std::str::from_utf8(&size.value).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0) else {
            return Ok(Err(JoinError::BadSize));
        };
        let all = Get::new(self.keys.members.clone()).prefix();
        let found = self.client.with_timeout(self.limit).get(all).await.map_err(|error| {
            log!(self.logger, lines::MEMBERS_NOT_READ, token, endpoints, &self.keys.members, &why(&error));
            Unanswered
        })?;
        let mut members = Members::default();
        for kv in &found.kvs {
            self.add(&mut members, &kv.key, &kv.value, kv.create_revision);
        }
        Ok(Ok(Listing { size, members, revision: found.header.unwrap_or_default().revision }))
    }

    fn add(&self, members: &mut Members, key: &[u8], value: &[u8], create_revision: i64) {
        let Names { token, endpoints } = self.names;
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        let (key, value) = (key.trim(), value.trim());
        let line = match members.add(key, value, create_revision) {
            Ok(()) => lines::PEER_FOUND,
            Err(NoMember::Malformed) => lines::PEER_MALFORMED,
            Err(NoMember::Duplicate) => lines::PEER_DUPLICATE,
        };
        log!(self.logger, line, token, endpoints, key, value);
    }

    /// Puts this member into the list, however long that takes.
    async fn register(&self, own: &str) {
        let Names { token, endpoints } = self.names;
        let mut tries = Tries::default();
        let put = || Put::new(self.own_key.clone(), own.to_owned());
        while let Err(error) = self.client.with_timeout(self.limit).put(put()).await {
            log!(self.logger, lines::REGISTER_FAILED, token, endpoints, &self.own_key, &why(&error));
            tries.pause("register member itself", self).await;
        }
        log!(self.logger, lines::REGISTERED, token, endpoints, &self.own_key, own);
    }

    /// Follows the list until it is long enough, or the watch ends.
    async fn wait_for_others(&self, listing: &mut Listing) {
        let Names { token, endpoints } = self.names;
        let (size, found) = (listing.size, listing.members.len());
        log!(self.logger, lines::WAITING_FOR_PEERS, token, endpoints, size, found);
        let from = Watch::new(self.keys.members.clone()).prefix().revision(listing.revision + 1);
        let Ok(mut watcher) = self.client.watch(from).await else { return };
        while listing.members.len() < listing.size {
            let Some(response) = watcher.next().await else { return };
            for kv in response.events.iter().filter_map(|event| event.kv.as_ref()) {
                self.add(&mut listing.members, &kv.key, &kv.value, kv.create_revision);
            }
        }
        log!(self.logger, lines::FOUND_ALL_PEERS, token, endpoints, size, listing.members.len());
    }
}

/// The registry has not answered.
struct Unanswered;

/// Tries that have failed, one after the other.
#[derive(Debug, Default)]
struct Tries(u32);

impl Tries {
    fn next_pause(&mut self) -> Duration {
        self.0 = (self.0 + 1).min(DOUBLINGS);
        Duration::from_secs(1 << self.0)
    }

    async fn pause(&mut self, step: &str, registry: &Registry<'_>) {
        let (Names { token, endpoints }, pause) = (registry.names, self.next_pause());
        log!(registry.logger, lines::REGISTRY_ASKED_AGAIN, token, endpoints, step, pause);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_eight_times() {
        let mut tries = Tries::default();
        let pauses: Vec<u64> = (0..10).map(|_| tries.next_pause().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]);
    }

    #[test]
    fn tls_is_what_the_flags_ask_for() {
        let with = |change: fn(&mut Discovery)| {
            let mut discovery = Config::default().discovery;
            change(&mut discovery);
            tls(&discovery).map(|tls| tls.map(|tls| tls.skip_verification))
        };
        assert_eq!(with(|_| {}), Ok(None));
        assert_eq!(with(|discovery| discovery.insecure_transport = false), Ok(Some(false)));
        assert_eq!(with(|discovery| discovery.insecure_skip_tls_verify = true), Ok(Some(true)));
        let half = with(|discovery| discovery.cert = "c.pem".to_owned());
        assert_eq!(half, Err("KeyFile and CertFile must both be present[key: , cert: c.pem]".to_owned()));
        assert!(with(|discovery| discovery.cacert = "/nowhere/ca.pem".to_owned()).is_err());
    }
}
