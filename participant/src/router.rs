//! The participant contract over HTTP.
//!
//! Status 200 carries an answer. Every other status carries a problem and says that nothing is
//! known: 4xx where the call itself is at fault and nothing was begun, 503 where the database could
//! not be relied on.

use std::net::SocketAddr;
use std::sync::Arc;

use accordant_protocol::id::{BranchIndex, ParticipantName, Traceparent};
use accordant_protocol::json::Json;
use accordant_protocol::limits::{
    CALL_BYTES_MAX, FINISH_ORDERS_MAX, PAYLOAD_BYTES_MAX, RESULT_BYTES_MAX,
};
use accordant_protocol::plan::Mode;
use accordant_protocol::wire::contract::{
    ACT_PATH, ActCall, FINISH_PATH, FinishCall, PREPARE_PATH, PrepareCall,
};
use accordant_protocol::wire::problem::{MEDIA_TYPE, Problem, ProblemCode};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{Instrument as _, info_span, warn};

use crate::act;
use crate::bounds;
use crate::engine::{Engine, Unanswered};
use crate::finish;
use crate::prepare;
use crate::tcc;

pub(crate) fn router(engine: Arc<Engine>) -> Router {
    let (prepares, finishes) = (Arc::clone(&engine.prepares), Arc::clone(&engine.finishes));
    let acts = Arc::clone(&engine.acts);
    Router::new()
        .route(
            PREPARE_PATH,
            post(prepare_call).layer(middleware::from_fn_with_state(prepares, bound)),
        )
        .route(
            FINISH_PATH,
            post(finish_call).layer(middleware::from_fn_with_state(finishes, bound)),
        )
        .route(
            ACT_PATH,
            post(act_call).layer(middleware::from_fn_with_state(acts, bound)),
        )
        .method_not_allowed_fallback(async || {
            problem(Problem::new(ProblemCode::Method, "this path takes POST"))
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&engine), admit))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
        .with_state(engine)
}

/// Until calls are authenticated, only callers on this machine are let in, unless the service has
/// said otherwise. A caller whose address is not known is not on this machine.
async fn admit(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let local =
        caller.is_some_and(|ConnectInfo(address)| address.ip().to_canonical().is_loopback());
    if !engine.settings.insecure && !local {
        let detail = "calls are not authenticated yet, so only callers on the loopback interface \
            are let in; build the participant with `insecure(true)` to open it, or, if the caller \
            is local, serve with `into_make_service_with_connect_info::<SocketAddr>()` or \
            `Participant::serve`";
        let refusal = Problem { status: 403, ..Problem::new(ProblemCode::Invalid, detail) };
        return problem(refusal);
    }
    if engine.closing.is_cancelled() {
        let detail = "the participant is shutting down; nothing was begun";
        return problem(Problem::new(ProblemCode::Draining, detail));
    }
    next.run(request).await
}

/// A place among the calls of one kind that are answered. The work keeps it, and may go on for
/// longer than the caller waits.
#[derive(Clone)]
struct Place(
    #[expect(dead_code, reason = "its end gives the place back")] Arc<OwnedSemaphorePermit>,
);

async fn bound(State(calls): State<Arc<Semaphore>>, mut request: Request, next: Next) -> Response {
    let Ok(permit) = calls.try_acquire_owned() else {
        let detail = "too many calls are being answered; nothing was begun";
        return problem(Problem::new(ProblemCode::Overloaded, detail));
    };
    request.extensions_mut().insert(Place(Arc::new(permit)));
    next.run(request).await
}

async fn prepare_call(
    State(engine): State<Arc<Engine>>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let call: PrepareCall = match parse(&headers, body) {
        Ok(call) => call,
        Err(refusal) => return problem(refusal),
    };
    if let Err(refusal) = check_prepare(&engine, &call) {
        return problem(refusal);
    }
    let span = info_span!(
        "branch.prepare",
        gtid = %call.gtid,
        branch = %call.branch,
        attempt = %call.attempt,
        epoch = %call.epoch,
        operation = call.operation.as_str(),
        traceparent = traceparent(&headers),
    );
    let working = Arc::clone(&engine);
    let work = async move {
        match call.mode {
            Mode::Tcc => tcc::reserve(&working, &call).await,
            Mode::TwoPhase | Mode::Local => prepare::prepare(&working, &call).await,
        }
    };
    at_work(&engine, place, work.instrument(span)).await
}

async fn act_call(
    State(engine): State<Arc<Engine>>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let call: ActCall = match parse(&headers, body) {
        Ok(call) => call,
        Err(refusal) => return problem(refusal),
    };
    if let Err(refusal) = check_act(&engine, &call) {
        return problem(refusal);
    }
    let span = info_span!(
        "branch.act",
        gtid = %call.gtid,
        branch = %call.branch,
        verb = call.verb.word(),
        attempt = %call.attempt,
        epoch = %call.epoch,
        operation = call.operation.as_str(),
        traceparent = traceparent(&headers),
    );
    let working = Arc::clone(&engine);
    let work = async move { act::act(&working, &call).await };
    at_work(&engine, place, work.instrument(span)).await
}

async fn finish_call(
    State(engine): State<Arc<Engine>>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let call: FinishCall = match parse(&headers, body) {
        Ok(call) => call,
        Err(refusal) => return problem(refusal),
    };
    if let Err(refusal) = check_finish(&engine, &call) {
        return problem(refusal);
    }
    let orders = call.orders.len();
    let span = info_span!("branch.finish", orders, traceparent = traceparent(&headers));
    let working = Arc::clone(&engine);
    let work = async move { finish::finish(&working, &call.orders).await };
    at_work(&engine, place, work.instrument(span)).await
}

/// Works in a task of its own, which keeps the place: it goes on when the caller hangs up.
async fn at_work<F, R>(engine: &Engine, place: Place, work: F) -> Response
where
    F: Future<Output = Result<R, Unanswered>> + Send + 'static,
    R: Serialize + Send + 'static,
{
    let task = async move {
        let _place = place;
        work.await
    };
    let done = engine.tasks.spawn(task).await;
    answer(done.unwrap_or(Err(Unanswered::Task)))
}

fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    Traceparent::new(text).ok().map(|_| text)
}

fn parse<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Problem> {
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = media
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if !media.is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(
            ProblemCode::MediaType,
            "send `content-type: application/json`",
        ));
    }
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("a call may have {CALL_BYTES_MAX} bytes");
            Problem::new(ProblemCode::TooLarge, detail)
        } else {
            Problem::new(ProblemCode::Malformed, rejection.body_text())
        }
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(ProblemCode::Malformed, error.to_string()))
}

fn check_prepare(engine: &Engine, call: &PrepareCall) -> Result<(), Problem> {
    check_name(engine, &call.participant)?;
    check_branch(call.branch)?;
    let impossible = match call.mode {
        Mode::Local => Some("mode: a local branch is not prepared; its service commits it"),
        Mode::Tcc if call.one_phase => Some("one_phase: a TCC branch has two"),
        Mode::Tcc | Mode::TwoPhase => None,
    };
    if let Some(detail) = impossible {
        return Err(Problem::new(ProblemCode::Invalid, detail));
    }
    check_size("payload", &call.payload, PAYLOAD_BYTES_MAX)
}

fn check_act(engine: &Engine, call: &ActCall) -> Result<(), Problem> {
    check_name(engine, &call.participant)?;
    check_branch(call.branch)?;
    check_size("payload", &call.payload, PAYLOAD_BYTES_MAX)?;
    match &call.result {
        Some(result) => check_size("result", result, RESULT_BYTES_MAX),
        None => Ok(()),
    }
}

fn check_size(field: &str, value: &Json, bytes_max: usize) -> Result<(), Problem> {
    bounds::of_size(field, value, bytes_max)
        .map_err(|detail| Problem::new(ProblemCode::TooLarge, detail))
}

/// An order whose values are out of bounds is not looked for here: the others are to be carried out
/// all the same.
fn check_finish(engine: &Engine, call: &FinishCall) -> Result<(), Problem> {
    check_name(engine, &call.participant)?;
    let count = call.orders.len();
    if count > FINISH_ORDERS_MAX {
        let detail = format!("orders: there are {count}; at most {FINISH_ORDERS_MAX} may be");
        return Err(Problem::new(ProblemCode::Invalid, detail));
    }
    call.orders
        .iter()
        .try_for_each(bounds::of_form)
        .map_err(|detail| Problem::new(ProblemCode::Invalid, detail))
}

fn check_name(engine: &Engine, meant: &ParticipantName) -> Result<(), Problem> {
    if *meant == engine.name {
        return Ok(());
    }
    let detail = format!(
        "this is participant {}, and the call is for {meant}",
        engine.name
    );
    Err(Problem { status: 421, ..Problem::new(ProblemCode::Invalid, detail) })
}

fn check_branch(branch: BranchIndex) -> Result<(), Problem> {
    bounds::of_branch(branch).map_err(|detail| Problem::new(ProblemCode::Invalid, detail))
}

fn answer<T: Serialize>(answered: Result<T, Unanswered>) -> Response {
    let unanswered = match answered {
        Ok(reply) => return json(StatusCode::OK, "application/json", &reply),
        Err(unanswered) => unanswered,
    };
    warn!(error = %Chain(&unanswered), "a call could not be answered");
    let code = match &unanswered {
        Unanswered::Expired => ProblemCode::Expired,
        Unanswered::Lease(_)
        | Unanswered::Database(_)
        | Unanswered::Timeout
        | Unanswered::Standby
        | Unanswered::Corrupt(_)
        | Unanswered::Task => ProblemCode::Unknown,
    };
    problem(Problem::new(code, unanswered.to_string()))
}

/// An error with its causes, for a log. Connection strings are in none of them.
struct Chain<'a>(&'a Unanswered);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

fn problem(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, MEDIA_TYPE, &problem);
    if matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json(status: StatusCode, media: &'static str, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (
            status,
            [(header::CONTENT_TYPE, HeaderValue::from_static(media))],
            bytes,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
