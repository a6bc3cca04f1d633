//! A lock across processes.

use bytes::Bytes;
use ferrite_proto::etcdserverpb::ResponseHeader;

use super::{Place, Session, take_place, wait_for_turn};
use crate::error::Error;
use crate::op::{Delete, Get};
use crate::txn::Compare;

/// A lock under a name. It is held from when [`Mutex::lock`] returns until [`Mutex::unlock`], or until the session is lost.
#[derive(Debug)]
pub struct Mutex<'a> {
    session: &'a Session,
    prefix: String,
    place: Option<Place>,
}

impl<'a> Mutex<'a> {
    /// The lock called `name`, not held yet.
    pub fn new(session: &'a Session, name: &str) -> Mutex<'a> {
        Mutex { session, prefix: format!("{name}/"), place: None }
    }

    /// Waits until the lock is ours. If this is given up half-way, [`Mutex::unlock`] takes the wish back.
    pub async fn lock(&mut self) -> Result<(), Error> {
        let taken = take_place(self.session, &self.prefix, Bytes::new()).await?;
        let place = self.place.insert(taken.place);
        if taken.is_first {
            return Ok(());
        }
        let client = self.session.client();
        wait_for_turn(client, &self.prefix, place.created).await?;
        // Our own key may have gone with its lease while we waited.
        let own = client.get(Get::new(place.key.clone())).await?;
        if own.kvs.is_empty() {
            return Err(Error::SessionExpired);
        }
        place.header = own.header.unwrap_or_default();
        Ok(())
    }

    /// Gives the lock up, or the wish for it.
    pub async fn unlock(&mut self) -> Result<(), Error> {
        if let Some(place) = self.place.take() {
            self.session.client().delete(Delete::new(place.key)).await?;
        }
        Ok(())
    }

    /// The key that stands for holding it.
    pub fn key(&self) -> Option<&Bytes> {
        self.place.as_ref().map(|place| &place.key)
    }

    /// The header of the answer with which the lock became ours.
    pub fn header(&self) -> Option<ResponseHeader> {
        self.place.as_ref().map(|place| place.header)
    }

    /// What holds for as long as the lock is held, to make a transaction depend on it.
    pub fn is_owner(&self) -> Option<Compare> {
        self.place.as_ref().map(|place| Compare::create_revision(place.key.clone()).eq(place.created))
    }
}
