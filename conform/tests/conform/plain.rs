//! Plain endpoints: a compensation that refers to the act's result, and what services do wrong.

use std::time::Duration;

use accordant_conform::protocol::plan::ActionRequest;
use accordant_conform::{Options, OptionsError, Outcome, Plain, Report, RunError};

use crate::plain_stub::{Bug, router};
use crate::support::{all_passed, failed, json, options, run, serve};

const ACTION: &str = r#"{
    "participant": "hotel",
    "act": { "path": "/bookings", "body": { "nights": 3 } },
    "compensate": { "path": "/bookings/{act#/id}/cancel" }
}"#;

async fn options_of(bug: Bug) -> Options {
    let address = serve(router(bug)).await;
    let request: ActionRequest = serde_json::from_str(ACTION).unwrap();
    let plain = Plain::new(request, Some(json(r#"{"nights":99}"#))).unwrap();
    Options {
        plain: Some(plain),
        patience: Duration::from_millis(300),
        ..options(address)
    }
}

async fn report(bug: Bug) -> Report {
    run(&options_of(bug).await).await
}

#[tokio::test]
async fn a_plain_service_that_is_in_order_passes_every_check() {
    all_passed(&report(Bug::None).await);
}

macro_rules! finds {
    ($($name:ident: $bug:ident, [$($id:literal),* $(,)?];)*) => {$(
        #[tokio::test]
        async fn $name() {
            let report = report(Bug::$bug).await;
            let expected: &[&str] = &[$($id),*];
            assert_eq!(failed(&report).into_iter().collect::<Vec<_>>(), expected);
        }
    )*};
}

finds! {
    a_key_that_is_not_looked_at: IgnoresTheKey, ["plain.act_same_body", "plain.concurrent_same_body", "plain.effect_once", "plain.repeat_after_compensate"];
    a_repeat_that_is_refused: RefusesRepeats, ["plain.act_repeat", "plain.act_same_body", "plain.concurrent", "plain.concurrent_same_body", "plain.effect_once"];
    a_refusal_that_does_not_last: ForgetsRefusals, ["plain.refused"];
    a_second_compensation_that_finds_nothing: MissesTheSecondTime, ["plain.compensate_repeat", "plain.effect_once"];
    a_key_that_is_forgotten_with_its_booking: ForgetsTheKeyWithTheBooking, ["plain.repeat_after_compensate"];
    a_state_that_is_hidden: HidesTheState, ["plain.effect_once", "plain.repeat_after_compensate"];
    a_redirect: Redirects, ["plain.act", "plain.act_repeat", "plain.act_same_body", "plain.compensate", "plain.compensate_repeat", "plain.concurrent", "plain.concurrent_same_body", "plain.effect_once", "plain.malformed", "plain.refused", "plain.repeat_after_compensate"];
    a_booking_made_of_rubbish: TakesRubbish, ["plain.malformed"];
}

#[tokio::test]
async fn a_state_that_is_nowhere_to_be_seen_is_no_state() {
    let options = Options {
        state: Some("/balanec".to_owned()),
        ..options_of(Bug::None).await
    };
    let refused = accordant_conform::run(&options).await;
    assert!(
        matches!(&refused, Err(RunError::Options(OptionsError::StateUnseen { path, came }))
            if path == "/balanec" && came.contains("404")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn without_a_look_at_the_state_no_effect_is_claimed() {
    let options = Options {
        state: None,
        ..options_of(Bug::ForgetsTheKeyWithTheBooking).await
    };
    let report = run(&options).await;
    let skipped = report.checks.iter();
    let skipped = skipped.filter(|it| matches!(it.outcome, Outcome::Skipped { .. }));
    let skipped: Vec<_> = skipped.map(|it| it.id).collect();
    assert_eq!(
        skipped,
        ["plain.repeat_after_compensate", "plain.effect_once"]
    );
}
