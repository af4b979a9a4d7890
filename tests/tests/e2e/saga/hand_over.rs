//! Every way in which a saga can stand halfway, and then another process goes on with it: the same
//! coordinator started again, or a second one that takes the journal over under a higher epoch from
//! one that is killed, or frozen and awake again later. Each while a bank is in another kind of
//! trouble.

use std::time::Duration;

use accordant_testbed::Fault;
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::http;
use crate::world::{JournalKind, World};

use super::change::{Change, Former};
use super::scenes::{ByHand, Halfway, Scene};
use super::stage::Stage;

impl Stage {
    /// The former owner wakes up: what it still wants to do, it wants as one that owns nothing, and
    /// nobody is told by it that something was done.
    async fn wake(&self, former: &mut Former, scenes: &[Scene]) -> anyhow::Result<()> {
        let called = |scene: &Scene| self.desk.calls(&scene.key).len();
        let before: Vec<usize> = scenes.iter().map(called).collect();
        let books = self.sums(scenes).await?;
        former.wake()?;
        let ready = format!("{}/readyz", former.url);
        let wait = async |_: &World| {
            Ok(http::get(&ready)
                .await
                .is_ok_and(|reply| reply.status == 503))
        };
        let within = Duration::from_secs(10);
        self.world
            .until("the sleeper knows that it owns nothing", within, wait)
            .await?;
        for scene in scenes {
            let id = self.id(&scene.key).await?;
            for by_hand in [
                ByHand::CallBack(json!({"done": {}})),
                ByHand::Resolve("compensate", json!("retry")),
            ] {
                let reply = by_hand.say(&former.url, &id).await?;
                ensure!(
                    reply.status >= 400,
                    "the sleeper has heard of {}: {} {}",
                    scene.key,
                    reply.status,
                    reply.text
                );
            }
        }
        // One that it had handed to the network when it was frozen, nobody can take back. It is known
        // by its key.
        for (scene, before) in scenes.iter().zip(&before) {
            let calls = self.desk.calls(&scene.key);
            let new = calls.get(*before..).unwrap_or_default();
            let effects = new.iter().filter(|call| call.executed).count();
            let key = &scene.key;
            ensure!(
                effects == 0 && new.len() <= 1,
                "{key}: the sleeper has called: {new:?}"
            );
        }
        ensure!(
            self.sums(scenes).await? == books,
            "the sleeper has moved money"
        );
        former.kill()
    }

    async fn id(&self, key: &str) -> anyhow::Result<String> {
        let status = self.status(key).await?;
        Ok(status["id"].as_str().context("an id")?.to_owned())
    }

    /// What the entries of each scene come to, at each bank.
    async fn sums(&self, scenes: &[Scene]) -> anyhow::Result<Vec<[i64; 2]>> {
        let mut sums = vec![[0; 2]; scenes.len()];
        for (bank, books) in self.world.banks.iter().enumerate() {
            let (ledger, _) = books.books().await?;
            for (sum, scene) in sums.iter_mut().zip(scenes) {
                let own = ledger.iter().filter(|(key, _)| *key == scene.key);
                sum[bank] = own.map(|(_, entry)| entry.cents).sum();
            }
        }
        Ok(sums)
    }

    async fn go_halfway(&self, scene: &Scene) -> anyhow::Result<()> {
        let key = &scene.key;
        if let Halfway::Called(step, verb) = scene.halfway {
            let what = format!("{key}: {verb} {step} is asked for");
            let is_so = async |_: &World| Ok(self.desk.called(key, step, verb) > 0);
            return self
                .world
                .until(&what, Duration::from_secs(15), is_so)
                .await;
        }
        let is_so = |status: &Value| match scene.halfway {
            Halfway::Called(..) => true,
            Halfway::Stuck(action) => {
                status["actions"][action]["state"] == "stuck_compensating"
                    || status["actions"][action]["state"] == "stuck_acting"
            }
            Halfway::Tried(action) => status["actions"][action]["attempts"].as_u64() > Some(1),
            Halfway::Preparing(branch) => status["branches"][branch]["state"] == "preparing",
            Halfway::TurnedBack => status["outcome"] == "aborted",
        };
        self.until(key, "it is halfway", is_so).await?;
        Ok(())
    }

    async fn by_hand(&self, scene: &Scene, by_hand: Option<&ByHand>) -> anyhow::Result<()> {
        let Some(by_hand) = by_hand else {
            return Ok(());
        };
        let id = self.id(&scene.key).await?;
        let mut reply = by_hand.say(&self.world.url(), &id).await?;
        // It may not have been told to act again yet.
        for _ in 0..100 {
            if reply.status != 409 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            reply = by_hand.say(&self.world.url(), &id).await?;
        }
        let status = self.status(&scene.key).await?;
        ensure!(
            reply.status == 200,
            "{}: {by_hand:?}: {} {}; {status}",
            scene.key,
            reply.status,
            reply.text
        );
        Ok(())
    }

    async fn check_scene(&self, scene: &Scene) -> anyhow::Result<()> {
        let key = &scene.key;
        let is_so = |status: &Value| status["state"] == "closed";
        let status = self.until(key, "it has ended", is_so).await?;
        ensure!(status["outcome"] == scene.outcome, "{key}: {status}");
        let calls = self.desk.calls(key);
        let turned = calls.iter().position(|call| call.verb == "compensate");
        let acts_after = calls.iter().skip(turned.unwrap_or(calls.len()));
        let acts_after: Vec<_> = acts_after.filter(|call| call.verb == "act").collect();
        ensure!(
            acts_after.is_empty(),
            "{key}: acts after a compensation: {calls:#?}"
        );
        let executed = calls.iter().filter(|call| call.executed);
        let executed = executed.map(|call| format!("{} {}", call.verb, call.step));
        let (mut executed, undone): (Vec<_>, Vec<_>) =
            executed.partition(|it| it.starts_with("act"));
        executed.sort_unstable();
        executed.extend(undone);
        ensure!(
            executed == scene.executed,
            "{key}: {executed:?}: {calls:#?}"
        );
        let mut firsts: Vec<_> = calls.iter().filter_map(|it| it.body.get("first")).collect();
        firsts.dedup();
        ensure!(
            firsts.len() <= 1,
            "{key}: called with different results: {firsts:?}"
        );
        Ok(())
    }
}

impl ByHand {
    /// Says it of a transaction's first action.
    async fn say(&self, url: &str, id: &str) -> anyhow::Result<http::Reply> {
        match self {
            Self::CallBack(answer) => {
                let url = format!("{url}/v1/transactions/{id}/actions/0");
                http::post(&url, json!({"verb": "act", "answer": answer}).to_string()).await
            }
            Self::Resolve(verb, resolution) => {
                let url = format!("{url}/v1/admin/transactions/{id}/actions/0");
                let body = json!({"verb": verb, "resolution": resolution, "by": "ann",
                    "reason": "seen by hand"});
                http::post(&url, body.to_string()).await
            }
        }
    }
}

async fn every_scene_goes_on_after(change: Change, journal: JournalKind) -> anyhow::Result<()> {
    let mut stage = Stage::start(journal).await?;
    for fault in [Fault::Cut, Fault::LoseReplies, Fault::Hold] {
        let round = format!("{change:?}-{fault:?}");
        let scenes = Scene::all(&round);
        stage.world.banks[1].proxy.set(fault);
        for scene in &scenes {
            stage
                .submit(&scene.key, scene.steps.clone(), "accepted")
                .await?;
        }
        for scene in &scenes {
            stage.go_halfway(scene).await?;
            stage.by_hand(scene, scene.before.as_ref()).await?;
        }
        let former = stage.change(change).await?;
        for scene in &scenes {
            let status = stage.status(&scene.key).await?;
            ensure!(status["state"] != "closed", "{}: {status}", scene.key);
        }
        stage.desk.let_go(&round);
        stage.world.banks[1].proxy.set(Fault::None);
        for scene in &scenes {
            stage.by_hand(scene, scene.after.as_ref()).await?;
        }
        for scene in &scenes {
            stage
                .check_scene(scene)
                .await
                .with_context(|| stage.world.logs())?;
        }
        stage.world.settle().await?;
        for (scene, sums) in scenes.iter().zip(stage.sums(&scenes).await?) {
            ensure!(sums == scene.sums, "{}: {sums:?} at the banks", scene.key);
        }
        if let Some(mut former) = former {
            stage.wake(&mut former, &scenes).await?;
        }
        println!("{round}: {} scenes", scenes.len());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scene_goes_on_after_a_restart() -> anyhow::Result<()> {
    every_scene_goes_on_after(Change::Restart, JournalKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scene_goes_on_under_another_coordinator() -> anyhow::Result<()> {
    every_scene_goes_on_after(Change::Killed, JournalKind::Postgres).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scene_goes_on_while_its_former_owner_sleeps() -> anyhow::Result<()> {
    every_scene_goes_on_after(Change::Frozen, JournalKind::Postgres).await
}
