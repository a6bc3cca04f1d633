//! The Auth service: so far it says that authentication is off. The rest is in `absent`.

use std::rc::Rc;

use ferrite_proto::etcdserverpb as pb;

use super::Services;
use crate::rpc::Router;

/// The revision of users and roles of which there never were any.
const FIRST_AUTH_REVISION: u64 = 1;

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let s = services.clone();
    router.unary("/etcdserverpb.Auth/AuthStatus", async move |_: pb::AuthStatusRequest, caller| {
        s.admit(&caller)?;
        Ok(pb::AuthStatusResponse {
            header: Some(s.handle.header(0)),
            enabled: false,
            auth_revision: FIRST_AUTH_REVISION,
        })
    });
}
