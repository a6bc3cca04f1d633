//! The protobuf format: the message as it is on the wire, without anything around it.

use ferrite_client::proto::etcdserverpb::WatchResponse as WatchMessage;
use prost::Message as _;

use super::Answer;

/// `answer` as a message, if it is one.
pub fn render(answer: &Answer) -> Option<Vec<u8>> {
    // Of leases, etcd shows only the header.
    let header = |header: &Option<_>| header.unwrap_or_default();
    Some(match answer {
        Answer::Get { response, .. } => response.encode_to_vec(),
        Answer::Put(response) => response.encode_to_vec(),
        Answer::Delete(response) => response.encode_to_vec(),
        Answer::Txn(response) => response.encode_to_vec(),
        Answer::Watch(response) => WatchMessage {
            header: Some(response.header),
            compact_revision: response.compact_revision,
            canceled: response.error.is_some(),
            events: response.events.clone(),
            ..WatchMessage::default()
        }
        .encode_to_vec(),
        Answer::LeaseGrant(response) => header(&response.header).encode_to_vec(),
        Answer::LeaseKeepAlive(response) => header(&response.header).encode_to_vec(),
        Answer::LeaseTimeToLive { response, .. } => header(&response.header).encode_to_vec(),
        Answer::Leases(response) => header(&response.header).encode_to_vec(),
        Answer::MemberList(response) => response.encode_to_vec(),
        Answer::MemberChange { message, .. } => message.to_vec(),
        Answer::Alarm(response) => response.encode_to_vec(),
        Answer::MoveLeader { response, .. } => response.encode_to_vec(),
        Answer::Downgrade { response, .. } => response.encode_to_vec(),
        Answer::RoleGet { response, .. } => response.encode_to_vec(),
        Answer::RoleList(response) => response.encode_to_vec(),
        Answer::UserGet { response, .. } => response.encode_to_vec(),
        Answer::UserList(response) => response.encode_to_vec(),
        Answer::AuthStatus(response) => response.encode_to_vec(),
        // Every message that says no more than this has the header as its first field.
        Answer::Done { header, .. } => {
            ferrite_client::proto::etcdserverpb::LeaseRevokeResponse { header: *header }.encode_to_vec()
        }
        Answer::EndpointHealth(_) | Answer::EndpointStatus(_) | Answer::EndpointHashKv(_) => return None,
    })
}
