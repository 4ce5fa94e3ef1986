//! HTTP: connections and requests.

use std::{future::Future, sync::Arc};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

use crate::{
    endpoint::Endpoint,
    handling,
    request::HttpRequest,
    shared::Shared,
    wire::{AnswerBody, ConnectionCut},
};

/// More than any request of this API needs.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Ends with the sender of `stop`.
pub(crate) type Stop = watch::Receiver<()>;

/// Accepts connections until stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    stop: Stop,
) {
    let endpoint = Arc::new(endpoint);
    let accept = async {
        loop {
            // Accepting fails for a connection that is gone already, or while file descriptors are short.
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(until_stopped(
                        stop.clone(),
                        connection(
                            stream,
                            Arc::clone(&endpoint),
                            Arc::clone(&shared),
                            stop.clone(),
                        ),
                    ));
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    until_stopped(stop.clone(), accept).await;
}

async fn until_stopped<T>(mut stop: Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        // Nothing is ever sent: this is the end of the sender.
        _ = stop.changed() => None,
    }
}

async fn connection(stream: TcpStream, endpoint: Arc<Endpoint>, shared: Arc<Shared>, stop: Stop) {
    let service = service_fn(move |request| {
        answer_http(
            request,
            Arc::clone(&endpoint),
            Arc::clone(&shared),
            stop.clone(),
        )
    });
    // An error is a client that is gone, or a connection that was cut on purpose.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer_http(
    request: Request<Incoming>,
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    stop: Stop,
) -> Result<Response<AnswerBody>, ConnectionCut> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(|_| ConnectionCut)?
        .to_bytes();
    let request = HttpRequest {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    // In a task of its own: once a request has reached the cloud, it is carried out even if its client goes away.
    // Hyper drops this function then, and `_present` with it.
    let (_present, client) = oneshot::channel();
    let work = tokio::spawn(until_stopped(stop, async move {
        handling::handle(request, &endpoint, &shared, client).await
    }));
    match work.await {
        Ok(Some(Some(response))) => response.into_http(),
        _ => Err(ConnectionCut),
    }
}
