//! From global flags and environment to a client.
//!
//! The order of the checks is etcd's: environment, endpoints, TLS and authentication, format, and only then a client.

use std::time::Duration;

use ferrite_client::{Client, Config, Credentials};
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
        if !flags.text("discovery-srv").is_empty() {
            return Err(Exit::error("--discovery-srv is not built yet: name the members with --endpoints"));
        }
        check_tls(flags)?;
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
        Ok(Settings { config, printer, timeout, deadline })
    }

    /// A client of all endpoints.
    pub async fn connect(&self) -> Result<Client, Exit> {
        let endpoints = self.config.endpoints.iter().map(|endpoint| endpoint.trim().to_string()).collect();
        let config = Config { endpoints, ..self.config.clone() };
        Client::connect(config).await.map_err(Exit::bad_connection)
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

/// TLS flags are checked as etcd does, and then refused: nothing may go out in the clear that was meant to be encrypted.
fn check_tls(flags: &Flags) -> Result<(), Exit> {
    for name in ["cert", "key", "cacert"] {
        if flags.given(name) && flags.text(name).is_empty() {
            return Err(Exit::bad_args(format!("empty string is passed to --{name} option")));
        }
    }
    let (cert, key) = (flags.text("cert"), flags.text("key"));
    if cert.is_empty() != key.is_empty() {
        let text = format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]");
        return Err(Exit::bad_args(text));
    }
    for name in ["cert", "key", "cacert"] {
        let path = flags.text(name);
        if path.is_empty() {
            continue;
        }
        if let Err(error) = std::fs::File::open(path) {
            return Err(Exit::bad_args(open_failed(path, &error)));
        }
        return Err(Exit::bad_args(format!("--{name} is not built yet: this etcdctl cannot speak TLS")));
    }
    if !flags.bool("insecure-transport") || flags.bool("insecure-skip-tls-verify") {
        return Err(Exit::bad_args("this etcdctl cannot speak TLS yet: leave --insecure-transport as it is"));
    }
    Ok(())
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
