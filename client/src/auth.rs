//! Users, roles and permissions: plain calls.

use ferrite_proto::authpb::{Permission, UserAddOptions};
use ferrite_proto::etcdserverpb::*;

use crate::client::Client;
use crate::error::Error;
use crate::retry::Repeat;
use crate::stubs::auth_client::AuthClient;

impl Client {
    /// Turns authentication on.
    pub async fn auth_enable(&self) -> Result<AuthEnableResponse, Error> {
        let request = AuthEnableRequest {};
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).auth_enable(r).await
            })
            .await
    }

    /// Turns authentication off.
    pub async fn auth_disable(&self) -> Result<AuthDisableResponse, Error> {
        let request = AuthDisableRequest {};
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).auth_disable(r).await
            })
            .await
    }

    /// Whether authentication is on.
    pub async fn auth_status(&self) -> Result<AuthStatusResponse, Error> {
        let request = AuthStatusRequest {};
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).auth_status(r).await
            })
            .await
    }

    /// Adds a user. One without a password can only be known by its certificate.
    pub async fn user_add(&self, name: &str, password: &str, no_password: bool) -> Result<AuthUserAddResponse, Error> {
        let request = AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            options: Some(UserAddOptions { no_password }),
            ..Default::default()
        };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).user_add(r).await
            })
            .await
    }

    /// The roles of a user.
    pub async fn user_get(&self, name: &str) -> Result<AuthUserGetResponse, Error> {
        let request = AuthUserGetRequest { name: name.into() };
        self.wire
            .unary(self.scope, Repeat::Freely, request, move |p, r| async move { AuthClient::new(p).user_get(r).await })
            .await
    }

    /// All users.
    pub async fn user_list(&self) -> Result<AuthUserListResponse, Error> {
        let request = AuthUserListRequest {};
        self.wire
            .unary(
                self.scope,
                Repeat::Freely,
                request,
                move |p, r| async move { AuthClient::new(p).user_list(r).await },
            )
            .await
    }

    /// Removes a user.
    pub async fn user_delete(&self, name: &str) -> Result<AuthUserDeleteResponse, Error> {
        let request = AuthUserDeleteRequest { name: name.into() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).user_delete(r).await
            })
            .await
    }

    /// Changes a user's password.
    pub async fn user_change_password(
        &self,
        name: &str,
        password: &str,
    ) -> Result<AuthUserChangePasswordResponse, Error> {
        let request =
            AuthUserChangePasswordRequest { name: name.into(), password: password.into(), ..Default::default() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, async |p, r| {
                AuthClient::new(p).user_change_password(r).await
            })
            .await
    }

    /// Gives a user a role.
    pub async fn user_grant_role(&self, user: &str, role: &str) -> Result<AuthUserGrantRoleResponse, Error> {
        let request = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, async |p, r| {
                AuthClient::new(p).user_grant_role(r).await
            })
            .await
    }

    /// Takes a role from a user.
    pub async fn user_revoke_role(&self, user: &str, role: &str) -> Result<AuthUserRevokeRoleResponse, Error> {
        let request = AuthUserRevokeRoleRequest { name: user.into(), role: role.into() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, async |p, r| {
                AuthClient::new(p).user_revoke_role(r).await
            })
            .await
    }

    /// Adds a role.
    pub async fn role_add(&self, name: &str) -> Result<AuthRoleAddResponse, Error> {
        let request = AuthRoleAddRequest { name: name.into() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).role_add(r).await
            })
            .await
    }

    /// The permissions of a role.
    pub async fn role_get(&self, role: &str) -> Result<AuthRoleGetResponse, Error> {
        let request = AuthRoleGetRequest { role: role.into() };
        self.wire
            .unary(self.scope, Repeat::Freely, request, move |p, r| async move { AuthClient::new(p).role_get(r).await })
            .await
    }

    /// All roles.
    pub async fn role_list(&self) -> Result<AuthRoleListResponse, Error> {
        let request = AuthRoleListRequest {};
        self.wire
            .unary(
                self.scope,
                Repeat::Freely,
                request,
                move |p, r| async move { AuthClient::new(p).role_list(r).await },
            )
            .await
    }

    /// Removes a role.
    pub async fn role_delete(&self, role: &str) -> Result<AuthRoleDeleteResponse, Error> {
        let request = AuthRoleDeleteRequest { role: role.into() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, move |p, r| async move {
                AuthClient::new(p).role_delete(r).await
            })
            .await
    }

    /// Gives a role a permission.
    pub async fn role_grant_permission(
        &self,
        role: &str,
        permission: Permission,
    ) -> Result<AuthRoleGrantPermissionResponse, Error> {
        let request = AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(permission) };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, async |p, r| {
                AuthClient::new(p).role_grant_permission(r).await
            })
            .await
    }

    /// Takes the permission on exactly this range from a role.
    pub async fn role_revoke_permission(
        &self,
        role: &str,
        key: impl Into<bytes::Bytes>,
        range_end: impl Into<bytes::Bytes>,
    ) -> Result<AuthRoleRevokePermissionResponse, Error> {
        let request =
            AuthRoleRevokePermissionRequest { role: role.into(), key: key.into(), range_end: range_end.into() };
        self.wire
            .unary(self.scope, Repeat::IfNotProcessed, request, async |p, r| {
                AuthClient::new(p).role_revoke_permission(r).await
            })
            .await
    }
}
