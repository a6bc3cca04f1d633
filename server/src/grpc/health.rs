//! The gRPC health service. It knows one service, the one without a name, which serves as long as the process does.

use std::future::pending;
use std::rc::Rc;

use ferrite_proto::healthpb::health_check_response::ServingStatus;
use ferrite_proto::healthpb::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

use super::Services;
use super::error::RequestError;
use crate::rpc::{Router, Status};

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let s = services.clone();
    router.unary("/grpc.health.v1.Health/Check", async move |request: HealthCheckRequest, caller| {
        s.admit(&caller)?;
        status(&request).ok_or(Status::from(RequestError::UnknownHealthService))
    });
    let s = services.clone();
    router.unary("/grpc.health.v1.Health/List", async move |_: HealthListRequest, caller| {
        s.admit(&caller)?;
        Ok(HealthListResponse { statuses: [(String::new(), answer(ServingStatus::Serving))].into() })
    });
    let s = services.clone();
    router.server_stream(
        "/grpc.health.v1.Health/Watch",
        async move |request: HealthCheckRequest, mut replies, caller| {
            s.admit(&caller)?;
            replies.send(status(&request).unwrap_or(answer(ServingStatus::ServiceUnknown))).await?;
            // It never changes. The call ends when the client goes.
            pending().await
        },
    );
}

fn status(request: &HealthCheckRequest) -> Option<HealthCheckResponse> {
    request.service.is_empty().then_some(answer(ServingStatus::Serving))
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}
