//! What the tests share.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use accordant_conform::protocol::json::Json;
use accordant_conform::{Operation, Options, Outcome, Report, Seed};
use axum::Router;
use tokio::net::TcpListener;

pub(crate) fn json(text: &str) -> Json {
    Json::from_text(text.to_owned()).unwrap()
}

/// Options for a service that goes by the name of bank, and debits.
pub(crate) fn options(address: SocketAddr) -> Options {
    let base = format!("http://{address}").parse().unwrap();
    Options {
        state: Some("/balance".to_owned()),
        ..Options::new(base, "bank".parse().unwrap(), Seed(7))
    }
}

pub(crate) fn debit() -> Option<Operation> {
    Some(Operation {
        name: "debit".parse().unwrap(),
        payload: json(r#"{"account":1,"cents":3}"#),
        refused: Some(json(r#"{"account":1,"cents":100000000}"#)),
    })
}

/// Every way of working by the contract.
pub(crate) fn all(address: SocketAddr) -> Options {
    Options {
        act: debit(),
        two_phase: debit(),
        tcc: debit(),
        ..options(address)
    }
}

/// Serves until the test ends.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

pub(crate) async fn run(options: &Options) -> Report {
    let whole = Duration::from_secs(240);
    let report = tokio::time::timeout(whole, accordant_conform::run(options));
    report.await.expect("a run ends").unwrap()
}

/// The ids of the checks that failed.
pub(crate) fn failed(report: &Report) -> BTreeSet<&'static str> {
    let failed = report
        .checks
        .iter()
        .filter(|check| check.failure().is_some());
    failed.map(|check| check.id).collect()
}

#[track_caller]
pub(crate) fn all_passed(report: &Report) {
    let bad = report
        .checks
        .iter()
        .any(|check| check.outcome != Outcome::Passed);
    assert!(!bad && report.leftovers.is_empty(), "\n{}", report.text());
    assert!(report.holds(true));
}
