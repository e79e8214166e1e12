//! One request: given a number, a place among all requests and a deadline; answered, counted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;
use uuid::Uuid;

use crate::activity::{Activity, Exchange};
use crate::body::ReplyBody;
use crate::config::Server;
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

    pub(crate) fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        activity: &Arc<Activity>,
    ) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> + use<> {
        let exchange = activity.begin();
        let (head, body) = request.into_parts();
        async move { Ok(self.exchange(head, body, exchange).await) }
    }

    async fn exchange(&self, head: Parts, mut body: Incoming, mut exchange: Exchange) -> Response<ReplyBody> {
        let route = routes::route(head.uri.path());
        let result = if head.version != Version::HTTP_2 {
            Err(version_refused(head.version))
        } else if exchange.others() < self.max_requests {
            self.routes.answer(route, &head, &mut body, exchange.began() + self.request_timeout).await
        } else {
            exchange.give_way();
            let message = "the gateway answers as many requests as it may; try again later";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message).worth_retrying())
        };
        self.routes.limits.linger(body);

        let request_id = request_id(&head.headers, &exchange);
        let id = request_id.to_str().unwrap_or_default();
        let mut reply = result.unwrap_or_else(|problem| {
            if problem.status.is_server_error() && head.version == Version::HTTP_2 {
                tracing::warn!("{} {} failed: {} ({id})", head.method, head.uri.path(), problem.message);
            }
            problem.into_reply(id)
        });
        if head.version != Version::HTTP_2 {
            reply.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply.headers.insert(REQUEST_ID, request_id);
        let now = Instant::now();
        self.routes.metrics.answered(route, reply.status, now.duration_since(exchange.began()), now);
        exchange.answered();
        response(&head.method, reply, |body| ReplyBody::new(body, exchange))
    }
}

fn response(
    method: &Method,
    mut reply: Reply,
    body: impl FnOnce(bytes::Bytes) -> ReplyBody,
) -> Response<ReplyBody> {
    if method == Method::HEAD {
        reply.headers.insert(CONTENT_LENGTH, reply.body.len().into());
        reply.body.clear();
    }
    let mut response = Response::new(body(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// The client's own number if it is fit to be logged and handed on, else a new one. It is marked as sensitive, which
/// keeps it out of the compression table of HTTP/2: nobody needs it twice there, and it would push out what is.
fn request_id(headers: &HeaderMap, exchange: &Exchange) -> HeaderValue {
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
