//! The whole plan.

use std::collections::BTreeSet;

use super::check::Check;
use super::fault::{PlanFaultCode, PlanFaults};
use super::graph::Graph;
use crate::id::{BranchIndex, BranchName, StepName};
use crate::limits::STEPS_MAX;
use crate::plan::request::{BranchRequest, GroupRequest, PlanRequest, StepRequest};
use crate::plan::stored::StoredPlan;
use crate::plan::{Plan, Step, Work};

/// Steps, and for each all that are done before it.
type Steps = (Vec<Step>, Vec<BTreeSet<usize>>);

/// The name of the step when a client gives branches only.
const ONLY_STEP: &str = "group";

impl TryFrom<PlanRequest> for Plan {
    type Error = PlanFaults;

    fn try_from(request: PlanRequest) -> Result<Self, PlanFaults> {
        Check::default().plan(request)
    }
}

impl TryFrom<StoredPlan> for Plan {
    type Error = PlanFaults;

    fn try_from(StoredPlan(request): StoredPlan) -> Result<Self, PlanFaults> {
        Check::of_stored().plan(request)
    }
}

impl Check {
    fn plan(mut self, request: PlanRequest) -> Result<Plan, PlanFaults> {
        let check = &mut self;
        let (steps, ancestors) = match (request.steps, request.branches) {
            (Some(steps), None) => check.steps(steps),
            (None, Some(branches)) => check.only_group(branches),
            (Some(_), Some(_)) => {
                check.fault(
                    "branches",
                    PlanFaultCode::Conflict,
                    "give either steps or branches",
                );
                Default::default()
            }
            (None, None) => {
                check.fault("branches", PlanFaultCode::Missing, "give steps or branches");
                Default::default()
            }
        };
        if !self.faults.is_empty() {
            return Err(PlanFaults(self.faults));
        }
        let referenced = steps.iter().flat_map(referenced_by).collect();
        Ok(Plan { steps, referenced, ancestors })
    }

    fn steps(&mut self, steps: Vec<StepRequest>) -> Steps {
        self.count("steps", steps.len(), STEPS_MAX);
        if steps.len() > STEPS_MAX {
            return Steps::default();
        }
        let mut names = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let path = format!("steps[{at}].name");
            names.push(self.unique_name::<StepName>(&path, &step.name));
            let branches = step.group.iter().flat_map(|group| &group.branches);
            for (branch_at, branch) in branches.enumerate() {
                let path = format!("steps[{at}].group.branches[{branch_at}].name");
                self.branch_name(&path, &branch.name);
            }
        }
        let graph = Graph::check(self, &steps);
        let mut checked = Vec::new();
        for ((at, step), name) in steps.into_iter().enumerate().zip(names) {
            let work = self.work(&format!("steps[{at}]"), at, step, &graph);
            let after = graph.after(at).to_vec();
            if let (Some(name), Some(work)) = (name, work) {
                checked.push(Step { name, after, class: graph.class(at), work });
            }
        }
        (checked, graph.into_ancestors())
    }

    /// Takes the name, so that nothing that comes later may have it.
    fn branch_name(&mut self, path: &str, name: &str) {
        let _name: Option<BranchName> = self.unique_name(path, name);
    }

    fn work(&mut self, path: &str, at: usize, step: StepRequest, graph: &Graph) -> Option<Work> {
        let alone = graph.len() == 1;
        match (step.group, step.action, step.message) {
            (Some(group), None, None) => {
                let group = self.group(&format!("{path}.group"), group, alone, at, graph);
                Some(Work::Group(group))
            }
            (None, Some(action), None) => {
                let action =
                    self.action(&format!("{path}.action"), &step.name, action, at, graph)?;
                Some(Work::Action(Box::new(action)))
            }
            (None, None, Some(message)) => {
                let message =
                    self.message(&format!("{path}.message"), &step.name, message, at, graph);
                Some(Work::Message(message))
            }
            (None, None, None) => {
                let detail = "give a group, an action or a message";
                self.fault(&format!("{path}.group"), PlanFaultCode::Missing, detail);
                None
            }
            _ => {
                let detail = "give one of group, action and message";
                self.fault(path, PlanFaultCode::Conflict, detail);
                None
            }
        }
    }

    fn only_group(&mut self, branches: Vec<BranchRequest>) -> Steps {
        for (at, branch) in branches.iter().enumerate() {
            self.branch_name(&format!("branches[{at}].name"), &branch.name);
        }
        let name = self.free_name(ONLY_STEP);
        let graph = Graph::of_one_group(&branches);
        let group = GroupRequest { branches, timeout_ms: None };
        let group = self.group("", group, true, 0, &graph);
        let name = self.name("branches", &name);
        let class = graph.class(0);
        let step =
            name.map(|name| Step { name, after: Vec::new(), class, work: Work::Group(group) });
        (step.into_iter().collect(), graph.into_ancestors())
    }
}

/// What a step is called with. That a compensation is called with what its own act returned needs no
/// record of its own: the one that names it comes after that of the result.
fn referenced_by(step: &Step) -> Vec<BranchIndex> {
    let branches = match &step.work {
        Work::Group(group) => group.branches.as_slice(),
        Work::Action(_) | Work::Message(_) => &[],
    };
    let branches = branches.iter().flat_map(|it| it.payload.references());
    let branches = branches.map(|it| it.unit);
    let actions = step.actions().iter().flat_map(|action| {
        let units = action.references().into_iter().map(|it| it.unit);
        units.filter(|unit| *unit != action.index)
    });
    branches.chain(actions).collect()
}
