//! What an entry of the log asks for: parsed once, at the door of the state machine.
//!
//!   entry ──Proposal::parse──▶ request id, caller, Command ──▶ State::apply
//!
//! An entry is an `InternalRaftRequest` with exactly one payload, a change of members, or empty (a new leader's first).
//! Decoding is as generous as Go's, for what is committed has to be applied: unknown fields count for nothing, and
//! transactions may nest as deep as an entry is long. A payload that this version does not know is an error that names it:
//! a member that went on without it would differ from the others.

mod conf_change;
mod encode;
mod kind;
mod txn;

pub use conf_change::{ConfChange, MemberChange};
pub use encode::{encode, encode_parsed};
pub use kind::Kind;
pub use txn::{Level, LevelId, Op, Txn, TxnShape, put_cost};

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::membershippb as membership;
use ferrite_proto::wire::{self, Fields, Malformed, Wire, shapes};
use ferrite_raft::{self as raft, Entry, Index, Payload};

/// Which request an entry answers, chosen by who proposed it; 0 when nobody waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// For whom a request is made, as the proposer found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Empty without authentication.
    pub username: String,
    /// The revision of the users and roles that the proposer looked at.
    pub auth_revision: u64,
}

/// An entry of the log, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub id: RequestId,
    pub caller: Caller,
    pub command: Command,
}

/// What there is to do. One variant for each payload, so that one match decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The first entry of a new leader.
    Noop,
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(Txn),
    Compaction(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    Alarm(pb::AlarmRequest),
    Auth(AuthCommand),
    ClusterVersionSet(membership::ClusterVersionSetRequest),
    MemberAttributesSet(membership::ClusterMemberAttrSetRequest),
    DowngradeInfoSet(membership::DowngradeInfoSetRequest),
    /// Does nothing: etcd's tests put it into logs.
    DowngradeVersionTest,
    ConfChange(ConfChange),
}

/// Users, roles and permissions.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthCommand {
    Enable,
    Disable,
    Status,
    Authenticate(pb::InternalAuthenticateRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserDelete(pb::AuthUserDeleteRequest),
    UserGet(pb::AuthUserGetRequest),
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    UserList,
    RoleList,
    RoleAdd(pb::AuthRoleAddRequest),
    RoleDelete(pb::AuthRoleDeleteRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    RoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
}

impl AuthCommand {
    /// Whether it leaves everything as it is.
    pub fn only_reads(&self) -> bool {
        use AuthCommand::*;
        matches!(self, Status | Authenticate(_) | UserGet(_) | UserList | RoleGet(_) | RoleList)
    }
}

/// A committed entry that cannot be applied. The member has to stop: the others apply it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} of the log cannot be applied: {reason}")]
pub struct CommandError {
    pub index: Index,
    pub reason: Unreadable,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error(
        "it holds no request that this version knows, but the fields {fields:?} of InternalRaftRequest; the member has to be upgraded"
    )]
    Unknown { fields: Vec<u32> },
    #[error("it holds the fields {first} and {second} of InternalRaftRequest, where one is allowed")]
    Ambiguous { first: u32, second: u32 },
    #[error("it has no request id")]
    NoId,
    #[error("its member is not readable: {0}")]
    Member(String),
    #[error("it changes member {entry:x}, but describes member {context:x}")]
    WrongMember { entry: u64, context: u64 },
    #[error("a change of several members at once is not supported, as in etcd")]
    ConfChangeV2,
}

impl Proposal {
    /// Parses an entry of the log.
    pub fn parse(entry: &Entry) -> Result<Proposal, CommandError> {
        let parsed = match &entry.payload {
            Payload::Data(data) if data.is_empty() => {
                Ok(Proposal { id: RequestId(0), caller: Caller::default(), command: Command::Noop })
            }
            Payload::Data(data) => parse_request(data),
            Payload::Change(change) => match &**change {
                raft::ConfChange::V1(change) => ConfChange::parse(change).map(|parsed| Proposal {
                    id: RequestId(change.id),
                    caller: Caller::default(),
                    command: Command::ConfChange(parsed),
                }),
                raft::ConfChange::V2(_) => Err(Unreadable::ConfChangeV2),
            },
        };
        parsed.map_err(|reason| CommandError { index: entry.index, reason })
    }
}

/// Field numbers of `InternalRaftRequest`.
mod field {
    pub const ID: u32 = 1;
    pub const HEADER: u32 = 100;
}

fn parse_request(data: &Bytes) -> Result<Proposal, Unreadable> {
    let mut id = 0;
    let mut header: Option<Bytes> = None;
    let mut payload: Option<(u32, Bytes)> = None;
    let mut unknown = Vec::new();
    for each in Fields::new(data) {
        let each = each?;
        let value = data.slice(each.value.clone());
        match (each.number, each.wire) {
            (field::ID, Wire::Varint) => id = wire::varint(&value)?,
            (field::HEADER, Wire::Bytes) => header = Some(joined(header, value)),
            (number, Wire::Bytes) if is_payload(number) => match &payload {
                Some((first, _)) if *first != number => {
                    return Err(Unreadable::Ambiguous { first: *first, second: number });
                }
                _ => payload = Some((number, joined(payload.map(|(_, before)| before), value))),
            },
            (number, _) => unknown.push(number),
        }
    }
    let header = match header {
        Some(header) => wire::decode::<pb::RequestHeader>(&shapes::etcdserverpb_RequestHeader, header)?,
        None => pb::RequestHeader::default(),
    };
    let Some((number, payload)) = payload else { return Err(Unreadable::Unknown { fields: unknown }) };
    let id = if id == 0 { header.id } else { id };
    if id == 0 {
        return Err(Unreadable::NoId);
    }
    let caller = Caller { username: header.username, auth_revision: header.auth_revision };
    Ok(Proposal { id: RequestId(id), caller, command: Command::decode(number, payload)? })
}

/// A message in two parts is the message of both parts, one behind the other.
fn joined(before: Option<Bytes>, value: Bytes) -> Bytes {
    match before {
        Some(before) => [before, value].concat().into(),
        None => value,
    }
}

fn is_payload(number: u32) -> bool {
    matches!(number, 3..=11 | 1000 | 1011..=1013 | 1100..=1107 | 1200..=1204 | 1300..=1302 | 9900)
}

macro_rules! decode {
    ($shape:ident, $payload:expr) => {
        wire::decode(&shapes::$shape, $payload)?
    };
}

impl Command {
    fn decode(number: u32, payload: Bytes) -> Result<Command, Unreadable> {
        use AuthCommand as Auth;
        Ok(match number {
            3 => Command::Range(decode!(etcdserverpb_RangeRequest, payload)),
            4 => Command::Put(decode!(etcdserverpb_PutRequest, payload)),
            5 => Command::DeleteRange(decode!(etcdserverpb_DeleteRangeRequest, payload)),
            6 => Command::Txn(Txn::parse(payload)?),
            7 => Command::Compaction(decode!(etcdserverpb_CompactionRequest, payload)),
            8 => Command::LeaseGrant(decode!(etcdserverpb_LeaseGrantRequest, payload)),
            9 => Command::LeaseRevoke(decode!(etcdserverpb_LeaseRevokeRequest, payload)),
            10 => Command::Alarm(decode!(etcdserverpb_AlarmRequest, payload)),
            11 => Command::LeaseCheckpoint(decode!(etcdserverpb_LeaseCheckpointRequest, payload)),
            1000 => Command::Auth(Auth::Enable),
            1011 => Command::Auth(Auth::Disable),
            1012 => Command::Auth(Auth::Authenticate(decode!(etcdserverpb_InternalAuthenticateRequest, payload))),
            1013 => Command::Auth(Auth::Status),
            1100 => Command::Auth(Auth::UserAdd(decode!(etcdserverpb_AuthUserAddRequest, payload))),
            1101 => Command::Auth(Auth::UserDelete(decode!(etcdserverpb_AuthUserDeleteRequest, payload))),
            1102 => Command::Auth(Auth::UserGet(decode!(etcdserverpb_AuthUserGetRequest, payload))),
            1103 => {
                Command::Auth(Auth::UserChangePassword(decode!(etcdserverpb_AuthUserChangePasswordRequest, payload)))
            }
            1104 => Command::Auth(Auth::UserGrantRole(decode!(etcdserverpb_AuthUserGrantRoleRequest, payload))),
            1105 => Command::Auth(Auth::UserRevokeRole(decode!(etcdserverpb_AuthUserRevokeRoleRequest, payload))),
            1106 => Command::Auth(Auth::UserList),
            1107 => Command::Auth(Auth::RoleList),
            1200 => Command::Auth(Auth::RoleAdd(decode!(etcdserverpb_AuthRoleAddRequest, payload))),
            1201 => Command::Auth(Auth::RoleDelete(decode!(etcdserverpb_AuthRoleDeleteRequest, payload))),
            1202 => Command::Auth(Auth::RoleGet(decode!(etcdserverpb_AuthRoleGetRequest, payload))),
            1203 => {
                Command::Auth(Auth::RoleGrantPermission(decode!(etcdserverpb_AuthRoleGrantPermissionRequest, payload)))
            }
            1204 => Command::Auth(Auth::RoleRevokePermission(decode!(
                etcdserverpb_AuthRoleRevokePermissionRequest,
                payload
            ))),
            1300 => Command::ClusterVersionSet(decode!(membershippb_ClusterVersionSetRequest, payload)),
            1301 => Command::MemberAttributesSet(decode!(membershippb_ClusterMemberAttrSetRequest, payload)),
            1302 => Command::DowngradeInfoSet(decode!(membershippb_DowngradeInfoSetRequest, payload)),
            9900 => Command::DowngradeVersionTest,
            _ => unreachable!("is_payload let field {number} through"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn parse(data: &[u8]) -> Result<Proposal, Unreadable> {
        let entry = Entry { index: Index(7), payload: Bytes::copy_from_slice(data).into(), ..Default::default() };
        Proposal::parse(&entry).map_err(|error| {
            assert_eq!(error.index, Index(7));
            error.reason
        })
    }

    #[test]
    fn a_put_of_etcd_is_read() {
        // What etcd 3.5.1 wrote for `put k1 v1`, the request id being 5.
        let proposal = parse(b"\x22\x08\x0a\x02k1\x12\x02v1\xa2\x06\x02\x08\x05").unwrap();
        assert_eq!(proposal.id, RequestId(5));
        let put = pb::PutRequest { key: "k1".into(), value: "v1".into(), ..Default::default() };
        assert_eq!(proposal.command, Command::Put(put));
    }

    #[test]
    fn an_empty_entry_does_nothing() {
        assert_eq!(parse(b"").unwrap().command, Command::Noop);
    }

    #[test]
    fn every_payload_is_known() {
        let numbers = (1..10_000).filter(|n| is_payload(*n));
        let fields = shapes::etcdserverpb_InternalRaftRequest.fields;
        let expected = fields.iter().map(|(n, _)| *n).filter(|n| ![field::ID, field::HEADER].contains(n));
        assert!(numbers.clone().eq(expected));
        for number in numbers {
            Command::decode(number, Bytes::new()).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_applied_says_why() {
        let id = b"\xa2\x06\x02\x08\x05";
        let with_id = |bytes: &[u8]| [bytes, id].concat();
        let cases: &[(Vec<u8>, Unreadable)] = &[
            (with_id(b""), Unreadable::Unknown { fields: vec![] }),
            // Field 12 and field 2, once a request of etcd 2.
            (with_id(b"\x62\x00"), Unreadable::Unknown { fields: vec![12] }),
            (with_id(b"\x12\x03PUT"), Unreadable::Unknown { fields: vec![2] }),
            (with_id(b"\x22\x00\x2a\x00"), Unreadable::Ambiguous { first: 4, second: 5 }),
            (b"\x22\x00".to_vec(), Unreadable::NoId),
            (with_id(b"\x22\x05a"), Malformed::Truncated { at: 2 }.into()),
        ];
        for (bytes, reason) in cases {
            let mut bytes = bytes.clone();
            if matches!(reason, Unreadable::Malformed(_)) {
                bytes.truncate(3);
            }
            assert_eq!(parse(&bytes).as_ref(), Err(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_go_reads_is_read() {
        let id = b"\xa2\x06\x02\x08\x05";
        let put_of_ab = pb::PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
        let cases: &[(&str, &[u8])] = &[
            ("in two parts", b"\x22\x03\x0a\x01a\x22\x03\x12\x01b"),
            ("beside an unknown field", b"\x22\x06\x0a\x01a\x12\x01b\x62\x01x"),
            ("beside a payload that is a number", b"\x22\x06\x0a\x01a\x12\x01b\x28\x01"),
            ("with groups", b"\x22\x08\x0a\x01a\x12\x01b\x7b\x7c\x7b\x7b\x7c\x7c"),
        ];
        for (what, bytes) in cases {
            let proposal = parse(&[bytes, &id[..]].concat()).unwrap();
            assert_eq!(proposal.command, Command::Put(put_of_ab.clone()), "{what}");
        }
    }

    #[test]
    fn what_is_encoded_is_parsed_and_is_the_bytes_of_etcd() {
        let put = pb::PutRequest { key: "k1".into(), value: "v1".into(), ..Default::default() };
        let caller = Caller { username: "root".into(), auth_revision: 3 };
        let request = pb::InternalRaftRequest { put: Some(put.clone()), ..Default::default() };
        let bytes = encode(RequestId(5), &caller, request);
        let proposal = Proposal { id: RequestId(5), caller: caller.clone(), command: Command::Put(put.clone()) };
        assert_eq!(parse(&bytes).unwrap(), proposal);
        assert_eq!(encode_parsed(RequestId(5), &caller, 4, &put.encode_to_vec()), bytes);
        assert_eq!(
            &encode_parsed(RequestId(5), &Caller::default(), 4, b"\x0a\x02k1")[..],
            b"\x22\x04\x0a\x02k1\xa2\x06\x02\x08\x05"
        );
        let authenticate = pb::InternalAuthenticateRequest { name: "me".into(), ..Default::default() };
        let request = pb::InternalRaftRequest { authenticate: Some(authenticate.clone()), ..Default::default() };
        let bytes = encode(RequestId(6), &caller, request);
        assert_eq!(encode_parsed(RequestId(6), &caller, 1012, &authenticate.encode_to_vec()), bytes);
    }
}
