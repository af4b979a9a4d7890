//! From a request to a plan, or to the list of its faults, each with its path.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::request::{BranchRequest, Mode, PlanRequest, StepRequest};
use super::{Branch, Group, Plan, Step, Work};
use crate::id::{BranchIndex, NameError};
use crate::limits::{BRANCHES_MAX, PAYLOAD_BYTES_MAX, STEPS_MAX};

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFault {
    /// Where: `branches[1].participant`.
    pub path: String,
    /// What kind.
    pub code: PlanFaultCode,
    /// In words.
    pub detail: String,
}

/// What is wrong with a plan. The texts on the wire are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanFaultCode {
    /// A field that is needed is not there.
    Missing,
    /// There must be at least one.
    Empty,
    /// There are more than allowed.
    TooMany,
    /// It is larger than allowed.
    TooLarge,
    /// It is not of its form.
    Form,
    /// It is out of its range.
    Range,
    /// The name is taken by another step or branch of the plan.
    Duplicate,
    /// No such step or participant.
    Unknown,
    /// Two fields exclude each other.
    Conflict,
    /// A field that does not exist here.
    UnknownField,
    /// This version cannot do it.
    Unsupported,
}

/// All faults that were found; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PlanFaults(pub Vec<PlanFault>);

impl fmt::Display for PlanFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", fault.path, fault.detail)?;
        }
        Ok(())
    }
}

impl TryFrom<PlanRequest> for Plan {
    type Error = PlanFaults;

    fn try_from(request: PlanRequest) -> Result<Self, PlanFaults> {
        let mut check = Check::default();
        let steps = match (request.steps, request.branches) {
            (Some(steps), None) => check.steps(steps),
            (None, Some(branches)) => check.only_group(branches),
            (Some(_), Some(_)) => {
                check.fault(
                    "branches",
                    PlanFaultCode::Conflict,
                    "give either steps or branches",
                );
                Vec::new()
            }
            (None, None) => {
                check.fault("branches", PlanFaultCode::Missing, "give steps or branches");
                Vec::new()
            }
        };
        if check.faults.is_empty() {
            Ok(Self { steps })
        } else {
            Err(PlanFaults(check.faults))
        }
    }
}

/// More faults than this help nobody, and a reply has a bound too.
const FAULTS_MAX: usize = 16;

#[derive(Default)]
struct Check {
    faults: Vec<PlanFault>,
    names: BTreeSet<String>,
    units: usize,
}

impl Check {
    fn fault(&mut self, path: &str, code: PlanFaultCode, detail: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults
                .push(PlanFault { path: path.to_owned(), code, detail: detail.into() });
        }
    }

    fn steps(&mut self, steps: Vec<StepRequest>) -> Vec<Step> {
        self.count("steps", steps.len(), STEPS_MAX);
        if steps.len() > 1 {
            let detail = "this version takes one step, an atomic group";
            self.fault("steps[1]", PlanFaultCode::Unsupported, detail);
        }
        let checked = steps.into_iter().take(1).enumerate();
        checked
            .filter_map(|(at, step)| self.step(&format!("steps[{at}]"), step))
            .collect()
    }

    fn step(&mut self, path: &str, step: StepRequest) -> Option<Step> {
        let name = self.unique_name(&format!("{path}.name"), &step.name);
        for (at, after) in step.after.iter().enumerate() {
            let detail = format!("there is no step {after:?}");
            self.fault(
                &format!("{path}.after[{at}]"),
                PlanFaultCode::Unknown,
                detail,
            );
        }
        for (field, given) in [("action", &step.action), ("message", &step.message)] {
            if given.is_some() {
                let detail = "this version takes atomic groups only";
                self.fault(
                    &format!("{path}.{field}"),
                    PlanFaultCode::Unsupported,
                    detail,
                );
            }
        }
        let Some(group) = step.group else {
            if step.action.is_none() && step.message.is_none() {
                self.fault(
                    &format!("{path}.group"),
                    PlanFaultCode::Missing,
                    "give a group",
                );
            }
            return None;
        };
        let group = self.group(&format!("{path}.group.branches"), group.branches);
        Some(Step { name: name?, work: Work::Group(group) })
    }

    fn only_group(&mut self, branches: Vec<BranchRequest>) -> Vec<Step> {
        let group = self.group("branches", branches);
        // A record holds the step by name, and names are unique in a plan.
        let mut free = ONLY_STEP.to_owned();
        while self.names.contains(&free) {
            free.push('_');
        }
        let name = self.name("branches", &free);
        name.map(|name| Step { name, work: Work::Group(group) })
            .into_iter()
            .collect()
    }

    fn group(&mut self, path: &str, branches: Vec<BranchRequest>) -> Group {
        self.count(path, branches.len(), BRANCHES_MAX);
        let checked = branches.into_iter().take(BRANCHES_MAX).enumerate();
        let branches = checked.filter_map(|(at, it)| self.branch(&format!("{path}[{at}]"), it));
        Group { branches: branches.collect() }
    }

    fn branch(&mut self, path: &str, branch: BranchRequest) -> Option<Branch> {
        let name = self.unique_name(&format!("{path}.name"), &branch.name);
        let participant = self.name(&format!("{path}.participant"), &branch.participant);
        let operation = self.name(&format!("{path}.operation"), &branch.operation);
        if branch.mode == Mode::Tcc {
            let detail = "this version takes two-phase branches only";
            self.fault(&format!("{path}.mode"), PlanFaultCode::Unsupported, detail);
        }
        let bytes = branch.payload.text().len();
        if bytes > PAYLOAD_BYTES_MAX {
            let detail = format!("is {bytes} bytes long; at most {PAYLOAD_BYTES_MAX} are allowed");
            self.fault(&format!("{path}.payload"), PlanFaultCode::TooLarge, detail);
        }
        let index = BranchIndex(u8::try_from(self.units).unwrap_or(u8::MAX));
        self.units += 1;
        let payload = branch.payload;
        Some(Branch {
            index,
            name: name?,
            participant: participant?,
            operation: operation?,
            payload,
        })
    }

    fn count(&mut self, path: &str, count: usize, count_max: usize) {
        if count == 0 {
            self.fault(path, PlanFaultCode::Empty, "at least one is needed");
        } else if count > count_max {
            let detail = format!("{count} are given; at most {count_max} are allowed");
            self.fault(path, PlanFaultCode::TooMany, detail);
        }
    }

    fn unique_name<N: std::str::FromStr<Err = NameError>>(
        &mut self,
        path: &str,
        text: &str,
    ) -> Option<N> {
        let name = self.name(path, text)?;
        if !self.names.insert(text.to_owned()) {
            let detail = format!("{text:?} is the name of another step or branch");
            self.fault(path, PlanFaultCode::Duplicate, detail);
        }
        Some(name)
    }

    fn name<N: std::str::FromStr<Err = NameError>>(&mut self, path: &str, text: &str) -> Option<N> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let code = match error {
                    NameError::Empty => PlanFaultCode::Empty,
                    NameError::TooLong { .. } => PlanFaultCode::TooLarge,
                    NameError::Character { .. } | NameError::Form { .. } => PlanFaultCode::Form,
                };
                self.fault(path, code, error.to_string());
                None
            }
        }
    }
}

/// The name of the step when a client gives branches only.
const ONLY_STEP: &str = "group";

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<(String, PlanFaultCode)> {
        let request: PlanRequest = serde_json::from_str(json).unwrap();
        let faults = Plan::try_from(request).unwrap_err().0;
        faults
            .into_iter()
            .map(|fault| (fault.path, fault.code))
            .collect()
    }

    #[test]
    fn each_fault_is_named_with_its_path() {
        use PlanFaultCode::{Conflict, Duplicate, Empty, Form, Missing, Unsupported};
        let branch = |name: &str, more: &str| {
            format!(r#"{{"name":"{name}","participant":"p","operation":"o"{more}}}"#)
        };
        let a = branch("a", "");
        for (json, path, code) in [
            ("{}".into(), "branches", Missing),
            (r#"{"branches":[]}"#.into(), "branches", Empty),
            (r#"{"branches":[],"steps":[]}"#.into(), "branches", Conflict),
            (
                format!(r#"{{"branches":[{a},{a}]}}"#),
                "branches[1].name",
                Duplicate,
            ),
            (
                format!(r#"{{"branches":[{}]}}"#, branch("a'b", "")),
                "branches[0].name",
                Form,
            ),
            (
                format!(r#"{{"branches":[{}]}}"#, branch("b", r#","mode":"tcc""#)),
                "branches[0].mode",
                Unsupported,
            ),
            (
                r#"{"steps":[{"name":"s"}]}"#.into(),
                "steps[0].group",
                Missing,
            ),
            (
                r#"{"steps":[{"name":"s","action":{}}]}"#.into(),
                "steps[0].action",
                Unsupported,
            ),
        ] {
            assert_eq!(faults(&json), [(path.to_owned(), code)], "{json}");
        }
    }

    #[test]
    fn more_branches_than_allowed_are_refused() {
        let branches: Vec<_> = (0..=BRANCHES_MAX)
            .map(|n| format!(r#"{{"name":"b{n}","participant":"p","operation":"o"}}"#))
            .collect();
        let json = format!(r#"{{"branches":[{}]}}"#, branches.join(","));
        assert_eq!(
            faults(&json),
            [("branches".to_owned(), PlanFaultCode::TooMany)]
        );
    }

    #[test]
    fn a_plan_whose_branch_is_called_group_comes_back_from_its_record() {
        let branch = |name| format!(r#"{{"name":"{name}","participant":"p","operation":"o"}}"#);
        let json = format!(
            r#"{{"branches":[{},{}]}}"#,
            branch("group"),
            branch("group_")
        );
        let plan = Plan::try_from(serde_json::from_str::<PlanRequest>(&json).unwrap()).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }

    #[test]
    fn a_payload_keeps_every_digit_through_a_record() {
        let json = r#"{"branches":[{"name":"a","participant":"p","operation":"o",
            "payload":{"amount":12345678901234567890.10}}]}"#;
        let plan = Plan::try_from(serde_json::from_str::<PlanRequest>(json).unwrap()).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert!(stored.contains("12345678901234567890.10"), "{stored}");
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }
}
