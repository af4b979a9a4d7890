//! What a service was asked and what it has said, written down by itself, one line each.
//!
//! The diary is kept around the service, at its HTTP door, so that it holds what has really come
//! and gone, and the service's own code knows nothing of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::json::Json;
use accordant_protocol::plan::Mode;
use accordant_protocol::wire::contract::{
    ACT_PATH, ActAnswer, ActCall, ActReply, BranchEnd, FINISH_PATH, FinishCall, FinishReply,
    PREPARE_PATH, PrepareCall, PrepareReply, Refusal, Vote,
};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use crate::clock;

/// Calls of the contract are not longer.
const CALL_BYTES_MAX: usize = 2 * 1024 * 1024;

/// One line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: f64,
    /// Which service.
    pub who: String,
    /// The transaction.
    pub gtid: String,
    /// The number of the branch or action, which ties the calls to it together.
    pub unit: String,
    /// Which of its operations, where the call says so.
    pub operation: String,
    /// What is asked for.
    pub verb: String,
    /// Which try.
    pub attempt: u32,
    /// What it says; empty where it has just been asked.
    pub said: String,
    /// The result, or why not.
    pub more: String,
}

/// The file of one service.
#[derive(Clone, Debug)]
pub struct Diary {
    who: String,
    file: Arc<File>,
}

impl Diary {
    /// Goes on where it was left.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(who: &str, path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { who: who.to_owned(), file: Arc::new(file) })
    }

    /// Adds a line.
    pub fn write(&self, entry: Entry) {
        let entry = Entry { at_ms: clock::now_ms(), who: self.who.clone(), ..entry };
        let line = serde_json::to_string(&entry).map(|line| line + "\n");
        let written = line.map_err(io::Error::from);
        // One write, so that lines of several requests do not mix.
        let written = written.and_then(|line| (&*self.file).write_all(line.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(%error, "the diary has a gap");
        }
    }

    /// Writes down every call of the contract that comes to these routes, and its answer. A call
    /// has to wait a moment before it is worked on, as for a slow service.
    pub fn around(self, router: Router, work: Duration) -> Router {
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            self.clone().pass(request, next, work)
        }))
    }

    async fn pass(self, request: Request, next: Next, work: Duration) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(bytes) = to_bytes(body, CALL_BYTES_MAX).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let call = Call::read(parts.uri.path(), &bytes);
        for entry in call.iter().flat_map(Call::asked) {
            self.write(entry);
        }
        let request = Request::from_parts(parts, Body::from(bytes));
        // A task of its own: what is begun is ended although the caller may be dead by then.
        let task = tokio::spawn(async move {
            tokio::time::sleep(work).await;
            let (parts, body) = next.run(request).await.into_parts();
            let Ok(bytes) = to_bytes(body, CALL_BYTES_MAX).await else {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            };
            for entry in call.iter().flat_map(|call| call.said(&bytes)) {
                self.write(entry);
            }
            Response::from_parts(parts, Body::from(bytes))
        });
        let failed = |_| StatusCode::INTERNAL_SERVER_ERROR.into_response();
        task.await.unwrap_or_else(failed)
    }
}

/// Everything that these files hold, in the order in which it happened.
///
/// # Errors
/// If one cannot be read.
pub fn read<P: AsRef<Path>>(paths: &[P]) -> io::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for path in paths {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // The last line may be on its way.
        let whole = text.lines().filter_map(|it| serde_json::from_str(it).ok());
        entries.extend(whole);
    }
    entries.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    Ok(entries)
}

/// A call of the contract.
enum Call {
    Prepare(PrepareCall),
    Finish(FinishCall),
    Act(ActCall),
}

impl Call {
    fn read(path: &str, body: &Bytes) -> Option<Self> {
        match path {
            PREPARE_PATH => serde_json::from_slice(body).ok().map(Self::Prepare),
            FINISH_PATH => serde_json::from_slice(body).ok().map(Self::Finish),
            ACT_PATH => serde_json::from_slice(body).ok().map(Self::Act),
            _ => None,
        }
    }

    fn asked(&self) -> Vec<Entry> {
        match self {
            Self::Prepare(call) => vec![Entry {
                gtid: call.gtid.to_string(),
                unit: call.branch.to_string(),
                operation: call.operation.to_string(),
                verb: prepare_verb(call).to_owned(),
                attempt: call.attempt.0,
                ..Entry::default()
            }],
            Self::Finish(call) => call
                .orders
                .iter()
                .map(|order| Entry {
                    gtid: order.gtid.to_string(),
                    unit: order.branch.to_string(),
                    verb: order.verb.word().to_owned(),
                    attempt: order.attempt.0,
                    ..Entry::default()
                })
                .collect(),
            Self::Act(call) => vec![Entry {
                gtid: call.gtid.to_string(),
                unit: call.branch.to_string(),
                operation: call.operation.to_string(),
                verb: call.verb.word().to_owned(),
                attempt: call.attempt.0,
                ..Entry::default()
            }],
        }
    }

    fn said(&self, body: &Bytes) -> Vec<Entry> {
        let words: Vec<(String, String)> = match self {
            Self::Prepare(_) => {
                let reply = serde_json::from_slice::<PrepareReply>(body).ok();
                reply.iter().map(|reply| vote(&reply.vote)).collect()
            }
            Self::Act(_) => {
                let reply = serde_json::from_slice::<ActReply>(body).ok();
                reply.iter().map(|reply| acted(&reply.answer)).collect()
            }
            Self::Finish(call) => {
                let reply = serde_json::from_slice::<FinishReply>(body).ok();
                let answers = reply.map(|reply| reply.answers).unwrap_or_default();
                let ends = call.orders.iter().filter_map(|order| {
                    answers
                        .iter()
                        .find(|it| it.gtid == order.gtid && it.branch == order.branch)
                });
                ends.map(|answer| ended(&answer.end)).collect()
            }
        };
        let asked = self.asked().into_iter().zip(words);
        let said = asked.map(|(entry, (said, more))| Entry { said, more, ..entry });
        said.collect()
    }
}

fn prepare_verb(call: &PrepareCall) -> &'static str {
    match (call.mode, call.one_phase) {
        (Mode::Tcc, _) => "try",
        (Mode::TwoPhase | Mode::Local, true) => "commit_one_phase",
        (Mode::TwoPhase | Mode::Local, false) => "prepare",
    }
}

fn vote(vote: &Vote) -> (String, String) {
    let more = match vote {
        Vote::Yes { result } | Vote::ReadOnly { result } | Vote::Committed { result } => {
            of_result(result.as_ref())
        }
        Vote::No { refusal } => of_refusal(refusal),
        Vote::RetryLater { reason } => reason.clone(),
        Vote::InProgress | _ => String::new(),
    };
    (vote.word().to_owned(), more)
}

fn acted(answer: &ActAnswer) -> (String, String) {
    let more = match answer {
        ActAnswer::Done { result } => of_result(result.as_ref()),
        ActAnswer::Refused { refusal } => of_refusal(refusal),
        ActAnswer::RetryLater { reason } => reason.clone(),
        ActAnswer::InProgress { .. } | _ => String::new(),
    };
    (answer.word().to_owned(), more)
}

fn ended(end: &BranchEnd) -> (String, String) {
    let more = match end {
        BranchEnd::Committed { result } => of_result(result.as_ref()),
        BranchEnd::RetryLater { reason } => reason.clone(),
        BranchEnd::Aborted | BranchEnd::InProgress | _ => String::new(),
    };
    (end.word().to_owned(), more)
}

fn of_result(result: Option<&Json>) -> String {
    let text = result.map_or("", Json::text);
    if text == "null" {
        String::new()
    } else {
        text.to_owned()
    }
}

fn of_refusal(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.code, refusal.detail)
}
