//! Discovery by SRV records: `_etcd-server-ssl._tcp.<domain>` and `_etcd-server._tcp.<domain>` name the members' peer ports.
//!
//! Records have no names of members. The one whose address is ours gets our name, the others are counted: ids of members are
//! made of URLs, not of names, so that all members come to the same cluster.

use std::io;
use std::net::SocketAddr;

use ferrite_client::srv::{Dns, Offer, SrvError, service};
use ferrite_observe::log;
use ferrite_observe::log::{Logger, Value, lines};
use tokio::net::lookup_host;

use crate::config::{Config, InitialCluster, Url};

/// The cluster that the DNS describes.
pub async fn cluster(config: &Config, logger: &Logger) -> Result<InitialCluster, String> {
    let (domain, suffix, own_name) = (&config.discovery.srv, &config.discovery.srv_name, &config.member.name);
    let dns = Dns::of_system()?;
    let advertised: Vec<String> = config.urls.advertise_peer.iter().map(ToString::to_string).collect();
    let (mut nodes, mut errors) = (Vec::new(), Vec::new());
    for (secure, scheme, line) in [(true, "https", lines::SRV_SECURE), (false, "http", lines::SRV_PLAIN)] {
        let service = service("etcd-server", secure, suffix);
        let offers = dns.offers(&service, domain).await;
        let found = nodes_of(offers, scheme, &service, own_name, &config.urls.advertise_peer).await;
        let (found, error) = match found {
            Ok(found) => (found, String::new()),
            Err(error) => (Vec::new(), error),
        };
        log!(logger, line, scheme, &service, own_name, domain, Value::List(&advertised), Value::List(&found), &error);
        nodes.extend(found);
        errors.extend(Some(error).filter(|error| !error.is_empty()));
    }
    let errors = errors.join("\n");
    if !errors.is_empty() {
        log!(logger, lines::SRV_FAILED, &errors);
    }
    if nodes.is_empty() && !errors.is_empty() {
        return Err(errors);
    }
    for node in &nodes {
        log!(logger, lines::SRV_NODE, node);
    }
    let cluster = InitialCluster::parse(&nodes.join(","))?;
    match cluster.of(own_name) {
        Some(_) => Ok(cluster),
        None => Err(format!("cannot find local etcd member {own_name:?} in SRV records")),
    }
}

/// `name=url` of each member that one service names.
async fn nodes_of(
    offers: Result<Vec<Offer>, SrvError>,
    scheme: &str,
    service: &str,
    own_name: &str,
    advertised: &[Url],
) -> Result<Vec<String>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("error querying DNS SRV records for _{service} {error}");
    let mut own = Vec::new();
    for url in advertised {
        own.push((resolve(&url.address).await.map_err(|error| failed(&error))?, url));
    }
    let (mut nodes, mut unnamed, mut last_error) = (Vec::new(), 0, None);
    for offer in offers.map_err(|error| failed(&error))? {
        let target = offer.target.trim_end_matches('.');
        let host = if target.contains(':') { format!("[{target}]") } else { target.to_owned() };
        let place = format!("{host}:{}", offer.port);
        let address = match resolve(&place).await {
            Ok(address) => address,
            Err(error) => {
                last_error = Some(error.to_string());
                continue;
            }
        };
        let ours = own.iter().find(|(each, _)| *each == address).map(|(_, url)| *url);
        let name = match ours {
            Some(_) if !own_name.is_empty() => own_name.to_owned(),
            _ => {
                unnamed += 1;
                (unnamed - 1).to_string()
            }
        };
        match ours {
            Some(url) if !url.to_string().starts_with(&format!("{scheme}://")) => {
                last_error = Some(format!(
                    "bootstrap at {scheme}://{place} from DNS for {service} has scheme mismatch with expected peer {url}"
                ));
            }
            _ => nodes.push(format!("{name}={scheme}://{place}")),
        }
    }
    match last_error {
        Some(error) if nodes.is_empty() => Err(failed(&error)),
        _ => Ok(nodes),
    }
}

/// The address of `host:port`; where there are several, an IPv4 one.
async fn resolve(place: &str) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = lookup_host(place).await?.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| io::Error::other(format!("lookup {place}: no such host")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_urls;

    fn offers(targets: &[(&str, u16)]) -> Result<Vec<Offer>, SrvError> {
        let offer =
            |(target, port): &(&str, u16)| Offer { target: (*target).to_owned(), port: *port, priority: 0, weight: 0 };
        Ok(targets.iter().map(offer).collect())
    }

    async fn nodes(targets: &[(&str, u16)], scheme: &str, advertised: &str) -> Result<Vec<String>, String> {
        nodes_of(offers(targets), scheme, "etcd-server", "me", &parse_urls(advertised).unwrap()).await
    }

    #[tokio::test]
    async fn the_record_with_our_address_has_our_name() {
        let found =
            nodes(&[("localhost.", 1), ("localhost.", 2), ("localhost.", 3)], "http", "http://127.0.0.1:2").await;
        assert_eq!(found.unwrap(), ["0=http://localhost:1", "me=http://localhost:2", "1=http://localhost:3"]);
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_left_out_and_an_error_only_if_nothing_is_left() {
        let found = nodes(&[("nowhere.invalid.", 1), ("localhost.", 2)], "http", "http://127.0.0.1:2").await;
        assert_eq!(found.unwrap(), ["me=http://localhost:2"]);
        let error = nodes(&[("nowhere.invalid.", 1)], "http", "http://127.0.0.1:2").await.unwrap_err();
        assert!(error.starts_with("error querying DNS SRV records for _etcd-server "), "{error}");
        let error = SrvError { name: "n".into(), server: "s".into(), reason: "no such host".into() };
        let error = nodes_of(Err(error), "http", "etcd-server", "me", &[]).await.unwrap_err();
        assert_eq!(error, "error querying DNS SRV records for _etcd-server lookup n on s: no such host");
    }

    #[tokio::test]
    async fn our_address_with_another_scheme_is_an_error() {
        let error = nodes(&[("localhost.", 2)], "https", "http://127.0.0.1:2").await.unwrap_err();
        let expected = "error querying DNS SRV records for _etcd-server bootstrap at https://localhost:2 from DNS for \
                        etcd-server has scheme mismatch with expected peer http://127.0.0.1:2";
        assert_eq!(error, expected);
    }
}
