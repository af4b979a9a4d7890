use accordant_protocol::id::{
    Attempt, BranchIndex, Cluster, Epoch, Gtid, Incarnation, PartitionId,
};
use accordant_protocol::plan::Method as Planned;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::ActVerb;

use super::*;

fn gtid() -> Gtid {
    let minted = Timestamp::from_millis(1_700_000_000_000);
    let cluster = Cluster::new("acc").unwrap();
    Gtid::mint(cluster, PartitionId(3), Incarnation(1), minted, 7).unwrap()
}

fn call() -> EndpointCall {
    EndpointCall {
        gtid: gtid(),
        branch: BranchIndex(2),
        step: "hotel".parse().unwrap(),
        verb: ActVerb::Compensate,
        attempt: Attempt(4),
        epoch: Epoch(1),
        deadline: Timestamp::from_millis(0),
        method: Planned::Put,
        path: "/rooms/7?hard=1".to_owned(),
        headers: Vec::new(),
        body: None,
        done: Vec::new(),
        refused: Vec::new(),
    }
}

fn received(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    received_by(&call(), status, headers, Some(body))
}

fn received_by(
    call: &EndpointCall,
    status: u16,
    headers: &[(&'static str, &str)],
    body: Option<&str>,
) -> Answer {
    let headers = headers.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    });
    let status = StatusCode::from_u16(status).unwrap();
    let body = body.map(|body| Bytes::from(body.to_owned()));
    read(
        call,
        Ok(Response { status, headers: headers.collect(), body }),
    )
}

fn acted(answer: ActAnswer) -> Answer {
    Answer::Acted { identity: None, answer }
}

fn done(result: Option<&str>) -> Answer {
    let result = result.map(|text| Json::from_text(text.to_owned()).unwrap());
    acted(ActAnswer::Done { result })
}

fn refused(code: &str, detail: &str) -> Answer {
    acted(ActAnswer::Refused { refusal: Refusal::new(code, detail) })
}

fn is_unknown(answer: &Answer) -> bool {
    matches!(answer, Answer::Unanswered { .. })
}

#[test]
fn every_status_without_a_meaning_is_unknown() {
    for status in 200..600 {
        let answer = received(status, &[], "{}");
        match status {
            200..300 => assert_eq!(answer, done(Some("{}")), "{status}"),
            409 => assert_eq!(answer, refused("http_409", "{}"), "{status}"),
            425 => {
                let later = ActAnswer::InProgress { retry_after_ms: None };
                assert_eq!(answer, acted(later), "{status}");
            }
            _ => {
                let error = format!("HTTP {status}: {{}}");
                assert_eq!(answer, Answer::Unanswered { error }, "{status}");
            }
        }
    }
}

#[test]
fn a_plan_gives_statuses_another_meaning() {
    let call = EndpointCall { done: vec![201, 404], refused: vec![410, 422], ..call() };
    let read = |status| received_by(&call, status, &[], Some("1"));
    assert_eq!(read(201), done(Some("1")));
    assert_eq!(read(404), done(Some("1")));
    assert_eq!(read(422), refused("http_422", "1"));
    assert_eq!(read(410), refused("http_410", "1"));
    for status in [200, 204, 409, 302, 500] {
        assert!(is_unknown(&read(status)), "{status}");
    }
    let later = ActAnswer::InProgress { retry_after_ms: None };
    assert_eq!(read(425), acted(later));
}

#[test]
fn a_result_is_kept_if_it_is_json_of_a_size_that_may_be() {
    assert_eq!(
        received(200, &[], " {\"a\": 1.10}\n"),
        done(Some("{\"a\": 1.10}"))
    );
    assert_eq!(received(201, &[], "\"text\""), done(Some("\"text\"")));
    for none in ["", "null", "<html>", "{", "{} {}", "\u{feff}1"] {
        assert_eq!(received(200, &[], none), done(None), "{none:?}");
    }
    let largest = format!("\"{}\"", "x".repeat(RESULT_BYTES_MAX - 2));
    assert_eq!(received(200, &[], &largest), done(Some(&largest)));
    let larger = format!("\"{}\"", "x".repeat(RESULT_BYTES_MAX - 1));
    assert_eq!(received(200, &[], &larger), done(None));
    let unread = received_by(&call(), 200, &[], None);
    assert_eq!(unread, done(None), "the status has said it");
}

#[test]
fn a_refusal_speaks_in_the_services_own_words() {
    let read = |body: &str| received(409, &[], body);
    let problem = r#"{"code":"full","detail":"no rooms","message":"x"}"#;
    assert_eq!(read(problem), refused("full", "no rooms"));
    assert_eq!(
        read(r#"{"message":"no rooms"}"#),
        refused("http_409", "no rooms")
    );
    assert_eq!(read(r#"{"code":7,"detail":"d"}"#), refused("http_409", "d"));
    assert_eq!(read("sorry\r\n"), refused("http_409", "sorry"));
    assert_eq!(read(""), refused("http_409", ""));
    assert_eq!(
        received_by(&call(), 409, &[], None),
        refused("http_409", "")
    );
    let Answer::Acted { answer: ActAnswer::Refused { refusal }, .. } = read(&"y".repeat(9_000))
    else {
        panic!("refused")
    };
    assert_eq!(refusal.detail.len(), REASON_BYTES_MAX);
}

#[test]
fn retry_after_is_read_in_seconds() {
    for (value, ms) in [
        ("7", Some(7_000)),
        ("0", Some(0)),
        ("-1", None),
        ("soon", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("18446744073709551615", Some(u64::MAX)),
    ] {
        let answer = received(425, &[("retry-after", value)], "");
        let later = ActAnswer::InProgress { retry_after_ms: ms };
        assert_eq!(answer, acted(later), "{value}");
    }
}

#[test]
fn an_error_is_short_and_commands_no_terminal() {
    let Answer::Unanswered { error } = received(500, &[], &format!("\u{1b}[2J{}", "x".repeat(999)))
    else {
        panic!("unanswered")
    };
    assert!(error.starts_with("HTTP 500:  [2Jxxx"), "{error}");
    assert!(error.len() < EXCERPT_BYTES_MAX + 20, "{}", error.len());
    assert!(!error.contains('\u{1b}'));
    let lost = read(&call(), Err(TransportError::Timeout { ms: 5 }));
    let error = "no reply within 5 ms".to_owned();
    assert_eq!(lost, Answer::Unanswered { error });
}

#[test]
fn the_request_names_transaction_step_verb_and_where_to_call_back() {
    let base: Uri = "http://127.0.0.1:80/base/".parse().unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = Some(Json::from_text("{\"n\":1.10}".to_owned()).unwrap());
    let call = EndpointCall { body, ..call() };
    let made = request(&base, &call, None, Some(&trace.parse().unwrap())).unwrap();
    assert_eq!(made.method, Method::PUT);
    assert_eq!(made.uri, "http://127.0.0.1:80/base/rooms/7?hard=1");
    assert_eq!(made.body, "{\"n\":1.10}");
    let gtid = gtid();
    let headers: Vec<(&str, &str)> = made
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let (key, back) = (
        format!("{gtid}:2:compensate"),
        format!("/v1/transactions/{gtid}/actions/2"),
    );
    let (id, content) = (gtid.to_string(), "application/json");
    let expected = [
        ("idempotency-key", key.as_str()),
        ("accordant-transaction", &id),
        ("accordant-step", "hotel"),
        ("accordant-verb", "compensate"),
        ("accordant-attempt", "4"),
        ("accordant-call-back", &back),
        ("traceparent", trace),
        ("content-type", content),
    ];
    assert_eq!(headers, expected);
    let url = Some("https://here/x");
    let made = request(&base, &call, url, None).unwrap();
    let back = format!("https://here/x{back}");
    assert_eq!(made.headers["accordant-call-back"], back);
}

#[test]
fn a_request_without_a_body_has_no_media_type() {
    let base: Uri = "http://h".parse().unwrap();
    let made = request(&base, &call(), None, None).unwrap();
    assert!(made.body.is_empty());
    assert!(!made.headers.contains_key("content-type"));
}

#[test]
fn headers_of_the_plan_go_along_and_never_stand_in_for_ours() {
    let headers = [
        ("X-Tenant", "acme"),
        ("Idempotency-Key", "mine"),
        ("Accordant-Verb", "act"),
        ("Accordant-Secret", "x"),
        ("Host", "elsewhere"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Traceparent", "x"),
        ("Proxy-Authorization", "x"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let call = EndpointCall { headers: headers.to_vec(), ..call() };
    let base: Uri = "http://h".parse().unwrap();
    let made = request(&base, &call, None, None).unwrap();
    let mut names: Vec<_> = made.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accordant-attempt",
        "accordant-call-back",
        "accordant-step",
        "accordant-transaction",
        "accordant-verb",
        "idempotency-key",
        "x-tenant",
    ];
    assert_eq!(names, expected);
    assert_eq!(made.headers["accordant-verb"], "compensate");
    assert_eq!(made.headers["x-tenant"], "acme");
    for (name, value) in [("no name", "x"), ("x", "a\r\nb: c"), ("", "x")] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let call = EndpointCall { headers, ..self::call() };
        assert!(request(&base, &call, None, None).is_err(), "{name:?}");
    }
}

#[test]
fn a_path_never_leads_away_from_its_participant() {
    let at = |base: &str, path: &str| target(&base.parse().unwrap(), path);
    for (base, path, uri) in [
        ("http://h", "/a", "http://h/a"),
        ("http://h/", "/a", "http://h/a"),
        (
            "http://h:8/base",
            "/a/b?c=../d",
            "http://h:8/base/a/b?c=../d",
        ),
        ("http://h:8/base/", "/a%2Fb", "http://h:8/base/a%2Fb"),
        ("http://h", "//other/a", "http://h//other/a"),
        ("http://h", "/@other/..a", "http://h/@other/..a"),
    ] {
        assert_eq!(at(base, path).unwrap(), uri, "{base} {path}");
    }
    for path in [
        "@other/a",
        ".other",
        "a",
        "",
        "/../a",
        "/a/..",
        "/%2e%2E/a",
        "/a/./b",
        "/..%2f..%2fa",
        "/..;/..;/a",
        "/..%5ca",
        "/a b",
        "/a\r\nb",
    ] {
        assert!(at("http://h/base", path).is_err(), "{path:?}");
    }
}
