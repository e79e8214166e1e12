//! One request: given a number, a place among all requests and a deadline; answered, counted.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use uuid::Uuid;

use crate::activity::{Activity, Exchange};
use crate::body::{self, RequestBody};
use crate::config::Server;
use crate::metrics::Route;
use crate::reply::{Problem, Reply};
use crate::routes::{self, Routes};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;

/// What every request passes on its way to the routes.
pub(crate) struct Front {
    pub(crate) routes: Routes,
    max_requests: u64,
    request_timeout: Duration,
}

impl Front {
    pub(crate) fn new(server: &Server, routes: Routes) -> Front {
        Front {
            routes,
            max_requests: server.max_concurrent_requests.into(),
            request_timeout: server.request_timeout.get(),
        }
    }

    /// Answers a request over HTTP/2, unless its client gives it up.
    pub(crate) fn serve<'a>(
        &'a self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        activity: &'a Activity,
    ) -> impl Future<Output = ()> + Send + use<'a> {
        let mut exchange = activity.begin();
        let (mut head, body) = request.into_parts();
        async move {
            let reply = self.reply(&mut head, RequestBody(body), &mut exchange);
            let Some(mut reply) = until_reset(&mut respond, reply).await else { return };
            let headers = &mut reply.headers;
            headers.insert(DATE, exchange.answered());
            if !reply.body.is_empty() {
                headers.insert(CONTENT_LENGTH, reply.body.len().into());
            }
            if head.method == Method::HEAD {
                reply.body.clear();
            }
            let mut response = Response::new(());
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            if let Err(error) = body::send(respond, response, reply.body, exchange).await {
                tracing::debug!("an answer was not sent: {error}");
            }
        }
    }

    /// Tells a client of HTTP/1.1 why it is not served.
    pub(crate) fn refuse_version(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Response<Full<Bytes>> {
        let mut exchange = activity.begin();
        let (head, body) = request.into_parts();
        self.routes.limits.linger(body);
        let request_id = request_id(&head.headers, &exchange);
        let mut reply = version_refused(head.version).into_reply(request_id.to_str().unwrap_or_default());
        reply.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        self.finish(routes::route(head.uri.path()), &mut reply, request_id, &mut exchange);
        exchange.answered();
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }

    async fn reply(&self, head: &mut Parts, mut body: RequestBody, exchange: &mut Exchange<'_>) -> Reply {
        let route = routes::route(head.uri.path());
        let request_id = request_id(&head.headers, exchange);
        let result = if exchange.others() < self.max_requests {
            self.routes.answer(route, head, &mut body, exchange.began() + self.request_timeout).await
        } else {
            exchange.give_way();
            let message = "the gateway answers as many requests as it may; try again later";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message).worth_retrying())
        };
        self.routes.limits.linger(body);

        let id = request_id.to_str().unwrap_or_default();
        let mut reply = result.unwrap_or_else(|problem| {
            if problem.status.is_server_error() {
                tracing::warn!("{} {} failed: {} ({id})", head.method, head.uri.path(), problem.message);
            }
            problem.into_reply(id)
        });
        self.finish(route, &mut reply, request_id, exchange);
        reply
    }

    fn finish(&self, route: Route, reply: &mut Reply, request_id: HeaderValue, exchange: &mut Exchange<'_>) {
        reply.headers.insert(REQUEST_ID, request_id);
        let now = Instant::now();
        self.routes.metrics.answered(route, reply.status, now.duration_since(exchange.began()), now);
    }
}

/// What the work comes to; `None`: the client no longer waits for it.
async fn until_reset<T>(respond: &mut SendResponse<Bytes>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    })
    .await
}

/// The client's own number if it is fit to be logged and handed on, else a new one. It is marked as sensitive, which
/// keeps it out of the compression table of HTTP/2: nobody needs it twice there, and it would push out what is.
fn request_id(headers: &HeaderMap, exchange: &Exchange<'_>) -> HeaderValue {
    let mut id = headers
        .get(REQUEST_ID)
        .filter(|id| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        })
        .cloned()
        .unwrap_or_else(|| {
            let mut buffer = Uuid::encode_buffer();
            HeaderValue::from_str(exchange.number().hyphenated().encode_lower(&mut buffer))
                .unwrap_or(HeaderValue::from_static("none"))
        });
    id.set_sensitive(true);
    id
}

fn version_refused(version: Version) -> Problem {
    let message = format!(
        "this gateway speaks HTTP/2 only, and the request came as {version:?}; with curl use --http2"
    );
    Problem::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP_VERSION_NOT_SUPPORTED", message)
}
