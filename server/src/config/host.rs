//! What depends on the host: the address that others reach it by, where the flags leave it open.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use ferrite_observe::log;
use ferrite_observe::log::{Logger, Value, lines};

use super::flags::find;
use super::urls::{Url, joined};
use super::{Config, Feature, cluster};

/// Addresses of the documentation (RFC 5737, RFC 3849): the way to them is the default route. Nothing is sent.
const FAR_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The address that this host uses on its default route, the IPv4 one if there are both.
pub fn default_host() -> io::Result<IpAddr> {
    let source = |here: IpAddr, far: IpAddr| {
        let socket = UdpSocket::bind((here, 0))?;
        socket.connect((far, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    source(Ipv4Addr::UNSPECIFIED.into(), FAR_IPV4.into())
        .or_else(|error: io::Error| source(Ipv6Addr::UNSPECIFIED.into(), FAR_IPV6.into()).map_err(|_| error))
}

impl Config {
    /// Fills in what follows from the host and from other values, once they have been found good.
    pub fn complete(&mut self, host: &io::Result<IpAddr>, logger: &Logger) {
        let mut used = None;
        if let Ok(host) = host {
            let urls = &mut self.urls;
            for (advertised, listening, flag) in [
                (&mut urls.advertise_peer, &urls.listen_peer, "initial-advertise-peer-urls"),
                (&mut urls.advertise_client, &urls.listen_client, "advertise-client-urls"),
            ] {
                if let Some(url) = reachable(advertised, listening, flag, *host) {
                    *advertised = vec![url];
                    used = Some(host.to_string());
                }
            }
        }
        let default = |name: &str| find(name).map_or("", |flag| flag.default);
        if self.member.name != default("name") && self.cluster.initial == default("initial-cluster") {
            self.cluster.initial = cluster::from_name(&self.member.name, &self.urls.advertise_peer);
        }
        if let Some(host) = &used {
            log!(logger, lines::DEFAULT_HOST, host);
        }
        if let Err(error) = host {
            log!(logger, lines::NO_DEFAULT_HOST, Value::Shown(error));
        }
        if self.member.data_dir.is_empty() {
            self.member.data_dir = format!("{}.etcd", self.member.name);
            log!(logger, lines::DATA_DIR_UNSET, &self.member.data_dir);
        }
    }
}

/// What to advertise instead of the default when everything is listened to.
fn reachable(advertised: &[Url], listening: &[Url], flag: &str, host: IpAddr) -> Option<Url> {
    let first = listening.first()?;
    let is_default = find(flag).is_some_and(|flag| joined(advertised) == flag.default);
    let everywhere = !first.is_unix() && first.host() == "0.0.0.0";
    let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
    let url = Url { scheme: advertised.first()?.scheme, address: format!("{host}:{}", first.port()) };
    (is_default && everywhere).then_some(url)
}

impl Config {
    /// The address that connections with other members come from (the feature `SetMemberLocalAddr`): the first one under
    /// which this member can be reached from elsewhere. `None`: the system chooses.
    pub fn member_address(&self) -> Option<IpAddr> {
        if !self.features.enabled(Feature::SetMemberLocalAddr) {
            return None;
        }
        let mut addresses = self.urls.advertise_peer.iter().filter_map(|url| url.host().parse().ok());
        addresses.find(|address: &IpAddr| !address.is_loopback() && !address.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use ferrite_observe::log::Level;

    use super::*;
    use crate::config::{Command, parse};

    fn check(arguments: &str, host: &io::Result<IpAddr>) -> (Config, String) {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let (logger, text) = Logger::to_memory(Level::Info);
        let Ok(Command::Serve(asked)) = parse(&arguments, [], &logger) else { panic!("{arguments:?}") };
        let mut config = asked.check(&logger).unwrap();
        config.complete(host, &logger);
        let text = text.lock().unwrap().clone();
        (config, text)
    }

    #[test]
    fn a_host_that_listens_everywhere_advertises_its_address() {
        let host = Ok(IpAddr::from([10, 1, 2, 3]));
        let advertised = |arguments: &str| {
            let (config, text) = check(arguments, &host);
            let is_told = text.contains("\"detected default host for advertise\",\"host\":\"10.1.2.3\"");
            (
                joined(&config.urls.advertise_peer),
                joined(&config.urls.advertise_client),
                config.cluster.initial,
                is_told,
            )
        };
        let (peer, client) = ("http://localhost:2380", "http://localhost:2379");
        let as_is = |initial: &str| (peer.to_owned(), client.to_owned(), initial.to_owned(), false);
        assert_eq!(advertised(""), as_is("default=http://localhost:2380"));
        assert_eq!(advertised("--name a"), as_is("a=http://localhost:2380"));
        assert_eq!(advertised("--name a --initial-cluster a=http://x:1"), as_is("a=http://x:1"));
        assert_eq!(
            advertised("--name a --listen-peer-urls http://0.0.0.0:9"),
            ("http://10.1.2.3:9".to_owned(), client.to_owned(), "a=http://10.1.2.3:9".to_owned(), true)
        );
        assert_eq!(
            advertised(&format!("--listen-client-urls http://0.0.0.0:8 --advertise-client-urls {client}")),
            (peer.to_owned(), "http://10.1.2.3:8".to_owned(), "default=http://localhost:2380".to_owned(), true)
        );
        let given = advertised("--listen-peer-urls http://0.0.0.0:9 --initial-advertise-peer-urls http://y:9");
        assert_eq!(given.0, "http://y:9");
    }

    #[test]
    fn without_a_route_the_defaults_stand() {
        let (config, text) =
            check("--listen-peer-urls http://0.0.0.0:9 --name b", &Err(io::ErrorKind::NotFound.into()));
        assert_eq!(joined(&config.urls.advertise_peer), "http://localhost:2380");
        assert_eq!((&*config.cluster.initial, &*config.member.data_dir), ("b=http://localhost:2380", "b.etcd"));
        assert!(text.contains("failed to detect default host") && text.contains("'data-dir' was empty"), "{text}");
    }
}
