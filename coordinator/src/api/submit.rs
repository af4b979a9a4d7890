//! `POST /v1/transactions`.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::Reply;
use accordant_protocol::id::{
    Fingerprint, Gtid, IdempotencyKey, ParticipantName, PartitionId, TenantName, Traceparent,
};
use accordant_protocol::limits::{
    SAGA_TIMEOUT_MS_DEFAULT, SAGA_TIMEOUT_MS_MAX, TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
};
use accordant_protocol::node::{Event, Submission, partition_of};
use accordant_protocol::plan::{
    Mode, Plan, PlanFault, PlanFaultCode, PlanFaults, PlanRequest, Work,
};
use accordant_protocol::wire::api::{
    IDEMPOTENCY_KEY_HEADER, Outcome, State, SubmitRequest, TransactionStatus, Wait,
};
use accordant_protocol::wire::problem::ProblemCode;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::body;
use super::problem::Refusal;
use super::read::{find, stored};
use crate::delivery::Registry;
use crate::driver::{AskError, Coordinator};
use crate::id;

/// The header that names the tenant. Until authentication exists it is taken at its word.
const TENANT_HEADER: &str = "accordant-tenant";
const TENANT_DEFAULT: &str = "default";

pub(super) async fn submit(
    Shared(coordinator): Shared<Arc<Coordinator>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let request = Checked::read(&headers, body, coordinator.registry())?;
    if let Some(code) = coordinator.refuses() {
        return Err(Refusal::from_reply(&Reply::Refused(code)));
    }
    // A repeat of a request that was taken is no new one, whoever was taken from the registry since.
    if !request.unregistered.is_empty() {
        let store = coordinator.journal().store();
        if store
            .find_key(&request.tenant, &request.key)
            .await?
            .is_none()
        {
            return Err(Refusal::invalid(request.unregistered));
        }
    }
    let wait = request.wait;
    let wait_max = coordinator.settings().wait_max;
    let (partition, fingerprint) = (request.partition(&coordinator), request.fingerprint);
    let (tenant, key) = (request.tenant.clone(), request.key.clone());
    let submission = request.into_submission(partition)?;
    let make = move |request| Event::Submitted(Box::new(Submission { request, ..submission }));
    match coordinator.ask(partition, wait_max, make).await {
        Ok(Reply::Status(status)) => Ok(respond(*status, wait)),
        Ok(Reply::KeyTaken { by }) => {
            let status = join(&coordinator, by, fingerprint, wait).await?;
            Ok(respond(status, wait))
        }
        Ok(reply) => Err(Refusal::from_reply(&reply)),
        // It may be under way: say how it stands, if it is durable.
        Err(AskError::Late) => {
            let gtid = coordinator
                .journal()
                .store()
                .find_key(&tenant, &key)
                .await?;
            let gtid = gtid.ok_or_else(|| Refusal::from(AskError::Late))?;
            Ok(respond(
                find(&coordinator, gtid, None, Duration::ZERO).await?,
                wait,
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// A request whose every part is of its form.
struct Checked {
    tenant: TenantName,
    key: IdempotencyKey,
    fingerprint: Fingerprint,
    plan: Plan,
    timeout_ms: u64,
    wait: Wait,
    traceparent: Option<Traceparent>,
    /// Participants that nobody knows: no new transaction is begun with them.
    unregistered: Vec<PlanFault>,
}

impl Checked {
    fn read(
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
        registry: &Registry,
    ) -> Result<Self, Refusal> {
        let key = idempotency_key(headers)?;
        let tenant = tenant(headers)?;
        let request: SubmitRequest = body::read(headers, body)?;
        let as_steps = request.steps.is_some();
        let mut faults = Vec::new();
        let plan = PlanRequest { steps: request.steps, branches: request.branches };
        let (unasked, most) = timeouts(&plan);
        let timeout_ms = check_timeout(request.timeout_ms, unasked, most).unwrap_or_else(|fault| {
            faults.push(fault);
            unasked
        });
        match Plan::try_from(plan) {
            Ok(plan) => {
                let unregistered = check_participants(&plan, registry, as_steps);
                if faults.is_empty() {
                    let fingerprint = fingerprint(&plan, timeout_ms)?;
                    let traceparent = traceparent(headers);
                    let wait = request.wait;
                    return Ok(Self {
                        tenant,
                        key,
                        fingerprint,
                        plan,
                        timeout_ms,
                        wait,
                        traceparent,
                        unregistered,
                    });
                }
                faults.extend(unregistered);
            }
            Err(PlanFaults(more)) => faults.extend(more),
        }
        Err(Refusal::invalid(faults))
    }

    fn partition(&self, coordinator: &Coordinator) -> PartitionId {
        let partitions = coordinator.journal().store().description().partitions;
        partition_of(&self.tenant, &self.key, partitions)
    }

    fn into_submission(self, partition: PartitionId) -> Result<Submission, Refusal> {
        let random = id::random_u128().map_err(|error| {
            tracing::error!(%error, "no transaction can be begun");
            Refusal::new(
                ProblemCode::Internal,
                "the system gave no random bits; nothing was begun",
            )
        })?;
        let Self {
            tenant,
            key,
            fingerprint,
            plan,
            timeout_ms,
            wait,
            traceparent,
            unregistered: _,
        } = self;
        Ok(Submission {
            request: accordant_protocol::effect::RequestId(0),
            partition,
            random,
            tenant,
            key,
            fingerprint,
            plan,
            timeout_ms,
            wait,
            traceparent,
        })
    }
}

/// What a plan gets unasked, and the most that it may ask for. Locks are held for an atomic group;
/// of a sender's local transaction, it is the time until it is looked for.
fn timeouts(plan: &PlanRequest) -> (u64, u64) {
    let steps = plan.steps.as_deref().unwrap_or_default();
    let groups = steps.iter().filter_map(|step| step.group.as_ref());
    let mut branches = groups.flat_map(|group| &group.branches);
    let atomic = match steps {
        [] => true,
        [only] => only.group.is_some(),
        _ => false,
    };
    if atomic {
        (TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX)
    } else if branches.any(|branch| branch.mode == Mode::Local) {
        (TIMEOUT_MS_DEFAULT, SAGA_TIMEOUT_MS_MAX)
    } else {
        (SAGA_TIMEOUT_MS_DEFAULT, SAGA_TIMEOUT_MS_MAX)
    }
}

fn check_timeout(timeout_ms: Option<i64>, unasked: u64, most: u64) -> Result<u64, PlanFault> {
    let given = timeout_ms.unwrap_or_else(|| i64::try_from(unasked).unwrap_or(i64::MAX));
    let range = TIMEOUT_MS_MIN..=most;
    u64::try_from(given)
        .ok()
        .filter(|ms| range.contains(ms))
        .ok_or_else(|| PlanFault {
            path: "timeout_ms".to_owned(),
            code: PlanFaultCode::Range,
            detail: format!("{given} is not between {TIMEOUT_MS_MIN} and {most}"),
        })
}

fn check_participants(plan: &Plan, registry: &Registry, as_steps: bool) -> Vec<PlanFault> {
    let named = plan.steps().iter().enumerate();
    let named = named.flat_map(|(at, step)| -> Vec<(String, &ParticipantName)> {
        match &step.work {
            Work::Group(group) => {
                let branches = group.branches.iter().enumerate();
                let path = |nr| match as_steps {
                    true => format!("steps[{at}].group.branches[{nr}].participant"),
                    false => format!("branches[{nr}].participant"),
                };
                let named = branches.map(|(nr, branch)| (path(nr), &branch.participant));
                named.collect()
            }
            Work::Action(action) => {
                vec![(
                    format!("steps[{at}].action.participant"),
                    &action.participant,
                )]
            }
            Work::Message(message) => {
                let path = |nr| format!("steps[{at}].message.to[{nr}].participant");
                let targets = message.targets.iter().enumerate();
                let named = targets.map(|(nr, target)| (path(nr), &target.participant));
                named.collect()
            }
        }
    });
    let unknown = named.filter(|(_, name)| !registry.contains(name));
    let fault = |(path, name): (String, &ParticipantName)| PlanFault {
        path,
        code: PlanFaultCode::Unknown,
        detail: format!("no participant is registered under the name {name}"),
    };
    unknown.map(fault).collect()
}

/// A digest of what is asked for. How long the client waits for the reply is not part of it.
fn fingerprint(plan: &Plan, timeout_ms: u64) -> Result<Fingerprint, Refusal> {
    let text = serde_json::to_vec(&(plan, timeout_ms)).map_err(|error| {
        Refusal::new(
            ProblemCode::Malformed,
            format!("the plan cannot be written down: {error}"),
        )
    })?;
    Ok(Fingerprint(Sha256::digest(text).into()))
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Refusal> {
    let refusal = |detail: String| Refusal::new(ProblemCode::IdempotencyKey, detail);
    if headers.get_all(IDEMPOTENCY_KEY_HEADER).iter().count() > 1 {
        return Err(refusal("the header is given more than once".to_owned()));
    }
    let value = headers.get(IDEMPOTENCY_KEY_HEADER).ok_or_else(|| {
        refusal("name the request in the Idempotency-Key header; a repeat under the same name finds the first".to_owned())
    })?;
    let text = value
        .to_str()
        .map_err(|_| refusal("visible ASCII characters are allowed".to_owned()))?;
    IdempotencyKey::new(text).map_err(|error| refusal(format!("the key {error}")))
}

pub(super) fn tenant(headers: &HeaderMap) -> Result<TenantName, Refusal> {
    let value = headers
        .get(TENANT_HEADER)
        .map_or(Ok(TENANT_DEFAULT), |value| value.to_str());
    let twice = headers.get_all(TENANT_HEADER).iter().count() > 1;
    let wrong = |detail: String| Refusal::field(TENANT_HEADER, PlanFaultCode::Form, detail);
    if twice {
        return Err(wrong("the header is given more than once".to_owned()));
    }
    let text = value.map_err(|_| wrong("visible ASCII characters are allowed".to_owned()))?;
    TenantName::new(text).map_err(|error| wrong(error.to_string()))
}

/// The client's trace, if it is one: the standard says to go on without a malformed one.
fn traceparent(headers: &HeaderMap) -> Option<Traceparent> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    Traceparent::new(value).ok()
}

/// The key belongs to a transaction that is not in memory, or was not when the request came.
async fn join(
    coordinator: &Coordinator,
    by: Gtid,
    fingerprint: Fingerprint,
    wait: Wait,
) -> Result<TransactionStatus, Refusal> {
    let history = stored(coordinator, by).await?;
    let same = history
        .and_then(|history| history.begun)
        .map(|it| it.fingerprint == fingerprint);
    match same {
        Some(true) => find(coordinator, by, Some(wait), coordinator.settings().wait_max).await,
        Some(false) => Err(Refusal::from_reply(&Reply::KeyReused { by })),
        None => Err(Refusal::from_reply(&Reply::Refused(ProblemCode::Unknown))),
    }
}

/// 200 if the transaction has come as far as was asked, 202 if it is still on its way.
fn respond(status: TransactionStatus, wait: Wait) -> Response {
    let reached = match wait {
        Wait::Accepted => false,
        Wait::Decided => status.outcome != Outcome::Pending,
        Wait::Completed => status.state == State::Closed,
    };
    let code = if reached {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = format!("/v1/transactions/{}", status.id);
    (code, [(header::LOCATION, location)], Json(status)).into_response()
}
