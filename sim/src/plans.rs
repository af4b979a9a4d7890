//! Plans of every kind, put together step by step. Each branch and action is called by its number, so
//! that a story names it as the other stories do.

use accordant_protocol::json::Json;
use accordant_protocol::limits::TIMEOUT_MS_MAX;
use accordant_protocol::plan::{
    ActionRequest, BranchRequest, Class, EndpointRequest, GroupRequest, MessageRequest, Mode,
    PlanRequest, RetryRequest, StepRequest,
};

use crate::world::NAMES;

/// The name of the step that holds the group.
pub const GROUP: &str = "group";

/// A plan in the making.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    steps: Vec<StepRequest>,
    units: usize,
}

impl Sketch {
    /// An action by the contract.
    #[must_use]
    pub fn contract(self, after: &[&str]) -> Self {
        self.action(after, None, |it| it.operation = Some("work".to_owned()))
    }

    /// One that is called with the result of another.
    #[must_use]
    pub fn contract_with(self, of: &str, after: &[&str]) -> Self {
        let payload = Json::from_text(format!(r#"{{"of":{{"$result":"{of}"}}}}"#));
        self.action(after, None, |it| {
            it.operation = Some("work".to_owned());
            it.payload = payload.ok();
        })
    }

    /// An action at a plain service, with a compensation there.
    #[must_use]
    pub fn plain(self, after: &[&str]) -> Self {
        self.action(after, None, |it| {
            it.act = Some(endpoint("/do"));
            it.compensate = Some(endpoint("/undo"));
        })
    }

    /// A pivot or a retriable action at a plain service.
    #[must_use]
    pub fn plain_only(self, class: Class, after: &[&str]) -> Self {
        self.action(after, Some(class), |it| it.act = Some(endpoint("/do")))
    }

    /// A pivot or a retriable action by the contract.
    #[must_use]
    pub fn contract_only(self, class: Class, after: &[&str]) -> Self {
        self.action(after, Some(class), |it| {
            it.operation = Some("work".to_owned())
        })
    }

    /// The last action, with so many attempts to act and to be made good; nothing is said of the latter
    /// with none.
    #[must_use]
    pub fn attempts(mut self, act: u32, compensate: u32) -> Self {
        let action = self.steps.last_mut().and_then(|it| it.action.as_mut());
        if let Some(action) = action {
            let retry =
                |attempts| RetryRequest { attempts: Some(attempts), ..RetryRequest::default() };
            action.retry = Some(retry(act));
            action.compensate_retry = (compensate > 0).then(|| retry(compensate));
        }
        self
    }

    /// An atomic group.
    #[must_use]
    pub fn group(self, modes: &[Mode], after: &[&str]) -> Self {
        // As long as the plan's, so that time is over for both at once.
        self.group_within(TIMEOUT_MS_MAX, modes, after)
    }

    /// One with a time of its own to vote in.
    #[must_use]
    pub fn group_within(mut self, timeout_ms: u64, modes: &[Mode], after: &[&str]) -> Self {
        let branches = modes.iter().map(|mode| {
            let (name, participant) = self.unit();
            let (operation, payload) = ("work".to_owned(), Json::null());
            BranchRequest { name, participant, operation, payload, mode: *mode }
        });
        let branches = branches.collect();
        let local = modes.contains(&Mode::Local);
        let timeout_ms = (!local && !after.is_empty()).then_some(timeout_ms);
        let group = Some(GroupRequest { branches, timeout_ms });
        self.step(GROUP, after, |it| it.group = group)
    }

    /// A message to so many targets.
    #[must_use]
    pub fn message(mut self, targets: usize, delay_ms: Option<u64>, after: &[&str]) -> Self {
        let targets: Vec<_> = (0..targets).map(|_| self.unit()).collect();
        let name = targets
            .first()
            .map(|(name, _)| name.clone())
            .unwrap_or_default();
        let to = targets.into_iter().map(|(_, participant)| ActionRequest {
            participant,
            operation: Some("work".to_owned()),
            ..ActionRequest::default()
        });
        let message = Some(MessageRequest { to: to.collect(), delay_ms });
        self.step(&name, after, |it| it.message = message)
    }

    /// The plan.
    #[must_use]
    pub fn plan(self) -> PlanRequest {
        PlanRequest { steps: Some(self.steps), branches: None }
    }

    fn action(
        mut self,
        after: &[&str],
        class: Option<Class>,
        fill: impl FnOnce(&mut ActionRequest),
    ) -> Self {
        let (name, participant) = self.unit();
        let mut action = ActionRequest { participant, ..ActionRequest::default() };
        fill(&mut action);
        self.step(&name, after, |it| {
            it.class = class;
            it.action = Some(action);
        })
    }

    fn step(mut self, name: &str, after: &[&str], fill: impl FnOnce(&mut StepRequest)) -> Self {
        let after = after.iter().map(|it| (*it).to_owned()).collect();
        let mut step = StepRequest { name: name.to_owned(), after, ..StepRequest::default() };
        fill(&mut step);
        self.steps.push(step);
        self
    }

    fn unit(&mut self) -> (String, String) {
        let (name, participant) = NAMES.get(self.units).copied().unwrap_or(("?", "?"));
        self.units += 1;
        (name.to_owned(), participant.to_owned())
    }
}

fn endpoint(path: &str) -> EndpointRequest {
    EndpointRequest { path: path.to_owned(), ..EndpointRequest::default() }
}
