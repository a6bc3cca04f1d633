//! What a server answered, printed in the format that was asked for.
//!
//! An [`Answer`] is what a command has to show. Not every answer can be shown in every format; what cannot be shown has happened all the same.

pub mod fields;
pub mod json;
pub mod protobuf;
pub mod simple;
pub mod table;

use bytes::Bytes;
use ferrite_client::WatchResponse;
use ferrite_client::proto::authpb::Permission;
use ferrite_client::proto::etcdserverpb::*;

use crate::exit::Exit;
use crate::go::duration::GoDuration;

/// A format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, and for `$(...)`.
    Simple,
    /// `"Name" : value`, one a line.
    Fields,
    /// One document a line.
    Json,
    /// The message as it was on the wire.
    Protobuf,
    /// For people, drawn.
    Table,
}

impl Format {
    /// All of them, as one asks for them.
    pub const NAMES: [(&'static str, Format); 5] = [
        ("fields", Format::Fields),
        ("json", Format::Json),
        ("protobuf", Format::Protobuf),
        ("simple", Format::Simple),
        ("table", Format::Table),
    ];

    /// The format called `name`.
    pub fn parse(name: &str) -> Result<Format, Exit> {
        let found = Format::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| Exit::bad_feature("unsupported output format"))
    }

    fn name(self) -> &'static str {
        Format::NAMES.iter().find(|(_, format)| *format == self).expect("every format has a name").0
    }
}

/// How one endpoint is.
#[derive(Clone, Debug)]
pub struct Health {
    /// As the user wrote it.
    pub endpoint: String,
    /// How long it took to find out; `None` if there was not even a client.
    pub took: Option<GoDuration>,
    /// What is wrong, if anything is.
    pub error: Option<String>,
}

/// What a command has to show.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Keys that were read.
    Get {
        /// The keys.
        response: RangeResponse,
        /// In the simple format: without the keys' names.
        values_only: bool,
    },
    /// A key was written.
    Put(PutResponse),
    /// Keys were deleted.
    Delete(DeleteRangeResponse),
    /// A transaction was carried out.
    Txn(TxnResponse),
    /// Keys have changed.
    Watch(WatchResponse),
    /// A lease was granted.
    LeaseGrant(LeaseGrantResponse),
    /// A lease was renewed.
    LeaseKeepAlive(LeaseKeepAliveResponse),
    /// How much time a lease has left.
    LeaseTimeToLive {
        /// The lease.
        response: LeaseTimeToLiveResponse,
        /// Whether its keys were asked for.
        keys: bool,
    },
    /// All leases.
    Leases(LeaseLeasesResponse),
    /// The members.
    MemberList(MemberListResponse),
    /// The members have changed.
    MemberChange {
        /// The sentence that says it.
        text: String,
        /// Who answered.
        header: Option<ResponseHeader>,
        /// The member that was added.
        added: Option<Member>,
        /// All members.
        members: Vec<Member>,
        /// The message.
        message: Bytes,
    },
    /// How endpoints are.
    EndpointHealth(Vec<Health>),
    /// What members say of themselves.
    EndpointStatus(Vec<(String, StatusResponse)>),
    /// Hashes of what members hold.
    EndpointHashKv(Vec<(String, HashKvResponse)>),
    /// Alarms.
    Alarm(AlarmResponse),
    /// Leadership has moved.
    MoveLeader {
        /// The sentence that says it.
        text: String,
        /// The message.
        response: MoveLeaderResponse,
    },
    /// A step of a downgrade.
    Downgrade {
        /// The sentence that says it.
        text: String,
        /// The message.
        response: DowngradeResponse,
    },
    /// A role's permissions.
    RoleGet {
        /// The role.
        name: String,
        /// What it may.
        response: AuthRoleGetResponse,
    },
    /// All roles.
    RoleList(AuthRoleListResponse),
    /// A user's roles.
    UserGet {
        /// The user.
        name: String,
        /// Its roles.
        response: AuthUserGetResponse,
    },
    /// All users.
    UserList(AuthUserListResponse),
    /// Whether authentication is on.
    AuthStatus(AuthStatusResponse),
    /// It was done, and there is nothing more to it.
    Done {
        /// The sentence that says it.
        text: String,
        /// Who answered.
        header: Option<ResponseHeader>,
    },
}

/// Prints answers in one format.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    /// The format.
    pub format: Format,
    /// Keys, values or ids in hexadecimal, depending on the format.
    pub hex: bool,
}

impl Printer {
    /// Prints `answer`.
    pub fn print(&self, answer: &Answer) -> Result<(), Exit> {
        let text = self.render(answer).ok_or_else(|| self.unsupported())?;
        crate::exit::print(&text)
    }

    fn render(&self, answer: &Answer) -> Option<Vec<u8>> {
        match self.format {
            Format::Simple => Some(simple::render(answer, self.hex)),
            Format::Json => Some(json::render(answer, self.hex).into_bytes()),
            Format::Fields => fields::render(answer, self.hex).map(String::into_bytes),
            Format::Table => table::render(answer).map(String::into_bytes),
            Format::Protobuf => protobuf::render(answer),
        }
    }

    fn unsupported(&self) -> Exit {
        Exit::bad_feature(format!("{} not supported as output format", self.format.name()))
    }
}

/// Which permissions let one read, and which let one write.
pub(crate) fn may_read(permission: &Permission) -> bool {
    permission.perm_type() != ferrite_client::proto::authpb::permission::Type::Write
}

pub(crate) fn may_write(permission: &Permission) -> bool {
    permission.perm_type() != ferrite_client::proto::authpb::permission::Type::Read
}
