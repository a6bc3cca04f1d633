//! Looking after members: alarms, status, hashes, defragmentation, snapshots, leadership, downgrades.
//!
//! What is about one member goes to the endpoint given, over a connection of its own.

use bytes::Bytes;
use ferrite_proto::etcdserverpb::alarm_request::AlarmAction;
use ferrite_proto::etcdserverpb::downgrade_request::DowngradeAction;
use ferrite_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, DowngradeRequest,
    DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
use tonic::{Response, Status, Streaming};

use crate::client::Client;
use crate::error::Error;
use crate::pool::Pool;
use crate::retry::Repeat;
use crate::stubs::maintenance_client::MaintenanceClient;

impl Client {
    /// The alarms that are raised.
    pub async fn alarm_list(&self) -> Result<AlarmResponse, Error> {
        self.alarm(AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() }).await
    }

    /// Clears one alarm.
    pub async fn alarm_disarm(&self, alarm: AlarmMember) -> Result<AlarmResponse, Error> {
        let action = AlarmAction::Deactivate.into();
        self.alarm(AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm }).await
    }

    /// Clears every alarm; answers with those that were raised.
    pub async fn alarm_disarm_all(&self) -> Result<AlarmResponse, Error> {
        let mut cleared = AlarmResponse::default();
        for alarm in self.alarm_list().await?.alarms {
            cleared.alarms.extend(self.alarm_disarm(alarm).await?.alarms);
        }
        Ok(cleared)
    }

    /// Raises an alarm, as members do.
    pub async fn alarm_raise(&self, member_id: u64, alarm: AlarmType) -> Result<AlarmResponse, Error> {
        self.alarm(AlarmRequest { action: AlarmAction::Activate.into(), member_id, alarm: alarm.into() }).await
    }

    async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Error> {
        let call = move |pool, r| async move { MaintenanceClient::new(pool).alarm(r).await };
        self.wire.unary(self.scope, Repeat::Freely, request, call).await
    }

    /// How the member at `endpoint` is.
    pub async fn status(&self, endpoint: &str) -> Result<StatusResponse, Error> {
        let call = move |pool, r| async move { MaintenanceClient::new(pool).status(r).await };
        self.at(endpoint)?.wire.unary(self.scope, Repeat::Freely, StatusRequest {}, call).await
    }

    /// The hash of everything that the member at `endpoint` has stored.
    pub async fn hash(&self, endpoint: &str) -> Result<HashResponse, Error> {
        let call = move |pool, r| async move { MaintenanceClient::new(pool).hash(r).await };
        self.at(endpoint)?.wire.unary(self.scope, Repeat::Freely, HashRequest {}, call).await
    }

    /// The hash of the keys up to `revision`, 0 being the latest, at the member at `endpoint`.
    pub async fn hash_kv(&self, endpoint: &str, revision: i64) -> Result<HashKvResponse, Error> {
        let call = move |pool, r| async move { MaintenanceClient::new(pool).hash_kv(r).await };
        self.at(endpoint)?.wire.unary(self.scope, Repeat::Freely, HashKvRequest { revision }, call).await
    }

    /// Gives unused space of the member at `endpoint` back.
    pub async fn defragment(&self, endpoint: &str) -> Result<DefragmentResponse, Error> {
        let call = move |pool, r| async move { MaintenanceClient::new(pool).defragment(r).await };
        self.at(endpoint)?.wire.unary(self.scope, Repeat::IfNotProcessed, DefragmentRequest {}, call).await
    }

    /// Hands leadership to another member. Only the leader can do it.
    pub async fn move_leader(&self, target_id: u64) -> Result<MoveLeaderResponse, Error> {
        let call = move |pool, r| async move { MaintenanceClient::new(pool).move_leader(r).await };
        self.wire.unary(self.scope, Repeat::Freely, MoveLeaderRequest { target_id }, call).await
    }

    /// The same client for one of its endpoints alone.
    pub fn only(&self, endpoint: &str) -> Result<Client, Error> {
        self.at(endpoint)
    }

    /// Checks, begins or gives up a downgrade of the cluster to `version`.
    pub async fn downgrade(&self, action: DowngradeAction, version: &str) -> Result<DowngradeResponse, Error> {
        let request = DowngradeRequest { action: action.into(), version: version.to_string() };
        let call = move |pool, r| async move { MaintenanceClient::new(pool).downgrade(r).await };
        self.wire.unary(self.scope, Repeat::IfNotProcessed, request, call).await
    }

    /// A member's state, as a database file followed by its SHA-256. A deadline covers all of it.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        crate::call::before(self.scope.deadline, self.wire.authenticate()).await?;
        let max = self.wire.config.max_receive();
        // Until its first message the stream is opened as often as it takes; after that a failure is final.
        let open = move |pool: Pool, r| async move {
            let mut client = MaintenanceClient::new(pool).max_decoding_message_size(max);
            let mut messages: Streaming<SnapshotResponse> = client.snapshot(r).await?.into_inner();
            let first = messages.message().await?.ok_or_else(|| Status::unavailable("the snapshot is empty"))?;
            Ok(Response::new((first, messages)))
        };
        let (first, messages) = self.wire.unary(self.scope, Repeat::Freely, SnapshotRequest {}, open).await?;
        Ok(Snapshot { version: first.version.clone(), first: Some(first), messages, deadline: self.scope.deadline })
    }
}

/// A member's state on its way.
#[derive(Debug)]
pub struct Snapshot {
    version: String,
    first: Option<SnapshotResponse>,
    messages: Streaming<SnapshotResponse>,
    deadline: Option<tokio::time::Instant>,
}

impl Snapshot {
    /// The version of the storage it comes from; empty from servers that do not say.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let message = match self.first.take() {
            Some(first) => Some(first),
            None => crate::call::before(self.deadline, async { Ok(self.messages.message().await?) }).await?,
        };
        Ok(message.map(|message| message.blob))
    }
}
