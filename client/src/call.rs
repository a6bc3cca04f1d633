//! A call: its metadata and deadline, and its attempts.
//!
//!   unary:   attempt ──▶ ok, or failure ──▶ `retry::decide` ──▶ give up · pause, attempt again · authenticate, attempt again
//!   stream:  authenticate ──▶ open once; what follows a failure is the business of who reads it

use std::sync::Arc;
use std::time::Duration;

use ferrite_proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Response, Status};

use crate::config::Config;
use crate::error::Error;
use crate::known::Known;
use crate::pool::{Pool, Target};
use crate::retry::{self, Decision, Repeat, Situation};
use crate::stubs::auth_client::AuthClient;
use crate::token::Token;

/// The version of the API that we speak, as servers count it.
const API_VERSION: &str = "3.7";
const BACKOFF: Duration = Duration::from_millis(25);
const BACKOFF_JITTER: f64 = 0.10;

/// What all clones of a client share.
pub(crate) struct Wire {
    pub(crate) pool: Pool,
    pub(crate) token: Token,
    pub(crate) config: Config,
}

/// What one call needs beside its request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) deadline: Option<Instant>,
    pub(crate) require_leader: bool,
}

impl Wire {
    pub(crate) fn new(config: Config) -> Result<Wire, Error> {
        config.check()?;
        let targets = Target::parse(&config, &config.endpoints)?;
        let token = Token::new(config.credentials.clone(), config.token.as_deref())?;
        Ok(Wire { pool: Pool::new(targets, config.keep_alive), token, config })
    }

    /// One call with a single request and a single response, repeated as the rules allow until the deadline.
    pub(crate) async fn unary<Q, R, F>(
        &self,
        scope: Scope,
        repeat: Repeat,
        request: Q,
        attempt: impl Fn(Pool, Request<Q>) -> F,
    ) -> Result<R, Error>
    where
        Q: prost::Message + Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.check_size(&request)?;
        before(scope.deadline, async {
            let endpoints = self.config.endpoints.len();
            let situation = Situation { repeat, endpoints, credentials: self.token.credentials().is_some() };
            let mut jitter = Jitter::new();
            let mut attempts = 0;
            loop {
                rest(retry::pause(attempts, endpoints, BACKOFF, BACKOFF_JITTER, jitter.next())).await;
                let failure = match attempt(self.pool.clone(), self.request(scope, request.clone())).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(failure) => failure,
                };
                // The server has seen the deadline pass a moment before we did.
                if failure.code() == Code::DeadlineExceeded && scope.deadline.is_some_and(|at| at <= Instant::now()) {
                    return Err(late());
                }
                attempts += 1;
                match retry::decide(&failure, situation) {
                    _ if attempts >= self.config.max_attempts.max(1) => return Err(failure.into()),
                    Decision::GiveUp => return Err(failure.into()),
                    Decision::Again => {}
                    Decision::AgainWithNewToken => self.authenticate().await?,
                }
            }
        })
        .await
        .map_err(|error| self.explain(error))
    }

    /// Opens a stream. The deadline bounds its opening only.
    pub(crate) async fn stream<Q, R, F>(
        &self,
        scope: Scope,
        request: Q,
        open: impl FnOnce(Pool, Request<Q>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        before(scope.deadline, async {
            self.authenticate().await?;
            let request = self.request(Scope { deadline: None, ..scope }, request);
            Ok(open(self.pool.clone(), request).await?.into_inner())
        })
        .await
        .map_err(|error| self.explain(error))
    }

    /// Gets a new token, if this client has a user and a password.
    pub(crate) async fn authenticate(&self) -> Result<(), Error> {
        let Some(credentials) = self.token.credentials() else { return Ok(()) };
        let request = AuthenticateRequest { name: credentials.user.clone(), password: credentials.password.clone() };
        let mut stub = AuthClient::new(self.pool.clone());
        let answer: Result<Response<AuthenticateResponse>, Status> = stub.authenticate(request).await;
        match answer.map_err(Error::from) {
            Ok(response) => self.token.set(Some(&response.into_inner().token)),
            Err(error) if error.is(Known::AuthNotEnabled) => self.token.set(None),
            Err(error) => Err(error),
        }
    }

    /// What a deadline that has passed may have come of.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::DeadlineExceeded { .. } => Error::DeadlineExceeded { unreachable: self.pool.unreachable() },
            other => other,
        }
    }

    fn request<Q>(&self, scope: Scope, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(deadline) = scope.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let metadata = request.metadata_mut();
        metadata.insert("client-api-version", MetadataValue::<Ascii>::from_static(API_VERSION));
        if scope.require_leader {
            metadata.insert("hasleader", MetadataValue::<Ascii>::from_static("true"));
        }
        if let Some(token) = self.token.current() {
            metadata.insert("token", token);
        }
        request
    }

    /// Refuses a request that is too large before it is sent, in gRPC's words.
    fn check_size(&self, request: &impl prost::Message) -> Result<(), Error> {
        let (size, max) = (request.encoded_len(), self.config.max_send());
        if size > max {
            let text = format!("trying to send message larger than max ({size} vs. {max})");
            return Err(Error::Status(Box::new(Status::resource_exhausted(text))));
        }
        Ok(())
    }
}

/// Waits. No time is no wait at all: tokio's clock ticks in milliseconds, and would make one of it.
pub(crate) async fn rest(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Runs `work`, but not beyond `deadline`, and not at all once it has passed: tokio would poll it first, and a near
/// member answers within the millisecond that its clock rounds up to.
pub(crate) async fn before<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match deadline {
        Some(deadline) if deadline <= Instant::now() => Err(late()),
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(late())),
        None => work.await,
    }
}

fn late() -> Error {
    Error::DeadlineExceeded { unreachable: Vec::new() }
}

/// A handle on a client's connections that background tasks hold.
pub(crate) type SharedWire = Arc<Wire>;

/// Uniform numbers between -1 and 1, to keep clients from acting in step. Nothing depends on their quality.
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new() -> Jitter {
        use std::hash::{BuildHasher, Hasher};
        Jitter(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    pub(crate) fn next(&mut self) -> f64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_bounds_and_moves() {
        let mut jitter = Jitter(1);
        let numbers: Vec<f64> = (0..1000).map(|_| jitter.next()).collect();
        assert!(numbers.iter().all(|n| (-1.0..=1.0).contains(n)));
        assert!(numbers.iter().any(|n| *n < -0.9) && numbers.iter().any(|n| *n > 0.9));
    }

    #[tokio::test]
    async fn nothing_is_begun_once_the_deadline_has_passed() {
        let answered = before(Some(Instant::now()), async { Ok(()) }).await;
        assert!(matches!(answered, Err(Error::DeadlineExceeded { .. })), "{answered:?}");
        let later = Instant::now() + Duration::from_secs(60);
        before(Some(later), async { Ok(()) }).await.expect("there is time");
    }
}
