//! From a path and a method to what answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use plimsoll_core::error::Rejected;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::backend::{Backend, BackendError, Call, code};
use crate::body::{Limits, RequestBody};
use crate::config::{Config, MetricsPrefix};
use crate::metrics::{Metrics, Route};
use crate::projects::{LIMIT_REACHED, NOT_FOUND, VALIDATION_FAILED};
use crate::reply::{Problem, Reply};
use crate::services::Services;
use crate::{exposition, health};

/// An id in a path, after its escapes are resolved, has at most so many bytes.
const MAX_ID: usize = 128;

/// Room for a request to a service and for its answer, which comes in the same vector; it grows if they are larger.
const CONTENT: usize = 256;

/// All that a route may need.
pub(crate) struct Routes {
    pub(crate) backend: Backend,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) metrics_prefix: MetricsPrefix,
    pub(crate) limits: Limits,
    pub(crate) services: Services,
    project_timeout: Duration,
}

impl Routes {
    pub(crate) fn new(config: &Config, backend: Backend) -> Routes {
        Routes {
            backend,
            metrics: Arc::default(),
            metrics_prefix: config.metrics_prefix.clone(),
            limits: Limits::new(&config.server),
            services: Services::new(&config.project),
            project_timeout: config.project.request_timeout.get(),
        }
    }

    /// Answers one request. What is large and asked for seldom waits in a box of its own, because every request is
    /// moved with the room for all of them. `deadline` is when its client shall have an answer of whatever kind.
    pub(crate) async fn answer(
        &self,
        route: Route,
        head: &mut Parts,
        body: &mut RequestBody,
        deadline: Instant,
    ) -> Result<Reply, Problem> {
        let method = head.method.clone();
        match (route, &method) {
            (Route::Projects, &Method::GET | &Method::HEAD) => self.list_projects(head, deadline).await,
            (Route::Projects, &Method::POST) => self.create_project(head, body, deadline).await,
            (Route::Projects, _) => Err(not_allowed(head, "GET, HEAD, POST")),
            (Route::Project, &Method::PUT) => self.update_project(head, body, deadline).await,
            (Route::Project, _) => Err(not_allowed(head, "PUT")),
            (Route::Health, &Method::GET | &Method::HEAD) => Ok(health::reply(self).await),
            (Route::Metrics, &Method::GET | &Method::HEAD) => {
                Ok(Box::pin(exposition::reply(self, &head.headers)).await)
            }
            (Route::Services, &Method::GET | &Method::HEAD) => Ok(self.services.list(self).await),
            (Route::ServicesHealth, &Method::GET | &Method::HEAD) => Ok(self.services.health(self).await),
            (Route::ServicesStats, &Method::GET | &Method::HEAD) => {
                Ok(Box::pin(self.services.stats(self)).await)
            }
            (Route::ServicesExplain, &Method::GET | &Method::HEAD) => Ok(self.services.explain(self).await),
            (
                Route::Health
                | Route::Metrics
                | Route::Services
                | Route::ServicesHealth
                | Route::ServicesStats
                | Route::ServicesExplain,
                _,
            ) => Err(not_allowed(head, "GET, HEAD")),
            (Route::Unknown, _) => {
                let message = format!("there is nothing at {}", head.uri.path());
                Err(Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", message))
            }
        }
    }

    async fn list_projects(&self, head: &mut Parts, deadline: Instant) -> Result<Reply, Problem> {
        #[derive(Default, Serialize)]
        struct Params {
            #[serde(skip_serializing_if = "Option::is_none")]
            limit: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            after: Option<String>,
        }
        let mut params = Params::default();
        for (key, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
            match &*key {
                "limit" => {
                    let limit =
                        value.parse().map_err(|_| bad_request("INVALID_QUERY", "limit must be a number"))?;
                    params.limit = Some(limit);
                }
                "after" => params.after = Some(value.into_owned()),
                _ => {}
            }
        }
        let content = self.call(head, "listProjects", &params, true, deadline).await?;
        Ok(Reply::json(StatusCode::OK, content))
    }

    async fn create_project(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        deadline: Instant,
    ) -> Result<Reply, Problem> {
        #[derive(Serialize)]
        struct Params<'a> {
            project: &'a RawValue,
        }
        expect_json(head)?;
        let body = self.limits.read(head, body, deadline).await?;
        let project = json(&body.bytes)?;
        let content = self.call(head, "createProject", &Params { project }, false, deadline).await?;
        Ok(Reply::json(StatusCode::CREATED, content))
    }

    async fn update_project(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        deadline: Instant,
    ) -> Result<Reply, Problem> {
        #[derive(Serialize)]
        struct Params<'a> {
            id: &'a str,
            project: &'a RawValue,
        }
        expect_json(head)?;
        let id = project_id(head.uri.path())
            .ok_or_else(|| bad_request("INVALID_ID", "the id in the path is too long, or is not UTF-8"))?;
        let body = self.limits.read(head, body, deadline).await?;
        let project = json(&body.bytes)?;
        let content = self.call(head, "updateProject", &Params { id: &id, project }, true, deadline).await?;
        Ok(Reply::json(StatusCode::OK, content))
    }

    /// A request to the project service, whose answer must be JSON. While it waits, no header is kept.
    async fn call(
        &self,
        head: &mut Parts,
        method: &str,
        params: &impl Serialize,
        idempotent: bool,
        deadline: Instant,
    ) -> Result<Bytes, Problem> {
        head.headers = HeaderMap::new();
        let mut bytes = Vec::with_capacity(CONTENT);
        serde_json::to_writer(&mut bytes, params).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string())
        })?;
        let timeout = self.project_timeout.min(deadline.saturating_duration_since(Instant::now()));
        let content =
            self.backend.call(Call { method, params: bytes, idempotent, timeout }).await.map_err(problem)?;
        match serde_json::from_slice::<&RawValue>(&content) {
            Ok(_) => Ok(content),
            Err(_) => Err(problem(BackendError::NotJson)),
        }
    }
}

/// Which route a path names.
pub(crate) fn route(path: &str) -> Route {
    match path {
        "/api/projects" => Route::Projects,
        "/health" => Route::Health,
        "/metrics" => Route::Metrics,
        "/services" => Route::Services,
        "/services/health" => Route::ServicesHealth,
        "/services/stats" => Route::ServicesStats,
        "/services/explain" => Route::ServicesExplain,
        _ if raw_project_id(path).is_some() => Route::Project,
        _ => Route::Unknown,
    }
}

fn raw_project_id(path: &str) -> Option<&str> {
    path.strip_prefix("/api/projects/").filter(|id| !id.is_empty() && !id.contains('/'))
}

fn project_id(path: &str) -> Option<String> {
    let id = percent_decode_str(raw_project_id(path)?).decode_utf8().ok()?;
    (id.len() <= MAX_ID).then(|| id.into_owned())
}

/// What a failure behind the gateway is to the client in front of it.
fn problem(error: BackendError) -> Problem {
    let message = error.to_string();
    let later = |code| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message.clone()).worth_retrying();
    match error {
        BackendError::Remote { code, message } => remote(code, message),
        BackendError::Timeout => Problem::new(StatusCode::GATEWAY_TIMEOUT, "BACKEND_TIMEOUT", message),
        BackendError::Lost => Problem::new(StatusCode::BAD_GATEWAY, "BACKEND_LOST", message),
        BackendError::Protocol | BackendError::NotJson => {
            Problem::new(StatusCode::BAD_GATEWAY, "BAD_BACKEND", message)
        }
        BackendError::Refused(rejected @ Rejected::RateLimited { retry_after }) => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, code(rejected), message)
                .worth_retrying_in(retry_after)
        }
        BackendError::Refused(rejected) => later(code(rejected)),
        BackendError::Unavailable(_) => later("SERVICE_UNAVAILABLE"),
        BackendError::TooLarge => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", message),
    }
}

fn remote(code: String, message: String) -> Problem {
    let status = match code.as_str() {
        VALIDATION_FAILED | "BAD_REQUEST" => StatusCode::BAD_REQUEST,
        NOT_FOUND => StatusCode::NOT_FOUND,
        LIMIT_REACHED => StatusCode::INSUFFICIENT_STORAGE,
        "OVERLOADED" => return Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).worth_retrying(),
        "DEADLINE_EXCEEDED" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    Problem::new(status, code, message)
}

fn not_allowed(head: &Parts, methods: &'static str) -> Problem {
    let message = format!("{} is not allowed at {}; it takes {methods}", head.method, head.uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message).allowing(methods)
}

fn bad_request(code: &'static str, message: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, message)
}

fn expect_json(head: &Parts) -> Result<(), Problem> {
    let Some(given) = head.headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence =
        given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let message = "the body must be JSON; send the header content-type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))
}

/// Passes a body on byte for byte, once it is known to be one JSON value.
fn json(body: &[u8]) -> Result<&RawValue, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "INVALID_JSON", format!("the body is not JSON: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        for (path, expected) in [
            ("/api/projects", Route::Projects),
            ("/api/projects/7", Route::Project),
            ("/api/projects/a%2Fb", Route::Project),
            ("/api/projects/", Route::Unknown),
            ("/api/projects/7/x", Route::Unknown),
            ("/api", Route::Unknown),
            ("/health", Route::Health),
            ("/healthy", Route::Unknown),
            ("/services", Route::Services),
            ("/services/health", Route::ServicesHealth),
            ("/services/", Route::Unknown),
            ("/", Route::Unknown),
            ("*", Route::Unknown),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn ids_are_unescaped_and_bounded() {
        assert_eq!(project_id("/api/projects/a%2Fb").as_deref(), Some("a/b"));
        assert_eq!(project_id("/api/projects/%ff"), None);
        assert_eq!(project_id(&format!("/api/projects/{}", "x".repeat(MAX_ID + 1))), None);
    }

    #[test]
    fn each_refusal_has_a_code_of_its_own_and_says_when_to_try_again() {
        for (rejected, expected) in [
            (Rejected::Overloaded, (503, "OVERLOADED", "1")),
            (Rejected::CircuitOpen, (503, "CIRCUIT_OPEN", "1")),
            (Rejected::Panicked, (503, "PANICKED", "1")),
            (Rejected::Unhealthy, (503, "UNHEALTHY", "1")),
            (Rejected::Throttled { per_mille: 900 }, (503, "THROTTLED", "1")),
            (Rejected::Limited { limit: 3 }, (503, "CONCURRENCY_LIMITED", "1")),
            (Rejected::RateLimited { retry_after: Duration::from_millis(2_001) }, (429, "RATE_LIMITED", "3")),
            (Rejected::RateLimited { retry_after: Duration::ZERO }, (429, "RATE_LIMITED", "1")),
            (Rejected::NoEndpoint, (503, "SERVICE_UNAVAILABLE", "1")),
        ] {
            let problem = problem(BackendError::Refused(rejected));
            assert!(problem.message.contains("the project service"), "{}", problem.message);
            let reply = problem.into_reply("");
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            let found = (reply.status.as_u16(), body["error"]["code"].as_str().unwrap());
            let after = reply.headers[RETRY_AFTER].to_str().unwrap();
            assert_eq!((found.0, found.1, after), expected, "{rejected}");
        }
    }

    #[test]
    fn each_failure_behind_has_its_status_in_front() {
        let status = |error| problem(error).status.as_u16();
        assert_eq!(status(BackendError::Timeout), 504);
        assert_eq!([BackendError::Lost, BackendError::Protocol, BackendError::NotJson].map(status), [502; 3]);
        let unavailable = BackendError::Unavailable("the dial failed".into());
        assert_eq!(status(unavailable), 503);
        assert_eq!(status(BackendError::TooLarge), 413);
        for (code, expected) in [
            (VALIDATION_FAILED, 400),
            (NOT_FOUND, 404),
            (LIMIT_REACHED, 507),
            ("OVERLOADED", 503),
            ("DEADLINE_EXCEEDED", 504),
            ("METHOD_NOT_FOUND", 502),
            ("ANYTHING", 502),
        ] {
            assert_eq!(remote(code.into(), String::new()).status.as_u16(), expected, "{code}");
        }
    }
}
