//! Leases: granting, revoking, asking, and keeping them alive.

mod renew;

use std::time::Duration;

use ferrite_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use tokio::sync::mpsc;

use crate::call::{Scope, before};
use crate::client::Client;
use crate::error::Error;
use crate::known::Known;
use crate::retry::Repeat;
use crate::stubs::lease_client::LeaseClient;

/// Answers that a keeper of a lease may owe its reader. Full: they are dropped, and the lease is renewed all the same.
const QUEUE_RESPONSES: usize = 16;
/// How long a lease's first renewal may take, if the configuration does not say.
const FIRST_RENEWAL: Duration = Duration::from_secs(5);

/// What a client asks of the task that renews its leases: to renew this one, and whom to tell.
#[derive(Debug)]
struct Renew {
    id: i64,
    answers: mpsc::Sender<LeaseKeepAliveResponse>,
    first_within: Duration,
}

/// The way to the task that renews a client's leases. Unbounded: one short message for each lease that is to be kept.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    commands: Option<mpsc::UnboundedSender<Renew>>,
}

/// Keeps a lease alive for as long as it is held.
#[derive(Debug)]
pub struct KeepAlive {
    answers: mpsc::Receiver<LeaseKeepAliveResponse>,
    // The task ends when neither client nor keeper is left.
    _task: mpsc::UnboundedSender<Renew>,
}

impl KeepAlive {
    /// The next answer of the server; `None` once the lease is gone, or could not be renewed in time.
    pub async fn next(&mut self) -> Option<LeaseKeepAliveResponse> {
        self.answers.recv().await
    }
}

impl Client {
    /// Grants a lease of `ttl` seconds, with an id that the server chooses.
    pub async fn lease_grant(&self, ttl: i64) -> Result<LeaseGrantResponse, Error> {
        let request = LeaseGrantRequest { ttl, id: 0 };
        self.wire
            .unary(
                self.scope,
                Repeat::Freely,
                request,
                move |p, r| async move { LeaseClient::new(p).lease_grant(r).await },
            )
            .await
    }

    /// Ends a lease, and deletes the keys that are attached to it.
    pub async fn lease_revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Error> {
        let request = LeaseRevokeRequest { id };
        self.wire
            .unary(
                self.scope,
                Repeat::Freely,
                request,
                move |p, r| async move { LeaseClient::new(p).lease_revoke(r).await },
            )
            .await
    }

    /// How much time a lease has left, and with `keys`, what is attached to it.
    pub async fn lease_time_to_live(&self, id: i64, keys: bool) -> Result<LeaseTimeToLiveResponse, Error> {
        let request = LeaseTimeToLiveRequest { id, keys };
        let max = self.wire.config.max_receive();
        let call =
            move |p, r| async move { LeaseClient::new(p).max_decoding_message_size(max).lease_time_to_live(r).await };
        self.wire.unary(self.scope, Repeat::Freely, request, call).await
    }

    /// All leases.
    pub async fn leases(&self) -> Result<LeaseLeasesResponse, Error> {
        let max = self.wire.config.max_receive();
        let call = move |p, r| async move { LeaseClient::new(p).max_decoding_message_size(max).lease_leases(r).await };
        self.wire.unary(self.scope, Repeat::Freely, LeaseLeasesRequest {}, call).await
    }

    /// Keeps a lease alive in the background, for as long as the result is held.
    pub fn keep_alive(&self, id: i64) -> Result<KeepAlive, Error> {
        let (sender, answers) = mpsc::channel(QUEUE_RESPONSES);
        let first_within =
            self.wire.config.dial_bound().map_or(FIRST_RENEWAL, |timeout| timeout + Duration::from_secs(1));
        let mut renewals = self.renewals.lock().expect("nothing panics while it holds this lock");
        let task = match &renewals.commands {
            Some(commands) if !commands.is_closed() => commands.clone(),
            _ => {
                // Unbounded, because whoever calls does not wait. It holds one command for each `KeepAlive`, which is larger
                // than that, and the task takes them at once: it waits for nothing else, whether it is connected or not.
                let (commands, taken) = mpsc::unbounded_channel();
                tokio::spawn(renew::run(self.wire.clone(), taken));
                renewals.commands.insert(commands).clone()
            }
        };
        task.send(Renew { id, answers: sender, first_within }).map_err(|_| Error::KeepAliveHalted)?;
        Ok(KeepAlive { answers, _task: task })
    }

    /// Renews a lease once. A lease that is not there is [`Known::LeaseNotFound`].
    pub async fn keep_alive_once(&self, id: i64) -> Result<LeaseKeepAliveResponse, Error> {
        before(self.scope.deadline, async {
            loop {
                match self.renew_once(id).await {
                    Ok(answer) if answer.ttl <= 0 => return Err(Error::Known(Known::LeaseNotFound)),
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.is_halt() => return Err(error),
                    Err(_) => tokio::task::yield_now().await, // a lost connection: the next one is waited for
                }
            }
        })
        .await
    }

    async fn renew_once(&self, id: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let request = tokio_stream::once(LeaseKeepAliveRequest { id });
        let scope = Scope { require_leader: true, deadline: None };
        let open = move |pool, r| async move { LeaseClient::new(pool).lease_keep_alive(r).await };
        let mut answers = self.wire.stream(scope, request, open).await?;
        let lost = || Error::from(tonic::Status::unavailable("the stream ended without an answer"));
        answers.message().await?.ok_or_else(lost)
    }
}
