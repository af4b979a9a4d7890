//! Each planted bug is found by the check that is meant for it, and what else fails is explicable.

use std::time::Duration;

use accordant_conform::Options;

use crate::stub::{Bug, router};
use crate::support::{all, all_passed, failed, run, serve};

async fn found(bug: Bug) -> Vec<&'static str> {
    let address = serve(router(bug)).await;
    let options = Options {
        timeout: Duration::from_secs(5),
        patience: Duration::from_millis(300),
        duplicates: 4,
        ..all(address)
    };
    let report = run(&options).await;
    // What a storm meets is a matter of time.
    let failed = failed(&report).into_iter();
    failed.filter(|id| !id.ends_with("storm")).collect()
}

#[tokio::test]
async fn a_service_that_keeps_the_contract_passes_every_check() {
    let address = serve(router(Bug::None)).await;
    let options = all(address);
    all_passed(&run(&options).await);
}

macro_rules! finds {
    ($($name:ident: $bug:ident, [$($id:literal),* $(,)?];)*) => {$(
        #[tokio::test]
        async fn $name() {
            let expected: &[&str] = &[$($id),*];
            assert_eq!(found(Bug::$bug).await, expected);
        }
    )*};
}

finds! {
    a_repeat_that_is_carried_out_again: RunsRepeats, ["act.branches", "act.concurrent", "act.effect_once", "act.repeat", "act.repeat_after_compensate"];
    a_repeat_that_is_carried_out_again_with_the_old_result: RunsRepeatsQuietly, ["act.effect_once"];
    a_null_compensation_that_is_forgotten: ForgetsNullCompensation, ["act.branches", "act.effect_none", "act.late_after_compensate"];
    a_compensation_that_is_carried_out_again: CompensatesTwice, ["act.effect_once", "act.late_after_compensate", "act.refused_compensate"];
    a_refusal_that_does_not_last: ForgetsRefusals, ["act.refused", "act.refused_compensate", "act.refused_same"];
    a_deadline_that_refuses: RefusesTheLate, ["act.deadline"];
    an_operation_that_nobody_knows_and_that_is_done: KnowsEveryOperation, ["act.unknown_operation", "act.unknown_operation_again", "prepare.unknown_operation"];
    a_key_without_the_index: KeysByTransaction, ["act.branches", "tcc.branches", "two_phase.branches"];
    an_aborted_without_a_seal: DoesNotSeal, ["abort.unknown", "cancel.unknown", "commit.unknown", "confirm.unknown", "one_phase.after_abort", "tcc.branches", "tcc.effect", "two_phase.branches"];
    a_commit_of_the_unknown: CommitsUnknown, ["commit.unknown", "finish.many"];
    a_lost_result: LosesResults, ["commit.result", "confirm.result"];
    orders_that_are_mixed_up: MixesOrders, ["finish.many"];
    a_commit_that_is_rolled_back: AbortsCommitted, ["abort.after_commit", "finish.opposed", "one_phase.finish", "two_phase.effect"];
    a_prepare_after_its_deadline: PreparesTheLate, ["prepare.deadline"];
    a_reservation_that_is_invented: InventsReservations, ["confirm.unknown"];
    a_confirm_that_is_cancelled: CancelsConfirmed, ["cancel.after_confirm", "tcc.effect", "tcc.opposed"];
    a_missing_identity: ForgetsIdentity, ["reply.identity"];
    an_identity_that_goes_back: GoesBack, ["reply.identity_steady"];
    a_stale_attempt: RepeatsFirstAttempt, ["reply.attempt"];
    a_done_to_rubbish: TakesRubbish, ["rubbish.ids", "rubbish.missing_field", "rubbish.names", "rubbish.not_json", "rubbish.numbers", "rubbish.status", "rubbish.unknown_field", "rubbish.verb", "rubbish.wrong_type"];
    an_unknown_field_that_is_passed_over: TakesUnknownFields, ["rubbish.unknown_field"];
    a_call_for_another: AnswersForOthers, ["call.wrong_participant", "call.wrong_participant_status"];
    a_crash_at_deep_nesting: CrashesOnNesting, ["rubbish.nesting"];
    a_watermark_that_is_believed: BelievesWatermarks, ["call.watermark"];
}

#[tokio::test]
async fn a_race_between_duplicates() {
    // What else meets the race is a matter of time.
    assert!(found(Bug::Races).await.contains(&"act.concurrent"));
}
