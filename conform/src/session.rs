//! One check at work: its calls, and what it has begun.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accordant_protocol::id::{BranchIndex, Gtid, OperationName, PartitionId};
use accordant_protocol::json::Json;
use accordant_protocol::limits::CALL_BYTES_MAX;
use accordant_protocol::plan::Mode;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::check::{Exchange, Stop, Verdict, ensure, fail, skip};
use crate::clock::Stopwatch;
use crate::http::{Http, Request, Response, Silence, describe, exchange};
use crate::limits::{EXCHANGES_MAX, PAUSE_MAX, PAUSE_MIN, STATE_BYTES_MAX};
use crate::options::Options;
use crate::seed::Dice;
use crate::witness::Witness;

/// What a check works with.
pub(crate) struct Session<'a> {
    pub options: &'a Options,
    pub witness: &'a Witness,
    http: &'a Http,
    dice: Mutex<Dice>,
    log: Mutex<VecDeque<Exchange>>,
    begun: Mutex<Vec<Unit>>,
    ended: Mutex<BTreeSet<(Gtid, BranchIndex)>>,
    /// Acts at plain endpoints that are done, with their results, and those that were made good.
    plain: Mutex<BTreeMap<Gtid, Option<Json>>>,
    undone: Mutex<BTreeSet<Gtid>>,
    answered: AtomicBool,
}

/// An action or a branch that a check has begun, and that must not stay.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub gtid: Gtid,
    pub branch: BranchIndex,
    pub kind: Kind,
    pub operation: OperationName,
    pub payload: Json,
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Action,
    Branch(Mode),
}

/// What is known after a call.
#[derive(Clone, Debug)]
pub(crate) enum Heard<T> {
    Said(T),
    /// A status that says *ask again*, in words.
    Unknown(String),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        options: &'a Options,
        http: &'a Http,
        witness: &'a Witness,
        check: &str,
    ) -> Self {
        Self {
            options,
            witness,
            http,
            dice: Mutex::new(Dice::of(options.seed, check)),
            log: Mutex::default(),
            begun: Mutex::default(),
            ended: Mutex::default(),
            plain: Mutex::default(),
            undone: Mutex::default(),
            answered: AtomicBool::new(false),
        }
    }

    /// A fresh transaction.
    pub(crate) fn gtid(&self) -> Verdict<Gtid> {
        self.gtid_in(PartitionId(0))
    }

    pub(crate) fn gtid_in(&self, partition: PartitionId) -> Verdict<Gtid> {
        let gtid = locked(&self.dice).gtid(partition);
        gtid.map_or_else(|| skip("no id can be made: the clock is out of range"), Ok)
    }

    pub(crate) fn shuffle<T>(&self, things: &mut [T]) {
        locked(&self.dice).shuffle(things);
    }

    /// Remembers that a unit is about to begin.
    pub(crate) fn begin(&self, unit: Unit) {
        locked(&self.begun).push(unit);
    }

    /// Nothing of a unit is left to end.
    pub(crate) fn end(&self, gtid: Gtid, branch: BranchIndex) {
        locked(&self.ended).insert((gtid, branch));
    }

    /// It may have begun again.
    pub(crate) fn reopen(&self, gtid: Gtid, branch: BranchIndex) {
        locked(&self.ended).remove(&(gtid, branch));
    }

    /// What has begun and was not seen to end.
    pub(crate) fn open(&self) -> Vec<Unit> {
        let ended = locked(&self.ended);
        let begun = locked(&self.begun);
        let open = begun.iter();
        open.filter(|unit| !ended.contains(&(unit.gtid, unit.branch)))
            .cloned()
            .collect()
    }

    pub(crate) fn plain_done(&self, gtid: Gtid, result: Option<Json>) {
        locked(&self.plain).entry(gtid).or_insert(result);
    }

    pub(crate) fn plain_undone(&self, gtid: Gtid) {
        locked(&self.undone).insert(gtid);
    }

    /// What the act of a transaction returned.
    pub(crate) fn plain_result(&self, gtid: Gtid) -> Option<Json> {
        locked(&self.plain).get(&gtid).cloned().flatten()
    }

    /// Acts at plain endpoints that were not made good.
    pub(crate) fn plain_open(&self) -> Vec<Gtid> {
        let undone = locked(&self.undone);
        let done = locked(&self.plain);
        done.keys()
            .filter(|gtid| !undone.contains(gtid))
            .copied()
            .collect()
    }

    /// The last exchanges, oldest first.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        locked(&self.log).iter().cloned().collect()
    }

    /// Whether any call was answered, with whatever.
    pub(crate) fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends a request, whatever comes of it.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Silence> {
        let shown = request.clone();
        let response = self.http.send(request).await;
        if response.is_ok() {
            self.answered.store(true, Ordering::Relaxed);
        }
        let mut log = locked(&self.log);
        if log.len() == EXCHANGES_MAX {
            log.pop_front();
        }
        log.push_back(exchange(&shown, &response));
        response
    }

    /// Posts a body of the contract.
    pub(crate) async fn post(
        &self,
        path: &str,
        key: &str,
        media: &'static str,
        body: Bytes,
    ) -> Result<Response, Silence> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        if let Ok(value) = HeaderValue::from_str(key) {
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        self.send(Request {
            method: Method::POST,
            path: path.to_owned(),
            headers,
            body,
            reply_bytes_max: CALL_BYTES_MAX,
        })
        .await
    }

    /// Asks by the contract, and reads the reply.
    pub(crate) async fn ask<R: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        call: &(impl Serialize + Sync),
    ) -> Verdict<Heard<R>> {
        let body = match serde_json::to_vec(call) {
            Ok(body) => Bytes::from(body),
            Err(error) => return skip(format!("the call cannot be written: {error}")),
        };
        let response = self.post(path, key, JSON, body).await;
        let response = response.map_err(|silence| unanswered(&silence))?;
        if asks_again(response.status) {
            return Ok(Heard::Unknown(describe(&response)));
        }
        if response.status != StatusCode::OK {
            return fail("HTTP 200 with a reply", describe(&response));
        }
        match serde_json::from_slice(&response.body) {
            Ok(reply) => Ok(Heard::Said(reply)),
            Err(error) => fail(
                "a reply of the contract's form",
                format!("{error}: {}", describe(&response)),
            ),
        }
    }

    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            since: Stopwatch::start(),
            patience: self.options.patience,
            pause: PAUSE_MIN,
        }
    }

    /// What the service's state looks like now. It could be seen when the run began.
    pub(crate) async fn state(&self) -> Verdict<Shown> {
        let Some(path) = &self.options.state else {
            return skip("without a look at the service's state (--state) no effect can be seen");
        };
        let response = self.send(look(path)).await;
        let response = response.map_err(|silence| unanswered(&silence))?;
        if response.status != StatusCode::OK {
            return fail(
                format!("HTTP 200 with the state at {path}"),
                describe(&response),
            );
        }
        Ok(Shown(String::from_utf8_lossy(&response.body).into_owned()))
    }
}

impl Session<'_> {
    /// Fails unless the service's state is what it was.
    pub(crate) async fn unchanged(&self, before: &Shown, what: &str) -> Verdict {
        let now = self.state().await?;
        ensure(
            now == *before,
            &format!("{what} leaves the state {before}"),
            || now.to_string(),
        )
    }
}

/// The request that shows the service's state.
pub(crate) fn look(path: &str) -> Request {
    Request {
        method: Method::GET,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        reply_bytes_max: STATE_BYTES_MAX,
    }
}

/// A service's state, as it shows it.
#[derive(Clone, Debug)]
pub(crate) struct Shown(String);

/// The order in which an object's members come says nothing.
impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text);
        match (value(&self.0), value(&other.0)) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            _ => self.0 == other.0,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) const JSON: &str = "application/json";

/// The statuses by which a service that is in order says that it cannot say.
pub(crate) fn asks_again(status: StatusCode) -> bool {
    [408, 425, 429, 502, 503, 504].contains(&status.as_u16())
}

pub(crate) fn unanswered(silence: &Silence) -> Stop {
    Stop::Failed {
        expected: "an answer".to_owned(),
        came: silence.to_string(),
        silent: true,
    }
}

/// The pauses before a question is asked again.
pub(crate) struct Waiting {
    since: Stopwatch,
    patience: Duration,
    pause: Duration,
}

impl Waiting {
    /// Pauses; fails if it has been long enough.
    pub(crate) async fn pause(&mut self, last: &str) -> Verdict {
        if self.since.elapsed() > self.patience {
            let ms = self.patience.as_millis();
            return fail(
                format!("an answer that settles something within {ms} ms"),
                format!("still: {last}"),
            );
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_the_same_whatever_the_order_of_its_members() {
        let shown = |text: &str| Shown(text.to_owned());
        assert_eq!(
            shown(r#"{"a":1,"b":[2,3]}"#),
            shown(r#"{ "b": [2, 3], "a": 1 }"#)
        );
        assert_ne!(shown(r#"{"a":1,"b":[2,3]}"#), shown(r#"{"a":1,"b":[3,2]}"#));
        assert_eq!(shown("three left"), shown("three left"));
        assert_ne!(shown("three left"), shown("two left"));
        assert_ne!(shown("3"), shown("three"));
    }
}
