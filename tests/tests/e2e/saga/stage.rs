//! The world of the sagas: the banks' world, and a desk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bank::BankOptions;
use crate::http;
use crate::world::{JournalKind, World};

use super::desk::{DESK, Desk};
use super::trip::{Form, Trip};

/// Everything.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) desk: Desk,
    pub(crate) traveller: Traveller,
}

/// A client that remembers what it has asked for.
#[derive(Clone)]
pub(crate) struct Traveller {
    url: Arc<Mutex<String>>,
    pub(crate) trips: Arc<Mutex<Vec<Trip>>>,
    next: Arc<AtomicU64>,
}

impl Stage {
    pub(crate) async fn start(journal: JournalKind) -> anyhow::Result<Self> {
        let desk = Desk::start().await?;
        let plain = vec![(DESK.to_owned(), desk.url())];
        let world = World::with(journal, BankOptions { plain, ..BankOptions::default() }).await?;
        let traveller = Traveller {
            url: Arc::new(Mutex::new(world.url())),
            trips: Arc::default(),
            next: Arc::default(),
        };
        Ok(Self { world, desk, traveller })
    }

    /// Asks for a plan of its own and waits for its end.
    pub(crate) async fn play(&self, key: &str, steps: Value) -> anyhow::Result<Value> {
        self.submit(key, steps, "completed").await
    }

    pub(crate) async fn submit(
        &self,
        key: &str,
        steps: Value,
        wait: &str,
    ) -> anyhow::Result<Value> {
        let reply = self.traveller.ask(key, steps, wait).await?;
        ensure!(reply.status < 300, "{}: {}", reply.status, reply.text);
        reply.json()
    }

    pub(crate) async fn status(&self, key: &str) -> anyhow::Result<Value> {
        let url = format!("{}/v1/transactions/by-key/{key}", self.world.url());
        http::get(&url).await?.json()
    }

    /// Waits until something is so of a transaction.
    pub(crate) async fn until(
        &self,
        key: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let seen = Mutex::new(Value::Null);
        let waited = self
            .world
            .until(what, Duration::from_secs(15), async |_| {
                let status = self.status(key).await?;
                let so = is_so(&status);
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = status;
                Ok(so)
            })
            .await;
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        waited.with_context(|| format!("{key}: {seen}"))?;
        Ok(seen)
    }

    /// A path at the desk that says what is to happen there.
    pub(crate) fn path(key: &str, step: &str, verb: &str, how: &str) -> String {
        format!("/{key}/{step}/{verb}/{how}")
    }

    /// A plain compensatable action at the desk.
    pub(crate) fn plain(key: &str, step: &str, act: &str, compensate: &str) -> Value {
        json!({"participant": "desk",
            "act": {"path": Self::path(key, step, "act", act)},
            "compensate": {"path": Self::path(key, step, "compensate", compensate)},
            "retry": {"pause_ms": 20, "pause_ms_max": 100},
            "compensate_retry": {"pause_ms": 20, "pause_ms_max": 100, "attempts": 2}})
    }

    /// An action at a bank by the contract, made good however long that takes.
    pub(crate) fn bank(key: &str, bank: &str, operation: &str, number: i64, more: Value) -> Value {
        let mut action = json!({"participant": bank, "operation": operation,
            "payload": {"transfer": key, "account": number, "cents": 0},
            "retry": {"pause_ms": 20, "pause_ms_max": 100},
            "compensate_retry": {"pause_ms": 20, "pause_ms_max": 100, "attempts": 0}});
        if let (Some(all), Value::Object(more)) = (action.as_object_mut(), more) {
            all.extend(more);
        }
        action
    }
}

impl Traveller {
    /// The coordinator is elsewhere now.
    pub(crate) fn turn_to(&self, url: &str) {
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url.to_owned();
    }

    pub(crate) async fn ask(
        &self,
        key: &str,
        steps: Value,
        wait: &str,
    ) -> anyhow::Result<http::Reply> {
        let url = self
            .url
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let body = json!({"steps": steps, "wait": wait, "timeout_ms": 20_000}).to_string();
        let url = format!("{url}/v1/transactions");
        http::post_with(&url, body, &[("idempotency-key", key)]).await
    }

    /// How many trips were asked for.
    pub(crate) fn count(&self) -> usize {
        self.trips
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Sets out on a trip of some form. Whether anybody answered is another matter.
    pub(crate) async fn some(&self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let forms = Form::ALL.len() as u64;
        let form = Form::ALL[usize::try_from(number % forms)?];
        let trip = Trip { key: format!("trip-{number}"), form };
        let steps = trip.steps();
        let key = trip.key.clone();
        self.trips
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(trip);
        let reply = self.ask(&key, steps, "decided").await;
        if let Ok(reply) = reply {
            ensure!(
                reply.status < 300 || reply.status >= 429,
                "{key}: {}: {}",
                reply.status,
                reply.text
            );
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Clients that travel until they are told to stop.
pub(crate) struct Travellers {
    stop: Arc<AtomicBool>,
    working: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Travellers {
    pub(crate) fn start(traveller: &Traveller, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let working = (0..count).map(|_| {
            let (traveller, stopped) = (traveller.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    traveller.some().await?;
                }
                Ok(())
            })
        });
        let working = working.collect();
        Self { stop, working }
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.working {
            client.await??;
        }
        Ok(())
    }
}
