//! HTTP: connections, requests, and answers that may be late, wrong, cut short or missing.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

use crate::{
    answer::{Answer, ApiError, Format},
    fault::{Fault, FaultId, Kind, Point},
    journal::Outcome,
    request::{HttpRequest, ParsedRequest},
    shared::Shared,
    state::{self, Admitted},
};

/// More than any request of this API needs.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Ends with the sender of `stop`.
pub(crate) type Stop = watch::Receiver<()>;

/// Accepts connections until stopped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: Stop) {
    let accept = async {
        loop {
            // Accepting fails for a connection that is gone already, or while file descriptors are short.
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(until_stopped(
                        stop.clone(),
                        connection(stream, Arc::clone(&shared), stop.clone()),
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

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: Stop) {
    let service =
        service_fn(move |request| answer_http(request, Arc::clone(&shared), stop.clone()));
    // An error is a client that is gone, or a connection that was cut on purpose.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
struct ConnectionCut;

async fn answer_http(
    request: Request<Incoming>,
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
    let work = tokio::spawn(until_stopped(stop, handle(request, shared, client)));
    match work.await {
        Ok(Some(Some(response))) => response.into_http(),
        _ => Err(ConnectionCut),
    }
}

/// What goes back over the connection.
struct WireAnswer {
    status: u16,
    code: Option<String>,
    content_type: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    truncated: bool,
}

impl WireAnswer {
    fn new(answer: &Answer, format: Format) -> Self {
        Self {
            status: answer.status,
            code: answer.code.clone(),
            content_type: format.content_type().to_owned(),
            headers: answer.headers().to_vec(),
            body: answer.body(format),
            truncated: false,
        }
    }

    fn into_http(self) -> Result<Response<AnswerBody>, ConnectionCut> {
        let mut response = Response::builder()
            .status(self.status)
            .header(CONTENT_TYPE, self.content_type);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response = response.header(CONTENT_LENGTH, self.body.len());
        let mut bytes = Bytes::from(self.body);
        let body = if self.truncated {
            bytes.truncate(bytes.len() / 2);
            AnswerBody::CutAfter(Some(bytes))
        } else {
            AnswerBody::Whole(Some(bytes))
        };
        response.body(body).map_err(|_| ConnectionCut)
    }
}

/// A body, which may end in the middle.
enum AnswerBody {
    Whole(Option<Bytes>),
    CutAfter(Option<Bytes>),
    Flushing,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ConnectionCut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionCut>>> {
        let body = self.get_mut();
        match body {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::CutAfter(bytes) => {
                if let Some(bytes) = bytes.take() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                // An error at once would keep hyper from sending what it has buffered.
                *body = Self::Flushing;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Flushing => Poll::Ready(Some(Err(ConnectionCut))),
        }
    }
}

/// The way of one request. `None` closes the connection.
async fn handle(
    request: HttpRequest,
    shared: Arc<Shared>,
    mut client: oneshot::Receiver<Infallible>,
) -> Option<WireAnswer> {
    let request = ParsedRequest::parse(request);
    let request_id = request_id(rand::random());
    let (number, admitted) = shared.update(|state| {
        let now = Timestamp::now();
        (
            state.journal.begin(now, &request, &request_id),
            state::admit(state, now, &request),
        )
    });
    let way = Way {
        shared: &shared,
        format: request.format().unwrap_or(Format::Xml),
        request: &request,
        number,
        request_id: &request_id,
    };
    let answer = match admitted {
        Ok(admitted) => way.carry_out(&admitted, &mut client).await,
        Err(error) => Some(way.error(error)),
    };
    // The sender is dropped with the connection, and nothing is ever sent.
    let client_is_gone = matches!(client.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    shared.update(|state| {
        state.journal.note(number, |call| {
            call.finished = Some(Timestamp::now());
            call.status = answer.as_ref().map(|answer| answer.status);
            call.code = answer
                .as_ref()
                .and_then(|answer| answer.code.clone())
                .map(|code| match &call.password {
                    Some(password) => code.replace(password.expose(), "<password>"),
                    None => code,
                });
            call.outcome = match &answer {
                _ if client_is_gone => Outcome::ClientGone,
                Some(answer) if !answer.truncated => Outcome::Answered,
                _ => Outcome::Cut,
            };
        });
    });
    answer
}

/// What is known of a request on its way.
struct Way<'a> {
    shared: &'a Shared,
    format: Format,
    request: &'a ParsedRequest,
    number: u64,
    request_id: &'a str,
}

impl Way<'_> {
    async fn carry_out(
        &self,
        admitted: &Admitted,
        client: &mut oneshot::Receiver<Infallible>,
    ) -> Option<WireAnswer> {
        let fault = self.shared.update(|state| {
            state.faults.take(
                admitted.call.action(),
                &admitted.call.instance,
                admitted.account(),
            )
        });
        let (before, after) = match fault {
            Some((id, fault)) if fault.after_effect => (None, Some((id, fault))),
            other => (other, None),
        };
        self.hold(Point::BeforeEffect, admitted).await;
        if let Some(fault) = before
            && let Strike::Instead(answer) = self.strike(fault, None, client).await
        {
            return answer;
        }
        let performed = self.shared.update(|state| {
            state::perform(
                state,
                Timestamp::now(),
                admitted,
                self.number,
                self.request_id,
            )
        });
        let answer = match performed {
            Ok(answer) => WireAnswer::new(&answer, self.format),
            Err(error) => self.error(error),
        };
        self.hold(Point::AfterEffect, admitted).await;
        match after {
            None => Some(answer),
            Some(fault) => match self.strike(fault, Some(answer), client).await {
                Strike::Instead(answer) | Strike::Continue(answer) => answer,
            },
        }
    }

    /// Waits as long as a pause holds requests at this point.
    async fn hold(&self, point: Point, admitted: &Admitted) {
        let call = &admitted.call;
        let ticket = self.shared.update(|state| {
            state
                .faults
                .arrive(point, call.action(), &call.instance, admitted.account())
        });
        if let Some(ticket) = ticket {
            self.shared
                .wait_until(|state| state.faults.may_go(ticket).then_some(()))
                .await;
        }
    }

    /// Lets a fault happen, to the right answer if there is one already.
    async fn strike(
        &self,
        (id, fault): (FaultId, Fault),
        answer: Option<WireAnswer>,
        client: &mut oneshot::Receiver<Infallible>,
    ) -> Strike {
        tokio::time::sleep(fault.delay).await;
        match fault.kind {
            Kind::Delay => Strike::Continue(answer),
            Kind::Error(error) => Strike::Instead(Some(self.error(error))),
            Kind::EchoPassword { status } => {
                let password = self
                    .request
                    .password
                    .as_ref()
                    .map_or("", |password| password.expose());
                let message = format!("DB Operation Failed:Password '{password}' was rejected.");
                Strike::Instead(Some(self.error(ApiError::new(
                    status,
                    format!("Rejected.{password}"),
                    message,
                ))))
            }
            Kind::Close => Strike::Instead(None),
            Kind::Hang => {
                tokio::select! {
                    () = self.shared.wait_until(|state| (!state.faults.is_set(id)).then_some(())) => {}
                    _ = client => {}
                }
                Strike::Instead(None)
            }
            Kind::Garbage {
                status,
                content_type,
                body,
            } => Strike::Instead(Some(WireAnswer {
                status,
                code: None,
                content_type,
                headers: Vec::new(),
                body,
                truncated: false,
            })),
            Kind::Truncate => Strike::Instead(answer.map(|answer| WireAnswer {
                truncated: true,
                ..answer
            })),
        }
    }

    fn error(&self, error: ApiError) -> WireAnswer {
        WireAnswer::new(
            &Answer::error(error, self.request_id, self.request.host()),
            self.format,
        )
    }
}

/// How a request goes on after a fault.
enum Strike {
    /// As it would have.
    Continue(Option<WireAnswer>),
    /// It ends with this answer, or with a closed connection.
    Instead(Option<WireAnswer>),
}

/// A request id as RDS has them: a random UUID in upper case.
fn request_id(random: u128) -> String {
    // Version 4, variant 1 (RFC 9562).
    let id = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{id:032X}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_random_uuids_in_upper_case() {
        assert_eq!(
            request_id(u128::MAX),
            "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF"
        );
        assert_eq!(request_id(0), "00000000-0000-4000-8000-000000000000");
    }
}
