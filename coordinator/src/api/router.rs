//! The routes.

use std::sync::Arc;

use accordant_protocol::limits::REQUEST_BYTES_MAX;
use accordant_protocol::wire::problem::ProblemCode;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;

use super::problem::Refusal;
use super::{admin, health, inquiry, list, read, stuck, submit, told};
use crate::driver::Coordinator;

/// What the routes share.
#[derive(Clone)]
pub(super) struct Shared {
    coordinator: Arc<Coordinator>,
    metrics: PrometheusHandle,
}

impl FromRef<Shared> for Arc<Coordinator> {
    fn from_ref(shared: &Shared) -> Self {
        Self::clone(&shared.coordinator)
    }
}

impl FromRef<Shared> for PrometheusHandle {
    fn from_ref(shared: &Shared) -> Self {
        shared.metrics.clone()
    }
}

/// The whole API of a coordinator.
pub fn router(coordinator: Arc<Coordinator>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/v1/transactions", get(list::list).post(submit::submit))
        .route("/v1/transactions/by-key/{key}", get(read::by_key))
        .route("/v1/transactions/{id}", get(read::by_id))
        .route("/v1/transactions/{id}/outcome", get(inquiry::outcome))
        .route("/v1/transactions/{id}/commit", post(told::ended))
        .route("/v1/transactions/{id}/abort", post(told::ended))
        .route(
            "/v1/transactions/{id}/actions/{index}",
            post(told::called_back),
        )
        .route("/v1/admin/stuck", get(stuck::stuck))
        .route(
            "/v1/admin/transactions/{id}/actions/{index}",
            post(told::resolved),
        )
        .route("/v1/admin/in-doubt", get(admin::in_doubt))
        .route("/v1/admin/participants", get(admin::participants))
        .route("/v1/admin/partitions", get(admin::partitions))
        .route("/metrics", get(health::metrics))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(|| async {
            Refusal::new(ProblemCode::NoRoute, "see docs/protocol.md for the routes")
        })
        .method_not_allowed_fallback(|| async {
            Refusal::new(ProblemCode::Method, "see the Allow header")
        })
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(CatchPanicLayer::custom(
            |_panic: Box<dyn std::any::Any + Send>| {
                let detail = "a fault of ours; what became of the request is not known";
                axum::response::IntoResponse::into_response(Refusal::new(
                    ProblemCode::Internal,
                    detail,
                ))
            },
        ))
        .with_state(Shared { coordinator, metrics })
}
