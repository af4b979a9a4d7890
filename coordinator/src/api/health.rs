//! Health, readiness and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use crate::driver::Coordinator;

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn ready(State(coordinator): State<Arc<Coordinator>>) -> Response {
    let reason = coordinator.is_ready().err();
    let code = if reason.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(Readiness { ready: reason.is_none(), reason })).into_response()
}

pub(super) async fn live() -> StatusCode {
    StatusCode::OK
}

pub(super) async fn metrics(State(metrics): State<PrometheusHandle>) -> Response {
    let media = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], metrics.render()).into_response()
}
