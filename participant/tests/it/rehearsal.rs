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
