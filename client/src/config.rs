//! What a client is made from.

use std::time::Duration;

use crate::error::Error;
use crate::tls::Tls;

/// A user and the password that proves it.
#[derive(Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a client is made from. [`Config::new`] sets etcd's defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the members are: `host:port`, `http://host:port`, `unix:path`.
    pub endpoints: Vec<String>,
    /// Bounds the authentication at the start, and gives a lease's first renewal its time. Not the setting up of connections.
    /// Zero is no bound.
    pub dial_timeout: Option<Duration>,
    /// How often to ping an open connection, and how long to wait for the answer.
    pub keep_alive: Option<(Duration, Duration)>,
    /// The largest request, in bytes; 2 MiB if it is not said.
    pub max_send_bytes: Option<usize>,
    /// The largest response, in bytes; 2 GiB if it is not said.
    pub max_receive_bytes: Option<usize>,
    /// What to encrypt with; without it, only endpoints that ask for TLS by themselves get it.
    pub tls: Option<Tls>,
    /// Who to authenticate as.
    pub credentials: Option<Credentials>,
    /// A token to present as it is, instead of authenticating.
    pub token: Option<String>,
    /// How many times a unary call is attempted.
    pub max_attempts: u32,
}

/// A little more than servers accept by default.
const DEFAULT_MAX_SEND_BYTES: usize = 2 << 20;

impl Config {
    /// A configuration for `endpoints`, with etcd's defaults for everything else.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Config {
        Config {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            dial_timeout: None,
            keep_alive: None,
            max_send_bytes: None,
            max_receive_bytes: None,
            tls: None,
            credentials: None,
            token: None,
            max_attempts: 100,
        }
    }

    /// How long dialling may take, if that is bounded.
    pub(crate) fn dial_bound(&self) -> Option<Duration> {
        self.dial_timeout.filter(|timeout| !timeout.is_zero())
    }

    /// The largest request, in bytes.
    pub(crate) fn max_send(&self) -> usize {
        self.max_send_bytes.unwrap_or(DEFAULT_MAX_SEND_BYTES)
    }

    /// The largest response, in bytes.
    pub(crate) fn max_receive(&self) -> usize {
        self.max_receive_bytes.unwrap_or(i32::MAX as usize)
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.endpoints.is_empty() {
            return Err(Error::NoEndpoints);
        }
        if let (Some(receive), Some(send)) = (self.max_receive_bytes, self.max_send_bytes)
            && receive < send
        {
            return Err(Error::Config(format!(
                "gRPC message recv limit ({receive} bytes) must be greater than send limit ({send} bytes)"
            )));
        }
        if self.credentials.is_some() && self.token.is_some() {
            return Err(Error::Config(
                "a token and a user with a password exclude each other: give one of them".into(),
            ));
        }
        Ok(())
    }
}
