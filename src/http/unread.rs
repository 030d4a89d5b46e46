//! What is left of a body when the request was answered.
//!
//! A request that is refused for its head (no key, no such address, too many of them) is answered before anybody has
//! read its body. hyper closes such a connection after the answer, in which nothing says so (RFC 9112, 9.3): a client
//! that keeps connections meets an error with its next request, and must not repeat it if it is a write. So the rest
//! is read first; and where it is long, or slow, the answer says that this was the last one.

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, Response, header},
};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

const REST_BYTES_MAX: usize = 256 * 1024;
const REST_DEADLINE: Duration = Duration::from_secs(1);

/// A body that comes back when whoever was given it is done with it.
struct Lent {
    body: Option<Incoming>,
    back: Arc<Mutex<Option<Incoming>>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

/// Has `answer` answer, and sees to what it has left of the body.
pub(super) async fn read<A: Future<Output = Result<Response<Body>, E>>, E>(
    request: Request<Incoming>,
    answer: impl FnOnce(Request<Body>) -> A,
) -> Result<Response<Body>, E> {
    if request.body().is_end_stream() {
        return answer(request.map(Body::new)).await;
    }
    let back = Arc::new(Mutex::new(None));
    // Who waits for a `100 Continue` has not sent anything, and is told more cheaply that it need not.
    let has_sent = !request.headers().contains_key(header::EXPECT);
    let mut response = answer(request.map(|body| Body::new(Lent { body: Some(body), back: Arc::clone(&back) }))).await?;
    let rest = back.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(rest) = rest
        && !rest.is_end_stream()
        && !(has_sent && is_read(rest).await)
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Reads what is left, within limits. Was that all?
async fn is_read(mut rest: Incoming) -> bool {
    if rest.size_hint().lower() > REST_BYTES_MAX as u64 {
        return false;
    }
    let read = async {
        let mut len = 0;
        while len <= REST_BYTES_MAX {
            match rest.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => len += frame.data_ref().map_or(0, Bytes::len),
            }
        }
        false
    };
    tokio::time::timeout(REST_DEADLINE, read).await.unwrap_or(false)
}
