//! HTTP: from the client to the API server and back.

use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::request::ApiRequest;
use super::state::{Course, State};

/// Closes the connection without an answer, or in the middle of one.
type ConnectionClosed = anyhow::Error;

type AnswerBody = UnsyncBoxBody<Bytes, ConnectionClosed>;

/// What every connection needs.
pub(super) struct Proxy {
    pub(super) upstream: reqwest::Client,
    /// The API server's URL, without a slash at its end.
    pub(super) server: String,
    pub(super) state: watch::Sender<State>,
}

impl Proxy {
    /// Changes the state, and wakes whoever waits for a change.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut result = None;
        self.state.send_modify(|state| result = Some(change(state)));
        #[expect(clippy::expect_used, reason = "`send_modify` calls its argument")]
        result.expect("the change was made")
    }
}

/// Accepts connections for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, proxy: Arc<Proxy>) {
    loop {
        // Accepting fails for a connection that is gone already, or while file descriptors are short.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        match proxy.update(State::connect) {
            Some((id, closed)) => {
                tokio::spawn(connection(stream, id, closed, Arc::clone(&proxy)));
            }
            None => break_off(&stream),
        }
    }
}

async fn connection(stream: TcpStream, id: u64, closed: oneshot::Receiver<()>, proxy: Arc<Proxy>) {
    // An event is small, and must not wait for the client to acknowledge the one before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, id, Arc::clone(&proxy)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let proper_end = tokio::select! {
        // Nothing is passed on any more once a connection is to be closed.
        biased;
        _ = closed => false,
        end = &mut connection => end.is_ok(),
    };
    if !proper_end {
        break_off(connection.into_parts().io.inner());
    }
    proxy.update(|state| state.disconnected(id));
}

/// Has the connection reset when it is dropped, as by a broken network. Clients of Kubernetes take a watch whose
/// connection is merely closed for one that was over.
fn break_off(stream: &TcpStream) {
    // It fails for a connection that is gone already.
    let _ = stream.set_zero_linger();
}

async fn answer(
    request: Request<Incoming>,
    connection: u64,
    proxy: Arc<Proxy>,
) -> Result<Response<AnswerBody>, ConnectionClosed> {
    let (head, body) = request.into_parts();
    let asked = ApiRequest::new(&head.method, &head.uri);
    let exchange = OpenExchange::begin(proxy, asked, connection);
    let request = Request::from_parts(head, body.collect().await?.to_bytes());
    exchange.wait_while_held().await;

    let proxy = &exchange.proxy;
    let response = match proxy.update(|state| state.course(exchange.index)) {
        Course::Refuse => anyhow::bail!("refused by a script"),
        Course::Answer(answer) => {
            proxy.update(|state| state.answered(exchange.index, answer.status));
            Response::builder()
                .status(answer.status)
                .header(CONTENT_TYPE, "application/json")
                .body(boxed(Full::new(answer.body)))?
        }
        Course::Forward { edits, lose_answer } => {
            let mut response = forward(proxy, request, !edits.is_empty()).await?;
            if !edits.is_empty() {
                let (mut head, body) = response.into_parts();
                let mut text = body.collect().await?.to_bytes().to_vec();
                for edit in edits {
                    edit(&mut text);
                }
                head.headers.remove(CONTENT_LENGTH);
                response = Response::from_parts(head, boxed(Full::new(text.into())));
            }
            let status = response.status().as_u16();
            proxy.update(|state| state.answered(exchange.index, status));
            anyhow::ensure!(!lose_answer, "lost by a script");
            response
        }
    };
    // The exchange lasts as long as the body.
    Ok(response.map(|body| {
        boxed(body.map_frame(move |frame| {
            let _ = &exchange;
            frame
        }))
    }))
}

/// Passes a request on, and its answer back as it comes.
async fn forward(
    proxy: &Proxy,
    mut request: Request<Bytes>,
    readable: bool,
) -> Result<Response<AnswerBody>, ConnectionClosed> {
    let target = request.uri().path_and_query();
    let target = target.context("a request without a path")?;
    *request.uri_mut() = format!("{}{target}", proxy.server).parse()?;
    let headers = request.headers_mut();
    // These are of the connection, and the other one has its own.
    for header in [CONNECTION, HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(header);
    }
    if readable {
        headers.remove(ACCEPT_ENCODING);
    }
    let response = proxy.upstream.execute(request.try_into()?).await?;
    let mut response = Response::<reqwest::Body>::from(response).map(boxed);
    for header in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(header);
    }
    Ok(response)
}

fn boxed<B>(body: B) -> AnswerBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<ConnectionClosed>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An exchange that ends when this is dropped.
struct OpenExchange {
    proxy: Arc<Proxy>,
    index: usize,
}

impl OpenExchange {
    fn begin(proxy: Arc<Proxy>, request: ApiRequest, connection: u64) -> Self {
        let index = proxy.update(|state| state.begin(request, connection));
        Self { proxy, index }
    }

    async fn wait_while_held(&self) {
        // Several may hold it.
        while let Some(hold) = self.proxy.update(|state| state.hold(self.index)) {
            let mut state = self.proxy.state.subscribe();
            // It cannot fail: the sender lives as long as `self`.
            let _ = state.wait_for(|state| !state.is_set(hold)).await;
        }
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.proxy.update(|state| state.ended(self.index));
    }
}
