//! The gRPC health service. It knows one service, the one without a name, which serves as long as the process does; but
//! for defragmentations, if the feature is on that hides them.

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
        status(&s, &request).ok_or(Status::from(RequestError::UnknownHealthService))
    });
    let s = services.clone();
    router.unary("/grpc.health.v1.Health/List", async move |_: HealthListRequest, caller| {
        s.admit(&caller)?;
        Ok(HealthListResponse { statuses: [(String::new(), answer(serving(&s)))].into() })
    });
    let s = services.clone();
    router.server_stream(
        "/grpc.health.v1.Health/Watch",
        async move |request: HealthCheckRequest, mut replies, caller| {
            s.admit(&caller)?;
            s.serve_stream(&caller, async {
                let mut pauses = s.handle.pauses();
                let mut told = None;
                loop {
                    pauses.mark_unchanged();
                    let now = status(&s, &request).unwrap_or(answer(ServingStatus::ServiceUnknown));
                    if told != Some(now) {
                        replies.send(now).await?;
                        told = Some(now);
                    }
                    // The call ends when the client goes.
                    if pauses.changed().await.is_err() {
                        return Ok(());
                    }
                }
            })
            .await
        },
    );
}

fn status(services: &Services, request: &HealthCheckRequest) -> Option<HealthCheckResponse> {
    request.service.is_empty().then(|| answer(serving(services)))
}

fn serving(services: &Services) -> ServingStatus {
    if *services.handle.pauses().borrow() == 0 { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}
