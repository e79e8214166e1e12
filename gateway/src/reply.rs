//! What a route answers: JSON with a status, or a problem in the one shape that all errors have.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Headers that there is room for at first: more than most answers have.
const HEADERS: usize = 6;

/// A finished answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
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
    hint: Option<Hint>,
}

/// What a client could do instead, as a header.
#[derive(Debug)]
enum Hint {
    Allow(&'static str),
    /// Seconds.
    RetryAfter(u64),
}

impl Hint {
    fn header(self) -> (HeaderName, HeaderValue) {
        match self {
            Hint::Allow(methods) => (ALLOW, HeaderValue::from_static(methods)),
            Hint::RetryAfter(seconds) => (RETRY_AFTER, seconds.into()),
        }
    }
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Problem {
        Problem { status, code: code.into(), message: message.into(), hint: None }
    }

    /// With the methods that the path does know.
    pub(crate) fn allowing(mut self, methods: &'static str) -> Problem {
        self.hint = Some(Hint::Allow(methods));
        self
    }

    /// Nothing was done, and trying again in a second is fine.
    pub(crate) fn worth_retrying(self) -> Problem {
        self.worth_retrying_in(Duration::from_secs(1))
    }

    /// Nothing was done, and trying again is fine then. The header counts whole seconds: rounded up, at least one.
    pub(crate) fn worth_retrying_in(mut self, delay: Duration) -> Problem {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        self.hint = Some(Hint::RetryAfter(seconds.max(1)));
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
        reply.headers.extend(self.hint.map(Hint::header));
        reply
    }
}

/// The wall clock as `2026-11-21T08:00:00.120Z`.
pub(crate) fn now_rfc3339() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

/// A time (UTC) in the same form.
pub(crate) fn rfc3339(at: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.format(FORMAT).unwrap_or_default()
}

/// A time (UTC) as HTTP has it (RFC 9110, section 5.6.7), and how long that will be right.
pub(crate) fn http_date(at: OffsetDateTime) -> (HeaderValue, Duration) {
    const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let text = at.format(FORMAT).unwrap_or_default();
    let date = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    (date, Duration::from_secs(1) - Duration::from_nanos(at.nanosecond().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_date_is_right_until_the_next_second() {
        let (date, left) = http_date(datetime!(1994-11-06 8:49:37.25 UTC));
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(left, Duration::from_millis(750));
    }
}
