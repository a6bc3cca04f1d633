//! A session: a lease that is kept alive, for as long as its owner is.

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::error::Error;

const DEFAULT_TTL_SECONDS: i64 = 60;

/// A lease that is kept alive in the background. Dropping it leaves the lease to run out.
#[derive(Debug)]
pub struct Session {
    client: Client,
    lease: i64,
    alive: watch::Receiver<()>,
    renewing: AbortHandle,
}

impl Session {
    /// A session that outlives its owner by `ttl` seconds; 60 if that is not positive.
    pub async fn new(client: &Client, ttl: i64) -> Result<Session, Error> {
        let ttl = if ttl > 0 { ttl } else { DEFAULT_TTL_SECONDS };
        let lease = client.lease_grant(ttl).await?.id;
        let mut kept = client.keep_alive(lease)?;
        let (while_alive, alive) = watch::channel(());
        let renewing = tokio::spawn(async move {
            while kept.next().await.is_some() {}
            drop(while_alive);
        });
        Ok(Session { client: client.clone(), lease, alive, renewing: renewing.abort_handle() })
    }

    /// The client it was made with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The lease's id.
    pub fn lease(&self) -> i64 {
        self.lease
    }

    /// Waits until the lease is lost.
    pub async fn done(&self) {
        // Nothing is ever sent: the only change is the end.
        let _ = self.alive.clone().changed().await;
    }

    /// Ends the session and its lease.
    pub async fn close(self) -> Result<(), Error> {
        self.renewing.abort();
        self.client.lease_revoke(self.lease).await?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
