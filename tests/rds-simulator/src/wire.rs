//! Answers on their way back to the client, some of which break off.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Response,
    body::{Body, Bytes, Frame},
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

use crate::answer::{Answer, Format};

/// Makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub(crate) struct ConnectionCut;

/// What goes back over the connection.
pub(crate) struct WireAnswer {
    pub(crate) status: u16,
    /// The error code, if it is an error.
    pub(crate) code: Option<String>,
    pub(crate) content_type: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// Whether the connection breaks in the middle of the body.
    pub(crate) truncated: bool,
}

impl WireAnswer {
    pub(crate) fn new(answer: &Answer, format: Format) -> Self {
        Self {
            status: answer.status,
            code: answer.code.clone(),
            content_type: answer.content_type(format).to_owned(),
            headers: answer.headers().to_vec(),
            body: answer.body(format),
            truncated: false,
        }
    }

    pub(crate) fn into_http(self) -> Result<Response<AnswerBody>, ConnectionCut> {
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
pub(crate) enum AnswerBody {
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
