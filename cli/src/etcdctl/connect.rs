//! From global flags and environment to a client.
//!
//! The order of the checks is etcd's: environment, endpoints, TLS and authentication, format, and only then a client.

use std::time::Duration;

use ferrite_client::srv::{Dns, client_endpoints};
use ferrite_client::{Client, Config, Credentials, Tls};
use tokio::time::Instant;

use crate::command::{Flags, Invocation, environment};
use crate::exit::Exit;
use crate::go::quote::quote;
use crate::print::{Format, Printer};

/// The prefix of the variables that set global flags.
const ENVIRONMENT: &str = "ETCDCTL";
/// Pings more often than this are a nuisance to servers.
const FASTEST_PING: Duration = Duration::from_secs(10);

/// What the global flags and the environment say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a client is made from; its endpoints are as given.
    pub config: Config,
    /// Where to look for endpoints instead.
    pub domain: Option<Domain>,
    /// How answers are printed.
    pub printer: Printer,
    /// How long a short command may take, and when that is over.
    pub timeout: Duration,
    /// When a short command that began when the settings were read is over.
    pub deadline: Instant,
}

/// A domain whose SRV records name the endpoints.
#[derive(Clone, Debug)]
pub struct Domain {
    name: String,
    /// The suffix of the service's name.
    service: String,
    /// Whether endpoints without TLS will do.
    plain: bool,
}

impl Domain {
    fn read(flags: &Flags) -> Option<Domain> {
        let [name, service] = ["discovery-srv", "discovery-srv-name"].map(|name| flags.text(name).to_string());
        (!name.is_empty()).then(|| Domain { name, service, plain: flags.bool("insecure-discovery") })
    }

    async fn endpoints(&self) -> Result<Vec<String>, Exit> {
        let dns = Dns::of_system().map_err(Exit::error)?;
        let mut found = client_endpoints(&dns, &self.name, &self.service).await.map_err(Exit::error)?;
        if !self.plain {
            found.retain(|endpoint| {
                let is_plain = endpoint.starts_with("http://");
                if is_plain {
                    eprintln!("ignoring discovered insecure endpoint {}", quote(endpoint.as_bytes()));
                }
                !is_plain
            });
        }
        Ok(found)
    }
}

impl Settings {
    /// Reads flags and environment. `known` are variables that are no flags.
    pub fn read(call: &mut Invocation, known: &[&str]) -> Result<Settings, Exit> {
        environment::apply(call, ENVIRONMENT, known)?;
        if call.flags().bool("debug") {
            eprint!("{}", environment::show(call, ENVIRONMENT));
        }
        let flags = call.flags();
        let timeout = flags.duration("command-timeout");
        let deadline = Instant::now() + timeout;
        for name in ["cert", "key", "cacert"] {
            if flags.given(name) && flags.text(name).is_empty() {
                return Err(Exit::bad_args(format!("empty string is passed to --{name} option")));
            }
        }
        let domain = Domain::read(flags);
        check_tls(flags.text("cert"), flags.text("key"))?;
        let mut config = Config::new(flags.texts("endpoints").iter().cloned());
        config.dial_timeout = Some(flags.duration("dial-timeout"));
        config.keep_alive =
            Some((flags.duration("keepalive-time").max(FASTEST_PING), flags.duration("keepalive-timeout")));
        if flags.int("max-request-bytes") > 0 {
            config.max_send_bytes = Some(flags.int("max-request-bytes") as usize);
        }
        if flags.int("max-recv-bytes") > 0 {
            config.max_receive_bytes = Some(flags.int("max-recv-bytes") as usize);
        }
        authentication(flags, &mut config)?;
        let printer = Printer { format: Format::parse(flags.text("write-out"))?, hex: flags.bool("hex") };
        config.tls = TlsFlags {
            cert: flags.text("cert"),
            key: flags.text("key"),
            authorities: flags.text("cacert"),
            server_name: domain.as_ref().filter(|domain| !domain.plain).map(|domain| &*domain.name),
            plain: flags.bool("insecure-transport"),
            skip_verification: flags.bool("insecure-skip-tls-verify"),
        }
        .load()?;
        Ok(Settings { config, domain, printer, timeout, deadline })
    }

    /// The endpoints: those that the DNS names, if it is to be asked and names any, else those given.
    pub async fn endpoints(&self) -> Result<Vec<String>, Exit> {
        let found = match &self.domain {
            Some(domain) => domain.endpoints().await?,
            None => Vec::new(),
        };
        let given = || self.config.endpoints.iter().map(|endpoint| endpoint.trim().to_string()).collect();
        Ok(if found.is_empty() { given() } else { found })
    }

    /// A client of all endpoints.
    pub async fn connect(&self) -> Result<Client, Exit> {
        let config = Config { endpoints: self.endpoints().await?, ..self.config.clone() };
        Client::connect(config).await.map_err(creation_failed)
    }

    /// A client of one endpoint.
    pub async fn connect_to(&self, endpoint: &str) -> Result<Client, ferrite_client::Error> {
        Client::connect(Config { endpoints: vec![endpoint.to_string()], ..self.config.clone() }).await
    }
}

/// A client and a printer for a command that asks once: its calls end in time.
pub async fn timed(call: &mut Invocation) -> Result<(Client, Printer), Exit> {
    let settings = Settings::read(call, &[])?;
    Ok((settings.connect().await?.with_deadline(settings.deadline), settings.printer))
}

/// A client and a printer for a command that may take as long as it takes.
pub async fn untimed(call: &mut Invocation) -> Result<(Client, Printer), Exit> {
    let settings = Settings::read(call, &[])?;
    Ok((settings.connect().await?, settings.printer))
}

/// A certificate and its key, or neither.
pub fn check_tls(cert: &str, key: &str) -> Result<(), Exit> {
    if cert.is_empty() != key.is_empty() {
        let text = format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]");
        return Err(Exit::bad_args(text));
    }
    Ok(())
}

/// Bad TLS material is a bad argument; anything else means that there is no client to be had.
fn creation_failed(error: ferrite_client::Error) -> Exit {
    match error {
        ferrite_client::Error::Config(text) if text.starts_with("tls: ") => Exit::bad_args(text),
        other => Exit::bad_connection(other),
    }
}

/// The flags about TLS.
#[derive(Clone, Copy, Debug)]
pub struct TlsFlags<'a> {
    pub cert: &'a str,
    pub key: &'a str,
    pub authorities: &'a str,
    /// Whom a server's certificate has to be for, instead of the endpoint's host.
    pub server_name: Option<&'a str>,
    /// Whether connections may go without.
    pub plain: bool,
    pub skip_verification: bool,
}

impl TlsFlags<'_> {
    /// What they ask for, read from the files that they name.
    pub fn load(self) -> Result<Option<Tls>, Exit> {
        let read = |path: &str| std::fs::read(path).map_err(|error| Exit::bad_args(open_failed(path, &error)));
        let read_if_named = |path: &str| if path.is_empty() { Ok(None) } else { read(path).map(Some) };
        let identity = read_if_named(self.cert)?.zip(read_if_named(self.key)?);
        let authorities = read_if_named(self.authorities)?;
        let asks_for_nothing = identity.is_none() && authorities.is_none() && self.server_name.is_none();
        if asks_for_nothing && self.plain && !self.skip_verification {
            return Ok(None);
        }
        let skip_verification = self.skip_verification;
        let server_name = self.server_name.map(str::to_string);
        Ok(Some(Tls { authorities, identity, server_name, skip_verification }))
    }
}

/// Go's words for a file that cannot be opened.
pub fn open_failed(path: &str, error: &std::io::Error) -> String {
    format!("open {path}: {}", io_reason(error))
}

/// The system's words, as Go spells them.
pub fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

fn authentication(flags: &Flags, config: &mut Config) -> Result<(), Exit> {
    let token = flags.text("auth-jwt-token");
    if !token.is_empty() {
        config.token = Some(token.to_string());
        return Ok(());
    }
    config.credentials = authentication_from(flags.text("user"), flags.text("password"), "Password: ")?;
    Ok(())
}

/// The user and the password that two flags name; asks for the password if neither does.
pub fn authentication_from(user: &str, password: &str, question: &str) -> Result<Option<Credentials>, Exit> {
    if user.is_empty() {
        return Ok(None);
    }
    let (user, password) = match user.split_once(':') {
        _ if !password.is_empty() => (user.to_string(), password.to_string()),
        Some((user, password)) => (user.to_string(), password.to_string()),
        None => (user.to_string(), crate::prompt::password(question).map_err(Exit::error)?),
    };
    let known = !user.is_empty() && !password.is_empty();
    Ok(known.then_some(Credentials { user, password }))
}
