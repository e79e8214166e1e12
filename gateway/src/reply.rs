//! What a route answers: JSON with a status, or a problem in the one shape that all errors have.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// A finished answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Reply { status, headers, body: body.into() }
    }

    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
        Reply::new(status, "application/json", body)
    }

    pub(crate) fn of(status: StatusCode, value: &impl Serialize) -> Reply {
        match serde_json::to_vec(value) {
            Ok(body) => Reply::json(status, body),
            Err(error) => {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string())
                    .into_reply("")
            }
        }
    }
}

/// An answer that says what went wrong: `{"error": {code, message, timestamp, requestId}}`.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    header: Option<(HeaderName, &'static str)>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Problem {
        Problem { status, code: code.into(), message: message.into(), header: None }
    }

    /// With the methods that the path does know.
    pub(crate) fn allowing(mut self, methods: &'static str) -> Problem {
        self.header = Some((ALLOW, methods));
        self
    }

    /// Nothing was done, and trying again in a second is fine.
    pub(crate) fn worth_retrying(mut self) -> Problem {
        self.header = Some((RETRY_AFTER, "1"));
        self
    }

    pub(crate) fn into_reply(self, request_id: &str) -> Reply {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Detail<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Detail<'a> {
            code: &'a str,
            message: &'a str,
            timestamp: String,
            request_id: &'a str,
        }
        let error = Detail { code: &self.code, message: &self.message, timestamp: now_rfc3339(), request_id };
        let mut reply = Reply::of(self.status, &Body { error });
        reply.headers.extend(self.header.map(|(name, value)| (name, HeaderValue::from_static(value))));
        reply
    }
}

/// The wall clock as `2026-11-21T08:00:00.120Z`.
pub(crate) fn now_rfc3339() -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(FORMAT).unwrap_or_default()
}
