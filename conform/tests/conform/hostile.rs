//! Services from which the kit must get away: none makes it hang, grow, or follow.

use std::time::Duration;

use accordant_conform::{Options, Outcome, RunError, run as try_run};
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};

use crate::support::{all, run, serve};

fn hasty(options: Options) -> Options {
    Options {
        timeout: Duration::from_millis(200),
        patience: Duration::from_millis(200),
        ..options
    }
}

#[tokio::test]
async fn a_service_that_hangs_ends_the_run_after_a_few_checks() {
    let router = Router::new().fallback(async || std::future::pending::<String>().await);
    let report = run(&hasty(all(serve(router).await))).await;
    let asked = report
        .checks
        .iter()
        .filter(|check| check.failure().is_some())
        .count();
    assert_eq!(asked, 3, "{}", report.text());
    assert!(!report.holds(false));
    assert!(matches!(&report.checks[0].outcome, Outcome::Failed(it) if it.came.contains("200 ms")));
    assert!(!report.leftovers.is_empty());
}

#[tokio::test]
async fn a_reply_without_an_end_is_read_up_to_its_bound() {
    let endless = async || {
        let brackets = stream::repeat("[".repeat(64 * 1024));
        Body::from_stream(brackets.map(Ok::<_, std::io::Error>))
    };
    let options = Options {
        only: vec!["act.done".to_owned()],
        ..all(serve(Router::new().fallback(endless)).await)
    };
    let report = run(&options).await;
    let failure = report.checks[0].failure().unwrap();
    assert!(failure.came.contains("cannot be read"), "{failure:?}");
}

#[tokio::test]
async fn a_reply_that_commands_the_terminal_is_defused() {
    let nasty = async || (StatusCode::IM_A_TEAPOT, "\u{1b}[2J\u{7}");
    let options = Options {
        only: vec!["act".to_owned()],
        state: None,
        ..all(serve(Router::new().fallback(nasty)).await)
    };
    let report = run(&options).await;
    assert!(!report.text().contains('\u{1b}') && report.text().contains("HTTP 418"));
}

#[tokio::test]
async fn where_nothing_listens_there_is_no_report() {
    let options = all("127.0.0.1:1".parse().unwrap());
    assert!(matches!(
        try_run(&options).await,
        Err(RunError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn a_run_is_repeated_by_its_seed() {
    let router = Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
    let options = Options {
        only: vec!["act.done".to_owned()],
        state: None,
        ..hasty(all(serve(router).await))
    };
    let random = |report: &accordant_conform::Report| {
        let request = &report.checks[0].failure().unwrap().exchanges[0].request;
        // The last 26 digits of the id do not depend on the time.
        let id = request
            .split("\"gtid\":\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        id[id.len() - 26..].to_owned()
    };
    let (one, other) = (run(&options).await, run(&options).await);
    assert_eq!(random(&one), random(&other));
    let reseeded = Options { seed: accordant_conform::Seed(8), ..options };
    assert_ne!(random(&one), random(&run(&reseeded).await));
}
