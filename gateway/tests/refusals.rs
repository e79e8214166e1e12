//! Requests that are refused, each with its status, its code, and its number.

mod common;

use common::Gateway;

#[test]
fn a_request_over_http_1_1_is_told_why_it_is_refused() {
    for gateway in [Gateway::start(), Gateway::cleartext(&[])] {
        for args in [&[][..], &["-d", "{}"], &["--head"]] {
            let answer = gateway.curl("/health", &[&["--http1.1"], args].concat());
            if args == ["--head"] {
                assert_eq!(answer.status, 505);
                continue;
            }
            assert_eq!((answer.status, answer.code().as_str()), (505, "HTTP_VERSION_NOT_SUPPORTED"));
            assert!(answer.body.contains("HTTP/2"), "{}", answer.body);
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
}

#[test]
fn unknown_paths_are_404_and_unknown_methods_405_with_the_known_ones() {
    let gateway = Gateway::start();
    for path in ["/", "/api/projects/", "/api/projects/1/x", "/healthy"] {
        let answer = gateway.curl(path, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_FOUND"), "{path}");
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/projects", "get, head, post"),
        ("GET", "/api/projects/1", "put"),
        ("POST", "/health", "get, head"),
        ("PUT", "/metrics", "get, head"),
    ] {
        let answer = gateway.curl(path, &["-X", method]);
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allowed));
    }
}

#[test]
fn a_body_above_the_limit_is_413_whether_it_says_its_length_or_not() {
    let gateway = Gateway::start_with(&["--max-body-size", "100KB"], &[]);
    let json = "content-type: application/json";
    std::fs::write(gateway.dir.path().join("over"), vec![b' '; 100 * 1_024 + 1]).unwrap();
    std::fs::write(gateway.dir.path().join("far-over"), vec![b' '; 20 << 20]).unwrap();
    for file in ["over", "far-over"] {
        let declared = gateway.curl("/api/projects", &["-H", json, "--data-binary", &format!("@{file}")]);
        assert_eq!((declared.status, declared.code().as_str()), (413, "BODY_TOO_LARGE"), "{file}");
        let streamed =
            gateway.curl("/api/projects", &["-H", json, "-X", "POST", "-H", "content-length:", "-T", file]);
        assert_eq!((streamed.status, streamed.code().as_str()), (413, "BODY_TOO_LARGE"), "{file}");
    }
    let mut fits = br#"{"name":"x"}"#.to_vec();
    fits.resize(100 * 1_024, b' ');
    std::fs::write(gateway.dir.path().join("fits"), fits).unwrap();
    assert_eq!(gateway.curl("/api/projects", &["-H", json, "--data-binary", "@fits"]).status, 201);
}

#[test]
fn a_body_that_is_no_json_is_400_and_one_of_another_type_415() {
    let gateway = Gateway::start();
    for body in ["", "{", "{}{}", "\u{1}"] {
        let answer = gateway.json("POST", "/api/projects", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_JSON"), "{body}");
    }
    let form = gateway.curl("/api/projects", &["-d", "name=x"]);
    assert_eq!((form.status, form.code().as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let with_charset = ["-H", "content-type: application/json; charset=utf-8", "-d", r#"{"name":"x"}"#];
    assert_eq!(gateway.curl("/api/projects", &with_charset).status, 201);
}

#[test]
fn what_the_service_refuses_comes_back_with_its_code() {
    let gateway = Gateway::start();
    let invalid = gateway.json("POST", "/api/projects", r#"{"name":""}"#);
    assert_eq!((invalid.status, invalid.code().as_str()), (400, "VALIDATION_FAILED"));
    assert!(invalid.body.contains("name must not be empty"), "{}", invalid.body);
    let absent = gateway.json("PUT", "/api/projects/77", r#"{"name":"x"}"#);
    assert_eq!((absent.status, absent.code().as_str()), (404, "NOT_FOUND"));
    assert_eq!(gateway.curl("/api/projects?limit=0", &[]).code(), "VALIDATION_FAILED");
    assert_eq!(gateway.curl("/api/projects?limit=x", &[]).code(), "INVALID_QUERY");
    assert_eq!(gateway.json("PUT", "/api/projects/%ff", r#"{"name":"x"}"#).code(), "INVALID_ID");
}

#[test]
fn a_request_keeps_its_number_or_gets_a_new_one() {
    let gateway = Gateway::start();
    let kept = gateway.curl("/nothing", &["-H", "x-request-id: abc-123"]);
    assert_eq!(kept.header("x-request-id"), Some("abc-123"));
    kept.code();
    let too_long = format!("x-request-id: {}", "a".repeat(129));
    for args in [&[][..], &["-H", "x-request-id: has space"], &["-H", &too_long]] {
        let answer = gateway.curl("/health", args);
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "{args:?}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let gateway = Gateway::start();
    let get = gateway.curl("/api/projects", &[]);
    let head = gateway.curl("/api/projects", &["--head"]);
    assert_eq!((head.status, head.body.trim()), (200, ""));
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
}
