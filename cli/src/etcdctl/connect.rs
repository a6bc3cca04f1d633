//! From global flags and environment to a client.
//!
//! The order of the checks is etcd's: environment, endpoints, TLS and authentication, format, and only then a client.

use std::time::Duration;

use ferrite_client::{Client, Config, Credentials, Tls};
use tokio::time::Instant;

use crate::command::{Flags, Invocation, environment};
use crate::exit::Exit;
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
    /// How answers are printed.
    pub printer: Printer,
    /// How long a short command may take, and when that is over.
    pub timeout: Duration,
    /// When a short command that began when the settings were read is over.
    pub deadline: Instant,
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
        if !flags.text("discovery-srv").is_empty() {
            return Err(Exit::error("--discovery-srv is not built yet: name the members with --endpoints"));
        }
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
            plain: flags.bool("insecure-transport"),
            skip_verification: flags.bool("insecure-skip-tls-verify"),
        }
        .load()?;
        Ok(Settings { config, printer, timeout, deadline })
    }

    /// A client of all endpoints.
    pub async fn connect(&self) -> Result<Client, Exit> {
        let endpoints = self.config.endpoints.iter().map(|endpoint| endpoint.trim().to_string()).collect();
        let config = Config { endpoints, ..self.config.clone() };
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
        if identity.is_none() && authorities.is_none() && self.plain && !self.skip_verification {
            return Ok(None);
        }
        let skip_verification = self.skip_verification;
        Ok(Some(Tls { authorities, identity, server_name: None, skip_verification }))
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
