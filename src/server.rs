//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;

/// The media type of `OpenMetrics`' text format
/// (<https://prometheus.io/docs/specs/om/open_metrics_spec/#overall-structure>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: Arc<Metrics>,
}

/// Serves until `stop`. Open connections do not hold the process up.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shared { health, metrics });
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served,
        () = stop.cancelled() => Ok(()),
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    match shared.health.ready() {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(obstacles) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{obstacles}\n")).into_response()
        }
    }
}

async fn render(State(shared): State<Shared>) -> Response {
    match shared.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
