//! An election: of those who want to lead one does, and others can see who.

use std::collections::VecDeque;

use bytes::Bytes;
use ferrite_proto::etcdserverpb::{RangeResponse, ResponseHeader};
use ferrite_proto::mvccpb::KeyValue;
use ferrite_proto::mvccpb::event::EventType;

use super::{Place, Session, answer, take_place, wait_for_turn};
use crate::client::Client;
use crate::error::Error;
use crate::op::{Delete, Get, Put, Watch};
use crate::txn::{Compare, Txn};
use crate::watch::Watcher;

/// An election under a name, as a candidate sees it.
#[derive(Debug)]
pub struct Election<'a> {
    session: &'a Session,
    prefix: String,
    place: Option<Place>,
}

impl<'a> Election<'a> {
    /// The election called `name`, in which we do not take part yet.
    pub fn new(session: &'a Session, name: &str) -> Election<'a> {
        Election { session, prefix: format!("{name}/"), place: None }
    }

    /// Waits until we lead, with `value` for all to see. If this is given up half-way, [`Election::resign`] takes the candidacy back.
    pub async fn campaign(&mut self, value: impl Into<Bytes>) -> Result<(), Error> {
        let value = value.into();
        let taken = take_place(self.session, &self.prefix, value.clone()).await?;
        let created = taken.place.created;
        self.place = Some(taken.place);
        if taken.found.is_some_and(|found| found != value) {
            self.proclaim(value).await?;
        }
        if !taken.is_first {
            wait_for_turn(self.session.client(), &self.prefix, created).await?;
        }
        Ok(())
    }

    /// Shows another value, while we lead.
    pub async fn proclaim(&mut self, value: impl Into<Bytes>) -> Result<(), Error> {
        let place = self.place.as_ref().ok_or(Error::NotLeader)?;
        let put = Put::new(place.key.clone(), value).lease(self.session.lease());
        let txn = Txn::new().when([place.is_ours()]).and_then([put.into()]);
        if self.session.client().txn(txn).await?.succeeded {
            return Ok(());
        }
        self.place = None;
        Err(Error::NotLeader)
    }

    /// Leads no longer, or stands no longer.
    pub async fn resign(&mut self) -> Result<(), Error> {
        if let Some(place) = self.place.take() {
            let txn = Txn::new().when([place.is_ours()]).and_then([Delete::new(place.key).into()]);
            self.session.client().txn(txn).await?;
        }
        Ok(())
    }

    /// The key that stands for us.
    pub fn key(&self) -> Option<&Bytes> {
        self.place.as_ref().map(|place| &place.key)
    }
}

impl Place {
    /// The key is still the one that we put.
    fn is_ours(&self) -> Compare {
        Compare::create_revision(self.key.clone()).eq(self.created)
    }
}

/// Sees who leads, one after the other.
#[derive(Debug)]
pub struct Observer {
    client: Client,
    prefix: String,
    /// The leader that is being watched.
    leader: Option<Watcher>,
    /// What it has shown and nobody has taken yet.
    shown: VecDeque<RangeResponse>,
}

impl Observer {
    /// Observes the election called `name`.
    pub fn new(client: &Client, name: &str) -> Observer {
        Observer { client: client.clone(), prefix: format!("{name}/"), leader: None, shown: VecDeque::new() }
    }

    /// Waits for the next leader, or for the next value that the leader shows.
    pub async fn next(&mut self) -> Result<RangeResponse, Error> {
        if let Some(shown) = self.next_of_leader().await? {
            return Ok(shown);
        }
        let (header, kv) = self.wait_for_leader().await?;
        let watch = Watch::new(kv.key.clone()).revision(header.revision + 1);
        self.leader = Some(self.client.watch(watch).await?);
        Ok(answer(header, kv))
    }

    /// The next value of the leader that is watched; `None` if there is no such leader any more.
    async fn next_of_leader(&mut self) -> Result<Option<RangeResponse>, Error> {
        loop {
            if let Some(shown) = self.shown.pop_front() {
                return Ok(Some(shown));
            }
            let Some(watcher) = &mut self.leader else { return Ok(None) };
            let response = watcher.next().await.ok_or(Error::Closed)?;
            if let Some(error) = response.error {
                return Err(error);
            }
            for event in response.events {
                if event.r#type() == EventType::Delete {
                    // What comes after is another's, even under the same key.
                    self.leader = None;
                    break;
                }
                self.shown.push_back(answer(response.header, event.kv.unwrap_or_default()));
            }
        }
    }

    async fn wait_for_leader(&self) -> Result<(ResponseHeader, KeyValue), Error> {
        let response = self.client.get(Get::new(self.prefix.clone()).first_created()).await?;
        let header = response.header.unwrap_or_default();
        if let Some(kv) = response.kvs.into_iter().next() {
            return Ok((header, kv));
        }
        let watch = Watch::new(self.prefix.clone()).prefix().revision(header.revision).filter_delete();
        let mut watcher = self.client.watch(watch).await?;
        while let Some(response) = watcher.next().await {
            if let Some(error) = response.error {
                return Err(error);
            }
            if let Some(event) = response.events.into_iter().next() {
                // The rest of its history is for the watch on it.
                let kv = event.kv.unwrap_or_default();
                let header = ResponseHeader { revision: kv.mod_revision, ..response.header };
                return Ok((header, kv));
            }
        }
        Err(Error::Closed)
    }
}
