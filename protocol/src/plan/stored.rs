//! The form in which a plan is stored: that of a request, with nothing left to look up.

use super::action::{Action, Compensation, Endpoint, Retry, Task};
use super::request::{
    ActionRequest, BranchRequest, Class, EndpointRequest, GroupRequest, MessageRequest, Method,
    PlanRequest, RetryRequest, StepRequest,
};
use super::steps::{Branch, Message, Plan, Work};

use serde::Deserialize;

/// A plan that a record holds. It was checked when it was new.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct StoredPlan(pub(super) PlanRequest);

impl From<Plan> for PlanRequest {
    fn from(plan: Plan) -> Self {
        let name_of = |at: &usize| {
            plan.steps
                .get(*at)
                .map(|step| step.name.as_str().to_owned())
        };
        let steps = plan.steps.iter().map(|step| {
            let mut request = StepRequest {
                name: step.name.as_str().to_owned(),
                after: step.after.iter().filter_map(name_of).collect(),
                ..StepRequest::default()
            };
            match &step.work {
                Work::Group(group) => {
                    let branches = group.branches.iter().map(BranchRequest::from).collect();
                    let timeout_ms = group.timeout_ms;
                    request.group = Some(GroupRequest { branches, timeout_ms });
                }
                Work::Action(action) => {
                    request.class = Some(step.class);
                    request.action = Some(ActionRequest::from(action.as_ref()));
                }
                Work::Message(message) => request.message = Some(MessageRequest::from(message)),
            }
            request
        });
        Self { steps: Some(steps.collect()), branches: None }
    }
}

impl From<&Branch> for BranchRequest {
    fn from(branch: &Branch) -> Self {
        Self {
            name: branch.name.as_str().to_owned(),
            participant: branch.participant.as_str().to_owned(),
            operation: branch.operation.as_str().to_owned(),
            payload: branch.payload.text().clone(),
            mode: branch.mode,
        }
    }
}

impl From<&Message> for MessageRequest {
    fn from(message: &Message) -> Self {
        let to = message.targets.iter().map(ActionRequest::from).collect();
        let delay_ms = (message.delay_ms > 0).then_some(message.delay_ms);
        Self { to, delay_ms }
    }
}

impl From<&Action> for ActionRequest {
    fn from(action: &Action) -> Self {
        let (operation, payload, act) = match &action.act {
            Task::Operation { operation, payload } => {
                let operation = operation.as_str().to_owned();
                (Some(operation), Some(payload.text().clone()), None)
            }
            Task::Endpoint(endpoint) => (None, None, Some(endpoint.into())),
        };
        let compensate = match &action.compensation {
            Compensation::Endpoint(endpoint) => Some(endpoint.into()),
            Compensation::Operation | Compensation::Nothing => None,
        };
        let nothing = action.compensation == Compensation::Nothing;
        Self {
            participant: action.participant.as_str().to_owned(),
            operation,
            payload,
            act,
            compensate,
            without_compensation: nothing && action.class == Class::Compensatable,
            timeout_ms: action.timeout_ms,
            deadline_ms: action.deadline_ms,
            retry: stored(action.retry, Retry::ACT),
            compensate_retry: stored(action.compensate_retry, Retry::COMPENSATE),
        }
    }
}

impl From<&Endpoint> for EndpointRequest {
    fn from(endpoint: &Endpoint) -> Self {
        let listed = |statuses: &Vec<u16>| (!statuses.is_empty()).then(|| statuses.clone());
        Self {
            method: (endpoint.method != Method::Post).then_some(endpoint.method),
            path: endpoint.path.text().to_owned(),
            headers: endpoint.headers.iter().cloned().collect(),
            body: endpoint.body.as_ref().map(|body| body.text().clone()),
            done: listed(&endpoint.done),
            refused: listed(&endpoint.refused),
        }
    }
}

fn stored(retry: Retry, unasked: Retry) -> Option<RetryRequest> {
    (retry != unasked).then(|| RetryRequest {
        pause_ms: Some(retry.pause_ms),
        pause_ms_max: Some(retry.pause_ms_max),
        attempts: Some(retry.attempts.unwrap_or_default()),
    })
}
