//! `/livez`, `/readyz` and `/metrics`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use socket2::{Domain, Protocol, Socket, Type};
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

/// How many connections may wait until they are accepted; as many as tokio's own listener has.
const BACKLOG: i32 = 1024;

/// Opens the port. `[::]` stands for all addresses of both families: the port is opened for IPv4 as well, whatever the host's
/// default for that is (`IPV6_V6ONLY`), and for IPv4 alone where the host has no IPv6.
///
/// # Errors
/// When the address is taken, or not this host's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_with(address, open)
}

fn listen_with<T>(
    address: SocketAddr,
    open: impl Fn(SocketAddr) -> Result<T, OpenError>,
) -> io::Result<T> {
    match open(address) {
        Err(OpenError::NoFamily(_)) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            open(ipv4).map_err(OpenError::into_inner)
        }
        opened => opened.map_err(OpenError::into_inner),
    }
}

/// Why a port is not open.
enum OpenError {
    /// The host has no addresses of this family.
    NoFamily(io::Error),
    /// Anything else.
    Other(io::Error),
}

impl OpenError {
    fn into_inner(self) -> io::Error {
        match self {
            Self::NoFamily(error) | Self::Other(error) => error,
        }
    }
}

fn open(address: SocketAddr) -> Result<TcpListener, OpenError> {
    // Linux refuses the socket where IPv6 is turned off at boot (EAFNOSUPPORT), and the address where it is turned off later.
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .map_err(OpenError::NoFamily)?;
    let bound = || {
        if address.is_ipv6() {
            // For another address than `[::]` this changes nothing.
            socket.set_only_v6(false)?;
        }
        // As tokio's own listener: connections of a process that has just ended do not keep the port.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrNotAvailable => OpenError::NoFamily(error),
        _ => OpenError::Other(error),
    })?;
    let listener = || {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    listener().map_err(OpenError::Other)
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// A host without IPv6, on which IPv4's port may be taken.
    #[rstest]
    #[case::all_addresses("[::]:8080", false, Ok("0.0.0.0:8080"))]
    #[case::a_port_that_is_taken("[::]:8080", true, Err(io::ErrorKind::AddrInUse))]
    #[case::of_ipv4("127.0.0.1:8080", false, Ok("127.0.0.1:8080"))]
    #[case::one_address("[::1]:8080", false, Err(io::ErrorKind::Unsupported))]
    fn without_ipv6(
        #[case] address: SocketAddr,
        #[case] is_taken: bool,
        #[case] expected: Result<&str, io::ErrorKind>,
    ) {
        let open = |address: SocketAddr| match address {
            SocketAddr::V6(_) => Err(OpenError::NoFamily(io::ErrorKind::Unsupported.into())),
            SocketAddr::V4(_) if is_taken => Err(OpenError::Other(io::ErrorKind::AddrInUse.into())),
            SocketAddr::V4(address) => Ok(address.to_string()),
        };
        let opened = listen_with(address, open).map_err(|error| error.kind());
        assert_eq!(opened.as_deref(), expected.as_ref().map(|it| *it));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_not_opened_for_ipv4_alone() -> io::Result<()> {
        let first = listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?;
        let second = listen(first.local_addr()?).map_err(|error| error.kind());
        assert!(matches!(second, Err(io::ErrorKind::AddrInUse)));
        Ok(())
    }
}
