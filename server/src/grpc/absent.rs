//! What is not built yet: the request is decoded, so that a malformed one is an error, and the answer is Unimplemented.

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::{v3electionpb as election, v3lockpb as lock};
use ferrite_state::ApplyError;

use crate::rpc::{Code, Router, Status};

macro_rules! absent {
    ($router:ident: $($path:literal $request:ty,)*) => {
        $($router.unary($path, async |_: $request, _| not_built::<pb::EmptyResponse>($path));)*
    };
}

pub fn register(router: &mut Router) {
    absent! { router:
        "/etcdserverpb.Maintenance/Downgrade" pb::DowngradeRequest,
        "/etcdserverpb.Auth/AuthEnable" pb::AuthEnableRequest,
        "/etcdserverpb.Auth/AuthDisable" pb::AuthDisableRequest,
        "/etcdserverpb.Auth/UserAdd" pb::AuthUserAddRequest,
        "/etcdserverpb.Auth/UserGet" pb::AuthUserGetRequest,
        "/etcdserverpb.Auth/UserList" pb::AuthUserListRequest,
        "/etcdserverpb.Auth/UserDelete" pb::AuthUserDeleteRequest,
        "/etcdserverpb.Auth/UserChangePassword" pb::AuthUserChangePasswordRequest,
        "/etcdserverpb.Auth/UserGrantRole" pb::AuthUserGrantRoleRequest,
        "/etcdserverpb.Auth/UserRevokeRole" pb::AuthUserRevokeRoleRequest,
        "/etcdserverpb.Auth/RoleAdd" pb::AuthRoleAddRequest,
        "/etcdserverpb.Auth/RoleGet" pb::AuthRoleGetRequest,
        "/etcdserverpb.Auth/RoleList" pb::AuthRoleListRequest,
        "/etcdserverpb.Auth/RoleDelete" pb::AuthRoleDeleteRequest,
        "/etcdserverpb.Auth/RoleGrantPermission" pb::AuthRoleGrantPermissionRequest,
        "/etcdserverpb.Auth/RoleRevokePermission" pb::AuthRoleRevokePermissionRequest,
        "/v3lockpb.Lock/Lock" lock::LockRequest,
        "/v3lockpb.Lock/Unlock" lock::UnlockRequest,
        "/v3electionpb.Election/Campaign" election::CampaignRequest,
        "/v3electionpb.Election/Proclaim" election::ProclaimRequest,
        "/v3electionpb.Election/Leader" election::LeaderRequest,
        "/v3electionpb.Election/Resign" election::ResignRequest,
    }
    router.unary("/etcdserverpb.Auth/Authenticate", async |_: pb::AuthenticateRequest, _| {
        Err::<pb::AuthenticateResponse, Status>(ApplyError::AuthNotEnabled.into())
    });
    let path = "/v3electionpb.Election/Observe";
    router.server_stream(path, async move |_: election::LeaderRequest, _, _| not_built(path));
}

fn not_built<T>(path: &str) -> Result<T, Status> {
    Err(Status::new(Code::Unimplemented, format!("{path} is not built yet")))
}
