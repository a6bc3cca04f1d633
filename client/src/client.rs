//! The client: connections that its clones share, and what the next call needs beside its request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Scope, Wire};
use crate::config::Config;
use crate::error::Error;
use crate::lease::Renewals;
use crate::pool::Target;
use crate::watch::Streams;

/// A client of a cluster. Cloning is cheap; the connections close with the last clone and the last watch or lease that uses them.
#[derive(Clone)]
pub struct Client {
    pub(crate) wire: Arc<Wire>,
    pub(crate) scope: Scope,
    pub(crate) watches: Arc<Mutex<Streams>>,
    pub(crate) renewals: Arc<Mutex<Renewals>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.wire.config.endpoints).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for `config`. Connecting goes on in the background; only authentication is waited for, if there is a user and a password.
    /// To be called within a tokio runtime.
    pub async fn connect(config: Config) -> Result<Client, Error> {
        let dial_timeout = config.dial_bound();
        let client = Client::new(config)?;
        let deadline = dial_timeout.map(|timeout| Instant::now() + timeout);
        let authenticated = crate::call::before(deadline, client.wire.authenticate()).await;
        authenticated.map_err(|error| client.wire.explain(error))?;
        Ok(client)
    }

    fn new(config: Config) -> Result<Client, Error> {
        Ok(Client {
            wire: Arc::new(Wire::new(config)?),
            scope: Scope::default(),
            watches: Arc::default(),
            renewals: Arc::default(),
        })
    }

    /// The same client, whose calls end with [`Error::DeadlineExceeded`] once `timeout` has passed, counted from now.
    /// A stream has to be open by then; it may last longer.
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        self.with_deadline(Instant::now() + timeout)
    }

    /// The same client, whose calls end with [`Error::DeadlineExceeded`] at `deadline`.
    pub fn with_deadline(&self, deadline: Instant) -> Client {
        Client { scope: Scope { deadline: Some(deadline), ..self.scope }, ..self.clone() }
    }

    /// The same client, whose calls and watches fail on a member that knows no leader instead of waiting there.
    pub fn with_require_leader(&self) -> Client {
        Client { scope: Scope { require_leader: true, ..self.scope }, ..self.clone() }
    }

    /// What the client was made from.
    pub fn config(&self) -> &Config {
        &self.wire.config
    }

    /// Replaces the endpoints. The number of endpoints that retries go by stays that of the configuration.
    pub fn set_endpoints<E: AsRef<str>>(&self, endpoints: impl IntoIterator<Item = E>) -> Result<(), Error> {
        let targets = Target::parse(&self.wire.config, endpoints)?;
        if targets.is_empty() {
            return Err(Error::NoEndpoints);
        }
        self.wire.pool.set_targets(targets);
        Ok(())
    }

    /// A client of `endpoint` alone, for calls that are about one member. It presents the same token.
    pub(crate) fn at(&self, endpoint: &str) -> Result<Client, Error> {
        if self.wire.config.endpoints == [endpoint] {
            return Ok(self.clone());
        }
        let mut config = Config { endpoints: vec![endpoint.to_string()], ..self.wire.config.clone() };
        if let Some(token) = self.wire.token.current() {
            config.credentials = None;
            config.token = token.to_str().ok().map(str::to_string);
        }
        Ok(Client { scope: self.scope, ..Client::new(config)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dial_timeout_of_zero_is_no_bound() {
        let config = Config { dial_timeout: Some(Duration::ZERO), ..Config::new(["127.0.0.1:1"]) };
        assert!(Client::connect(config).await.is_ok(), "without a user there is nothing to wait for");
    }
}
