//! What cannot go on without an operator, and each of his verbs; also across restarts.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::http;
use crate::world::{JournalKind, World, died};

use super::stage::Stage;

const SIGKILL: i32 = 9;

/// A saga whose first step is done, and cannot be made good at first.
fn stuck_steps(key: &str, compensate: &str) -> Value {
    json!([
        {"name": "one", "action": Stage::plain(key, "one", "done", compensate)},
        {"name": "two", "after": ["one"], "action": Stage::plain(key, "two", "refuse", "done")},
    ])
}

impl Stage {
    /// A saga whose first step cannot be made good; stuck there.
    async fn stuck(&self, key: &str) -> anyhow::Result<String> {
        let begun = self
            .submit(key, stuck_steps(key, "away-4"), "accepted")
            .await?;
        self.until(key, "it is stuck", |status| status["state"] == "stuck")
            .await?;
        Ok(begun["id"].as_str().context("an id")?.to_owned())
    }

    async fn resolve(&self, id: &str, resolution: Value) -> anyhow::Result<http::Reply> {
        self.resolve_at("compensate", id, resolution).await
    }

    async fn resolve_at(
        &self,
        verb: &str,
        id: &str,
        resolution: Value,
    ) -> anyhow::Result<http::Reply> {
        let url = format!("{}/v1/admin/transactions/{id}/actions/0", self.world.url());
        let body = json!({"verb": verb, "resolution": resolution, "by": "ann",
            "reason": "seen by hand"});
        http::post(&url, body.to_string()).await
    }

    async fn ended(&self, key: &str) -> anyhow::Result<Value> {
        self.until(key, "it has ended", |status| status["state"] == "closed")
            .await
    }

    async fn listed(&self) -> anyhow::Result<String> {
        let url = format!("{}/v1/admin/stuck", self.world.url());
        Ok(http::get(&url).await?.text)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stuck_is_seen_and_tried_again() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    // Two attempts each time: the fifth call is carried out.
    let id = stage.stuck("retried").await?;
    ensure!(
        stage.listed().await?.contains(&id),
        "{}",
        stage.listed().await?
    );
    stage
        .world
        .until(
            "the gauge shows it",
            Duration::from_secs(10),
            async |world| {
                let metrics = world.metrics().await?;
                let mut gauges = metrics.lines();
                Ok(gauges
                    .any(|it| it.starts_with("accordant_stuck_actions{") && it.ends_with(" 1")))
            },
        )
        .await?;
    stage.world.restart().await?;
    let status = stage.status("retried").await?;
    ensure!(status["state"] == "stuck", "after a restart too: {status}");
    for round in 0..2 {
        let reply = stage.resolve(&id, json!("retry")).await?;
        ensure!(
            reply.status == 200,
            "{round}: {} {}",
            reply.status,
            reply.text
        );
        if round == 0 {
            stage
                .until("retried", "it is stuck again", |status| {
                    status["state"] == "stuck"
                        && stage.desk.called("retried", "one", "compensate") == 4
                })
                .await?;
        }
    }
    let status = stage.ended("retried").await?;
    ensure!(status["outcome"] == "aborted", "{status}");
    ensure!(
        stage.desk.executed("retried", "one", "compensate") == 1,
        "made good"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_never_a_success() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    let id = stage.stuck("done").await?;
    let reply = stage.resolve(&id, json!({"done": {}})).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text);
    let status = stage.ended("done").await?;
    ensure!(status["outcome"] == "aborted", "{status}");
    ensure!(status["actions"][0]["state"] == "compensated", "{status}");

    for verb in ["skip", "abandon"] {
        let id = stage.stuck(verb).await?;
        let reply = stage.resolve(&id, json!(verb)).await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text);
        let status = stage.ended(verb).await?;
        ensure!(
            status["outcome"] == "heuristic",
            "never a success: {status}"
        );
        ensure!(status["actions"][0]["state"] == "skipped", "{status}");
        let late = stage.resolve(&id, json!("retry")).await?;
        ensure!(late.status >= 400, "it has ended: {}", late.text);
    }
    stage.world.restart().await?;
    let status = stage.status("skip").await?;
    ensure!(
        status["outcome"] == "heuristic",
        "after a restart too: {status}"
    );
    ensure!(!stage.listed().await?.contains("skip"), "nothing is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_after_the_pivot_that_refuses_calls_an_operator() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    let key = "after";
    let only = |step: &str, how: &str| json!({"participant": "desk", "act": {"path": Stage::path(key, step, "act", how)}});
    let steps = json!([
        {"name": "later", "after": ["buy"], "action": only("later", "refuse")},
        {"name": "buy", "class": "pivot", "action": only("buy", "done")},
        {"name": "last", "after": ["later"], "action": only("last", "done")},
    ]);
    let begun = stage.submit(key, steps, "decided").await?;
    ensure!(
        begun["outcome"] == "committed",
        "the pivot is passed: {begun}"
    );
    let status = stage
        .until(key, "it is stuck", |status| status["state"] == "stuck")
        .await?;
    ensure!(status["outcome"] == "committed", "that stands: {status}");
    let id = begun["id"].as_str().context("an id")?;
    let wrong = stage.resolve(id, json!("nothing")).await?;
    ensure!(
        wrong.status == 400 || wrong.status == 422,
        "{} {}",
        wrong.status,
        wrong.text
    );
    let reply = stage
        .resolve_at("act", id, json!({"done": {"result": {"by": "hand"}}}))
        .await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text);
    let status = stage.ended(key).await?;
    ensure!(status["outcome"] == "committed", "{status}");
    ensure!(status["actions"][0]["result"]["by"] == "hand", "{status}");
    ensure!(stage.desk.executed(key, "last", "act") == 1, "it went on");
    ensure!(
        stage.desk.called(key, "buy", "compensate") == 0,
        "never back"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_decides_survives_a_coordinator_that_dies() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    for point in ["coordinator.stuck.appended", "coordinator.stuck.durable"] {
        let key = point.replace("coordinator.", "");
        stage.world.restart_to_die_at(point).await?;
        let steps = stuck_steps(&key, "away-1000");
        let begun = stage.traveller.ask(&key, steps, "accepted").await?.json()?;
        died(&mut stage.world.coordinator, SIGKILL).await?;
        stage.world.restart().await?;
        stage
            .until(&key, "it is stuck", |status| status["state"] == "stuck")
            .await?;
        let id = begun["id"].as_str().context("an id")?;
        ensure!(
            stage.resolve(id, json!("skip")).await?.status == 200,
            "skipped"
        );
        ensure!(
            stage.ended(&key).await?["outcome"] == "heuristic",
            "left undone"
        );
    }
    for point in [
        "coordinator.resolved.appended",
        "coordinator.resolved.durable",
    ] {
        let key = point.replace("coordinator.", "");
        stage.world.restart_to_die_at(point).await?;
        let steps = stuck_steps(&key, "away-1000");
        let begun = stage.submit(&key, steps, "accepted").await?;
        stage
            .until(&key, "it is stuck", |status| status["state"] == "stuck")
            .await?;
        let id = begun["id"].as_str().context("an id")?;
        ensure!(
            stage.resolve(id, json!({"done": {}})).await.is_err(),
            "nobody answers"
        );
        died(&mut stage.world.coordinator, SIGKILL).await?;
        stage.world.restart().await?;
        // It has come true, or it has not: the operator asks again, and it is the same.
        let status = stage
            .until(&key, "it stands still", |status| {
                status["state"] == "stuck" || status["state"] == "closed"
            })
            .await?;
        if status["state"] == "stuck" {
            ensure!(
                stage.resolve(id, json!({"done": {}})).await?.status == 200,
                "again"
            );
        }
        let status = stage.ended(&key).await?;
        ensure!(status["outcome"] == "aborted", "{status}");
        ensure!(status["actions"][0]["state"] == "compensated", "{status}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_repeated_for_ever_is_seen_once_its_time_is_over() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    let gauge = async |value: &str| {
        let is_so = async |world: &World| {
            let metrics = world.metrics().await?;
            let mut lines = metrics.lines();
            let named = |it: &str| it.starts_with("accordant_overdue_transactions{");
            Ok(lines.any(|it| named(it) && it.ends_with(value)))
        };
        let what = format!("the gauge shows{value}");
        stage
            .world
            .until(&what, Duration::from_secs(10), is_so)
            .await
    };
    let path = Stage::path("overdue", "tell", "act", "until-done");
    let to = json!({"participant": "desk", "act": {"path": path},
        "retry": {"pause_ms": 20, "pause_ms_max": 100}});
    let later = json!({"delay_ms": 60_000, "to": [{"participant": "bank-a", "operation": "note",
        "payload": {"transfer": "later", "account": 1, "cents": 0}}]});
    for (key, message) in [("overdue", json!({"to": [to]})), ("later", later)] {
        let steps = json!([{"name": "tell", "message": message}]);
        let body = json!({"steps": steps, "wait": "accepted", "timeout_ms": 1_000}).to_string();
        let url = format!("{}/v1/transactions", stage.world.url());
        let reply = http::post_with(&url, body, &[("idempotency-key", key)]).await?;
        ensure!(reply.status == 202, "{} {}", reply.status, reply.text);
    }
    // The one that waits for its time is not late.
    gauge(" 1").await?;
    stage.desk.let_go("overdue");
    stage.ended("overdue").await?;
    gauge(" 0").await
}
