//! The members of the cluster.

use ferrite_proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};

use crate::client::Client;
use crate::error::Error;
use crate::retry::Repeat;
use crate::stubs::cluster_client::ClusterClient;

impl Client {
    /// All members. `linearizable`: as a quorum knows them, rather than the member that is asked.
    pub async fn member_list(&self, linearizable: bool) -> Result<MemberListResponse, Error> {
        let request = MemberListRequest { linearizable };
        self.wire
            .unary(self.scope, Repeat::Freely, request, move |p, r| async move {
                ClusterClient::new(p).member_list(r).await
            })
            .await
    }

    /// Adds a member that will be reached at `peer_urls`; as a learner it does not vote.
    pub async fn member_add(&self, peer_urls: Vec<String>, learner: bool) -> Result<MemberAddResponse, Error> {
        let request = MemberAddRequest { peer_ur_ls: peer_urls, is_learner: learner };
        let call = move |p, r| async move { ClusterClient::new(p).member_add(r).await };
        self.wire.unary(self.scope, Repeat::IfNotProcessed, request, call).await
    }

    /// Removes a member.
    pub async fn member_remove(&self, id: u64) -> Result<MemberRemoveResponse, Error> {
        let call = move |p, r| async move { ClusterClient::new(p).member_remove(r).await };
        self.wire.unary(self.scope, Repeat::IfNotProcessed, MemberRemoveRequest { id }, call).await
    }

    /// Changes where a member's peers reach it.
    pub async fn member_update(&self, id: u64, peer_urls: Vec<String>) -> Result<MemberUpdateResponse, Error> {
        let request = MemberUpdateRequest { id, peer_ur_ls: peer_urls };
        let call = move |p, r| async move { ClusterClient::new(p).member_update(r).await };
        self.wire.unary(self.scope, Repeat::IfNotProcessed, request, call).await
    }

    /// Makes a learner a voter.
    pub async fn member_promote(&self, id: u64) -> Result<MemberPromoteResponse, Error> {
        let call = move |p, r| async move { ClusterClient::new(p).member_promote(r).await };
        self.wire.unary(self.scope, Repeat::IfNotProcessed, MemberPromoteRequest { id }, call).await
    }

    /// Makes the client URLs of all started voters the endpoints.
    pub async fn sync(&self) -> Result<(), Error> {
        let members = self.member_list(true).await?.members;
        let started = members.into_iter().filter(|member| !member.name.is_empty() && !member.is_learner);
        self.set_endpoints(started.flat_map(|member| member.client_ur_ls))
    }
}
