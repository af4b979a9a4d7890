//! The test tools for services, on themselves.

use accordant_participant::testing::Rehearsal;
use accordant_participant::{Branch, Refusal};
use serde_json::json;

use crate::support::bank;

#[tokio::test]
async fn handler_is_rehearsed_with_every_repeat() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let rehearsal = Rehearsal::of(&participant);
    let order = json!({"account": 1, "cents": 30});
    rehearsal.commits_once("debit", &order).await.unwrap();
    assert_eq!(bank.cents().await, 70);
    rehearsal.aborts("debit", &order).await.unwrap();
    assert_eq!(bank.cents().await, 70);
    rehearsal.commits_once("sql", "select 1").await.unwrap();
    rehearsal.aborts("sql", "select 1").await.unwrap();
    let found = rehearsal
        .commits_once("debit", &json!({"account": 1, "cents": 300}))
        .await;
    let found = found.unwrap_err().to_string();
    assert!(found.contains("insufficient_funds"), "{found}");
}

#[tokio::test]
async fn handler_that_commits_by_itself_is_found_out() {
    async fn commits(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        let sql = "update account set cents = 0; commit";
        sqlx::raw_sql(sql).execute(branch.connection()).await?;
        Ok(())
    }
    let bank = bank().await;
    let participant = bank
        .builder()
        .operation("commits", commits)
        .connect()
        .await
        .unwrap();
    let found = Rehearsal::of(&participant)
        .commits_once("commits", &json!(null))
        .await;
    let found = found.unwrap_err().to_string();
    assert!(found.contains("handler_ended_transaction"), "{found}");
}

#[tokio::test]
async fn action_is_rehearsed_with_every_repeat_and_disorder() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let rehearsal = Rehearsal::of(&participant);
    let order = json!({"account": 1, "cents": 30});
    rehearsal.acts_once("debit", &order).await.unwrap();
    assert_eq!(bank.cents().await, 70);
    rehearsal.compensates("debit", &order).await.unwrap();
    rehearsal.keeps_out("debit", &order).await.unwrap();
    rehearsal.races("debit", &order).await.unwrap();
    let too_much = json!({"account": 1, "cents": 300});
    rehearsal.refuses("debit", &too_much).await.unwrap();
    assert_eq!(bank.cents().await, 70);
    let found = rehearsal.acts_once("debit", &too_much).await;
    let found = found.unwrap_err().to_string();
    assert!(found.contains("insufficient_funds"), "{found}");
    let found = rehearsal.refuses("debit", &order).await.unwrap_err();
    assert!(found.to_string().contains("expected refused"), "{found}");
}

#[tokio::test]
async fn reservation_is_rehearsed_with_every_repeat_and_disorder() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let rehearsal = Rehearsal::of(&participant);
    let order = json!({"account": 1, "cents": 30});
    rehearsal.confirms_once("debit", &order).await.unwrap();
    assert_eq!(bank.cents().await, 70);
    rehearsal.cancels("debit", &order).await.unwrap();
    rehearsal.cancels_before("debit", &order).await.unwrap();
    assert_eq!(bank.cents().await, 70);
    let too_much = json!({"account": 1, "cents": 300});
    let found = rehearsal.confirms_once("debit", &too_much).await;
    let found = found.unwrap_err().to_string();
    assert!(found.contains("insufficient_funds"), "{found}");
}

#[tokio::test]
async fn compensation_that_refuses_is_found_out() {
    async fn refuses(_: &mut Branch, _: i64, _: Option<i64>) -> Result<(), Refusal> {
        Err(Refusal::new("closed", "never"))
    }
    async fn twice(_: &mut Branch, number: i64) -> Result<i64, Refusal> {
        Ok(number * 2)
    }
    let bank = bank().await;
    let builder = bank.builder().action("twice", twice, refuses);
    let participant = builder.connect().await.unwrap();
    let found = Rehearsal::of(&participant).compensates("twice", &2).await;
    let found = found.unwrap_err().to_string();
    assert!(found.contains("compensate: expected done"), "{found}");
}
