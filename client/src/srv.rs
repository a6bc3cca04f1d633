//! SRV records of the DNS (RFC 2782): at which hosts and ports a domain offers a service.

use std::net::SocketAddr;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver, TokioResolver};

/// Asks the DNS.
#[derive(Clone, Debug)]
pub struct Dns {
    resolver: TokioResolver,
    /// The server that is asked first.
    server: String,
}

/// Where a service is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// A fully qualified name, with the dot at its end.
    pub target: String,
    /// Its port.
    pub port: u16,
    /// Lower ones come first.
    pub priority: u16,
    /// Among those of equal priority, how often one is to be chosen.
    pub weight: u16,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lookup {name} on {server}: {reason}")]
pub struct SrvError {
    /// The name that was asked for.
    pub name: String,
    /// Who was asked first.
    pub server: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Dns {
    /// Asks the servers that the system names in `/etc/resolv.conf`.
    ///
    /// # Errors
    /// The file cannot be read, or names none.
    pub fn of_system() -> Result<Dns, String> {
        let (config, options) = read_system_conf().map_err(|error| error.to_string())?;
        Dns::new(config, options)
    }

    /// Asks one server, over UDP and, where an answer is too long for that, over TCP.
    ///
    /// # Errors
    /// None that is known.
    pub fn at(server: SocketAddr) -> Result<Dns, String> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        Dns::new(ResolverConfig::from_parts(None, Vec::new(), vec![server]), ResolverOpts::default())
    }

    fn new(config: ResolverConfig, options: ResolverOpts) -> Result<Dns, String> {
        let server = config.name_servers().first().ok_or("no server of the DNS is named")?;
        let port = server.connections.first().map_or(0, |connection| connection.port);
        let server = SocketAddr::new(server.ip, port).to_string();
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Dns { resolver, server })
    }

    /// Who offers `service` over TCP in `domain`, in the order in which they are to be tried.
    ///
    /// # Errors
    /// Nobody does, or the DNS does not answer.
    pub async fn offers(&self, service: &str, domain: &str) -> Result<Vec<Offer>, SrvError> {
        let name = format!("_{service}._tcp.{domain}");
        let failed = |reason: String| SrvError { name: name.clone(), server: self.server.clone(), reason };
        let found = self.resolver.srv_lookup(name.as_str()).await.map_err(|error| {
            failed(match error.is_no_records_found() {
                true => "no such host".to_string(),
                false => error.to_string(),
            })
        })?;
        let mut offers: Vec<Offer> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(Offer {
                    target: srv.target.to_utf8(),
                    port: srv.port,
                    priority: srv.priority,
                    weight: srv.weight,
                }),
                _ => None,
            })
            .collect();
        offers.sort_by_key(|offer| (offer.priority, u16::MAX - offer.weight));
        if offers.is_empty() { Err(failed("no such host".to_string())) } else { Ok(offers) }
    }
}

/// The endpoints of the cluster that serves clients in `domain`: those with TLS first.
///
/// # Errors
/// Neither kind of service is offered; the text is etcd's.
pub async fn client_endpoints(dns: &Dns, domain: &str, suffix: &str) -> Result<Vec<String>, String> {
    let (secure, plain) = (service("etcd-client", true, suffix), service("etcd-client", false, suffix));
    let (secure, plain) = (dns.offers(&secure, domain).await, dns.offers(&plain, domain).await);
    if let (Err(secure), Err(plain)) = (&secure, &plain) {
        return Err(format!("dns lookup errors: {secure} and {plain}"));
    }
    let urls = |scheme: &'static str, offers: Result<Vec<Offer>, SrvError>| {
        let offers = offers.unwrap_or_default();
        offers.into_iter().map(move |offer| format!("{scheme}://{}:{}", offer.target, offer.port))
    };
    Ok(urls("https", secure).chain(urls("http", plain)).collect())
}

/// The name of etcd's service, `etcd-client` or `etcd-server`, as it is asked for: with `-ssl` if it uses TLS, and with the
/// suffix that tells clusters of one domain apart.
pub fn service(base: &str, secure: bool, suffix: &str) -> String {
    let secure = if secure { "-ssl" } else { "" };
    let dash = if suffix.is_empty() { "" } else { "-" };
    format!("{base}{secure}{dash}{suffix}")
}
