//! The first start of a member: a new cluster, or one that runs and has added it. What the flags say is held against what
//! the others say, before anything is written.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use ferrite_member::bootstrap::{Beginning, Ids, NewCluster, StartError};
use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
use ferrite_peer::{Asker, Version};
use ferrite_raft::NodeId;
use ferrite_state::cluster::Member;
use tokio::time::Instant;

use super::same_urls::same_urls;
use super::{MIN_CLUSTER_VERSION, versions};
use crate::config::{Config, InitialCluster, Url, parse_urls};
use crate::discovery::{self, Initial, JoinError};

/// How long the members of a running cluster may take to say who they are.
const ASK_RUNNING: Duration = Duration::from_secs(10);
/// The same where it is only to be excluded that there is one.
const ASK_NEW: Duration = Duration::from_secs(1);
/// How long members may take to say whether the cluster is being moved to an older version. They ask a quorum first, and the
/// second member of a cluster is itself the quorum that is missing: etcd waits for seven seconds then.
const ASK_DOWNGRADE: Duration = Duration::from_secs(1);
/// How long names may stay unknown.
const RESOLVE: Duration = Duration::from_secs(30);

/// What a member begins with.
#[derive(Debug)]
pub struct Begin {
    pub beginning: Beginning,
    /// The members of the cluster that it joins: the log names them only later.
    pub known: Vec<(NodeId, Vec<String>)>,
}

/// Why a member cannot begin. The texts are etcd's.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("error setting up initial cluster: {0}")]
    InitialCluster(String),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("initial cluster {0} has duplicate url")]
    DuplicateUrl(String),
    #[error("initial cluster unset and no discovery endpoints found")]
    NoCluster,
    #[error("{0}")]
    Advertised(String),
    #[error("discovery URL should not be set when joining existing initial cluster")]
    DiscoveryOfExisting,
    #[error("failed to join discovery cluster ({0})")]
    Discovery(JoinError),
    #[error("discovery cluster {0} has duplicate url")]
    DiscoveredDuplicateUrl(String),
    #[error("member {0:x} has already been bootstrapped")]
    AlreadyBootstrapped(u64),
    #[error("cannot fetch cluster info from peer urls: {0}")]
    NoAnswer(&'static str),
    #[error("error validating peerURLs {cluster}: {why}")]
    OtherMembers { cluster: String, why: String },
    #[error("incompatible with current running cluster")]
    Incompatible,
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
}

/// Finds out what this member begins with. It has no log.
pub async fn begin(config: &Config, asker: &Asker, logger: &Logger) -> Result<Begin, BeginError> {
    let Initial { cluster: initial, token } =
        discovery::initial(config, logger).await.map_err(BeginError::InitialCluster)?;
    let discovers = !config.discovery.endpoints.is_empty();
    let own_name = &config.member.name;
    let own_urls = initial.of(own_name).ok_or_else(|| StartError::NotInCluster { own_name: own_name.clone() })?;
    if config.cluster.state == "existing" {
        check_urls_differ(&initial)?;
        if discovers {
            return Err(BeginError::DiscoveryOfExisting);
        }
        return join(config, &initial, asker, logger).await;
    }
    check_learners(config, 0)?;
    check_advertised(config, own_urls, logger).await?;
    check_urls_differ(&initial)?;
    if initial.0.is_empty() {
        return Err(BeginError::NoCluster);
    }
    let cluster = new_cluster(&initial, own_name, &token);
    let own = cluster.ids()?.member;
    if let Ok(running) = ask_members(&other_urls(&initial, own_name), asker, ASK_NEW, &Logger::silent()).await {
        check_never_started(&running, own)?;
    }
    if !discovers {
        return Ok(Begin { beginning: Beginning::New(cluster), known: Vec::new() });
    }
    log!(logger, lines::DISCOVERY_BEGINS);
    let found = discovery::join(config, own, &initial, logger).await.map_err(BeginError::Discovery)?;
    if urls_repeat(&found) {
        return Err(BeginError::DiscoveredDuplicateUrl(found.text()));
    }
    // The registry knows those who have begun with it for ever. etcd does not ask again, and lets such a member vote.
    if let Ok(running) = ask_members(&other_urls(&found, own_name), asker, ASK_NEW, &Logger::silent()).await {
        check_never_started(&running, own)?;
    }
    let cluster = new_cluster(&found, own_name, &token);
    Ok(Begin { beginning: Beginning::New(cluster), known: Vec::new() })
}

/// A member that has lost its data must not come back: it would have forgotten whom it voted for, and what it acknowledged.
fn check_never_started(running: &Running, own: NodeId) -> Result<(), BeginError> {
    // Only who has run says where clients reach it.
    let has_run = running.members.iter().any(|member| member.id == own && !member.client_urls.is_empty());
    if has_run { Err(BeginError::AlreadyBootstrapped(own.0)) } else { Ok(()) }
}

/// A limit below zero leaves no room for none, either.
fn check_learners(config: &Config, learners: usize) -> Result<(), BeginError> {
    let is_room = usize::try_from(config.cluster.max_learners).is_ok_and(|most| learners <= most);
    if is_room { Ok(()) } else { Err(BeginError::TooManyLearners) }
}

fn new_cluster(members: &InitialCluster, own_name: &str, token: &str) -> NewCluster {
    let texts = |urls: &[Url]| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
    NewCluster {
        members: members.0.iter().map(|(name, urls)| (name.clone(), texts(urls))).collect(),
        own_name: own_name.to_owned(),
        token: token.to_owned(),
    }
}

fn check_urls_differ(initial: &InitialCluster) -> Result<(), BeginError> {
    if urls_repeat(initial) { Err(BeginError::DuplicateUrl(initial.text())) } else { Ok(()) }
}

fn urls_repeat(cluster: &InitialCluster) -> bool {
    let mut seen = BTreeSet::new();
    !cluster.0.iter().flat_map(|(_, urls)| urls).all(|url| seen.insert(url.to_string()))
}

/// What we say of ourselves must be what the initial cluster says of us.
async fn check_advertised(config: &Config, initial: &[Url], logger: &Logger) -> Result<(), BeginError> {
    let (name, advertised) = (&config.member.name, &config.urls.advertise_peer);
    let Err(why) = same_urls(advertised, initial, Instant::now() + RESOLVE, logger).await else { return Ok(()) };
    let named = |urls: &[Url]| {
        let mut texts: Vec<String> = urls.iter().map(|url| format!("{name}={url}")).collect();
        texts.sort();
        texts.join(",")
    };
    let but = |urls: &[Url], others: &[Url]| -> Vec<Url> {
        urls.iter().filter(|url| !others.contains(url)).cloned().collect()
    };
    let plain = crate::config::joined(advertised);
    let (unadvertised, unnamed) = (but(initial, advertised), but(advertised, initial));
    Err(BeginError::Advertised(if !unadvertised.is_empty() {
        let missing = named(&unadvertised);
        format!("--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={plain} ({why})")
    } else if !unnamed.is_empty() {
        let missing = crate::config::joined(&unnamed);
        format!("--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={}", named(advertised))
    } else {
        format!("failed to resolve {plain} to match --initial-cluster={} ({why})", named(advertised))
    }))
}

/// A cluster that runs, as one of its members tells it.
struct Running {
    cluster: u64,
    members: Vec<Member>,
}

/// The peer URLs of all but one, in the order in which they are asked.
fn other_urls(initial: &InitialCluster, own_name: &str) -> Vec<String> {
    let others = initial.0.iter().filter(|(name, _)| name != own_name);
    let mut urls: Vec<String> = others.flat_map(|(_, urls)| urls).map(ToString::to_string).collect();
    urls.sort();
    urls
}

/// Asks one URL after the other who the members are. The first that answers is believed.
async fn ask_members(
    urls: &[String],
    asker: &Asker,
    limit: Duration,
    logger: &Logger,
) -> Result<Running, &'static str> {
    for url in urls {
        let (address, failed) = (format!("{url}/members"), |error: io::Error| error.to_string());
        let answer = match asker.get(url, "/members", limit).await.map_err(failed) {
            Ok(answer) => answer,
            Err(error) => {
                log!(logger, lines::NO_CLUSTER_RESPONSE, &address, &error);
                continue;
            }
        };
        let members: Option<Vec<Member>> = match serde_json::from_slice(&answer.body) {
            Ok(members) => members,
            Err(error) => {
                log!(logger, lines::CLUSTER_RESPONSE_UNREADABLE, &address, &error.to_string());
                continue;
            }
        };
        let id = answer.headers.get("x-etcd-cluster-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let Ok(cluster) = u64::from_str_radix(id, 16) else {
            log!(logger, lines::CLUSTER_ID_UNREADABLE, &address, id);
            continue;
        };
        return match members.unwrap_or_default() {
            members if members.is_empty() => Err("failed to get raft cluster member(s) from the given URLs"),
            members => Ok(Running { cluster, members }),
        };
    }
    Err("could not retrieve cluster information from the given URLs")
}

async fn join(config: &Config, initial: &InitialCluster, asker: &Asker, logger: &Logger) -> Result<Begin, BeginError> {
    let own_name = &config.member.name;
    let urls = other_urls(initial, own_name);
    let running = ask_members(&urls, asker, ASK_RUNNING, logger).await.map_err(BeginError::NoAnswer)?;
    let member = match_members(initial, &running, own_name, logger).await?;
    // Unlike etcd, whose member starts, and panics when it hears how much is committed.
    check_never_started(&running, member)?;
    check_versions(&running, member, asker, config.request_timeout(), logger).await?;
    let learners = running.members.iter().filter(|member| member.is_learner).count();
    check_learners(config, learners)?;
    let ids = Ids { member, cluster: running.cluster };
    let known = running.members.into_iter().map(|member| (member.id, member.peer_urls)).collect();
    Ok(Begin { beginning: Beginning::Join(ids), known })
}

/// The flags must name exactly the members that there are. Returns the id of this one.
async fn match_members(
    initial: &InitialCluster,
    running: &Running,
    own_name: &str,
    logger: &Logger,
) -> Result<NodeId, BeginError> {
    let other = |why: String| BeginError::OtherMembers { cluster: initial.text(), why };
    if initial.0.len() != running.members.len() {
        return Err(other("member count is unequal".to_owned()));
    }
    let give_up = Instant::now() + RESOLVE;
    let mut unmatched: Vec<&(String, Vec<Url>)> = initial.0.iter().collect();
    let mut own = None;
    for member in &running.members {
        let no_match = |error: String| {
            let (id, urls) = (member.id.0, member.peer_urls.join(" "));
            other(format!(
                "PeerURLs: no match found for existing member ({id:x}, [{urls}]), last resolver error ({error})"
            ))
        };
        let urls = parse_urls(&member.peer_urls.join(",")).map_err(no_match)?;
        let (mut found, mut last_error) = (None, String::new());
        for (at, (_, candidate)) in unmatched.iter().enumerate() {
            match same_urls(&urls, candidate, give_up, logger).await {
                Ok(()) => {
                    found = Some(at);
                    break;
                }
                Err(error) => last_error = error,
            }
        }
        let (name, _) = unmatched.remove(found.ok_or_else(|| no_match(last_error))?);
        if name == own_name {
            own = Some(member.id);
        }
    }
    Ok(own.expect("our name is in the initial cluster, and every one of its members was matched"))
}

/// Whether we can work with those that run.
async fn check_versions(
    running: &Running,
    own: NodeId,
    asker: &Asker,
    limit: Duration,
    logger: &Logger,
) -> Result<(), BeginError> {
    let newest: Version = crate::version::ETCD.parse().expect("our version is one");
    let line = |version: Version| (version.major, version.minor);
    let (mut lowest, mut highest) = (line(MIN_CLUSTER_VERSION), line(newest));
    let others = || running.members.iter().filter(|member| member.id != own);
    for member in others() {
        if versions::downgrades(asker, &member.peer_urls, ASK_DOWNGRADE.min(limit)).await {
            // It is on its way down to ours.
            (lowest, highest) = ((newest.major, newest.minor + 1), (newest.major, newest.minor + 1));
        }
    }
    let mut is_known = false;
    for member in others() {
        let Some(said) = versions::ask(asker, &member.peer_urls, limit).await else { continue };
        let Ok(version) = said.cluster.parse::<Version>() else { continue };
        let (found, bound) = (line(version), |(major, minor): (u64, u64)| format!("{major}.{minor}.0"));
        if found < lowest {
            log!(logger, lines::CLUSTER_VERSION_TOO_LOW, log::Id(member.id.0), &said.cluster, &bound(lowest));
            return Err(BeginError::Incompatible);
        }
        if found > highest {
            log!(logger, lines::CLUSTER_VERSION_TOO_HIGH, log::Id(member.id.0), &said.cluster, &bound(highest));
            return Err(BeginError::Incompatible);
        }
        is_known = true;
    }
    if is_known { Ok(()) } else { Err(BeginError::Incompatible) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initial(text: &str) -> InitialCluster {
        InitialCluster::parse(text).unwrap()
    }

    #[test]
    fn a_url_belongs_to_one_member() {
        assert!(check_urls_differ(&initial("a=http://x:1,b=http://x:2")).is_ok());
        let error = check_urls_differ(&initial("a=http://x:1,b=http://x:1")).unwrap_err();
        assert_eq!(error.to_string(), "initial cluster a=http://x:1,b=http://x:1 has duplicate url");
    }

    #[test]
    fn there_is_room_for_the_learners() {
        for (most, learners, expected) in [(1, 0, true), (1, 1, true), (1, 2, false), (0, 0, true), (-1, 0, false)] {
            let mut config = Config::default();
            config.cluster.max_learners = most;
            assert_eq!(check_learners(&config, learners).is_ok(), expected, "{learners} of {most}");
        }
    }

    #[tokio::test]
    async fn the_initial_cluster_says_of_us_what_we_say() {
        let mut config = Config::default();
        config.member.name = "a".into();
        config.urls.advertise_peer = parse_urls("http://127.0.0.1:1").unwrap();
        for (urls, expected) in [
            ("http://127.0.0.1:1", None),
            ("http://127.0.0.1:1,http://127.0.0.1:2", Some("--initial-cluster has a=http://127.0.0.1:2 but missing")),
            ("http://127.0.0.1:2", Some("--initial-cluster has a=http://127.0.0.1:2 but missing")),
        ] {
            let found = check_advertised(&config, &parse_urls(urls).unwrap(), &Logger::silent()).await;
            match expected {
                None => assert!(found.is_ok()),
                Some(text) => assert!(found.unwrap_err().to_string().starts_with(text)),
            }
        }
        config.urls.advertise_peer = parse_urls("http://127.0.0.1:1,http://127.0.0.1:2").unwrap();
        let found = check_advertised(&config, &parse_urls("http://127.0.0.1:1").unwrap(), &Logger::silent()).await;
        let text = found.unwrap_err().to_string();
        assert!(text.starts_with("--initial-advertise-peer-urls has http://127.0.0.1:2 but missing"), "{text}");
    }

    #[tokio::test]
    async fn the_flags_name_the_members_there_are() {
        let member = |id, url: &str| Member { id: NodeId(id), peer_urls: vec![url.to_owned()], ..Member::default() };
        let running =
            Running { cluster: 7, members: vec![member(1, "http://127.0.0.1:1"), member(2, "http://127.0.0.1:2")] };
        let matched = async |text: &str| {
            let initial = initial(text);
            match_members(&initial, &running, "b", &Logger::silent()).await.map_err(|error| error.to_string())
        };
        assert_eq!(matched("a=http://127.0.0.1:1,b=http://127.0.0.1:2").await, Ok(NodeId(2)));
        assert_eq!(
            matched("b=http://127.0.0.1:2").await.unwrap_err(),
            "error validating peerURLs b=http://127.0.0.1:2: member count is unequal"
        );
        let error = matched("a=http://127.0.0.1:1,b=http://127.0.0.1:3").await.unwrap_err();
        assert!(error.contains("PeerURLs: no match found for existing member (2, [http://127.0.0.1:2])"), "{error}");
    }
}
