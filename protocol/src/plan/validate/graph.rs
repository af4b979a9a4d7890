//! What the steps are to each other.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Check;
use super::fault::PlanFaultCode;
use crate::id::BranchIndex;
use crate::plan::request::{BranchRequest, Class, StepRequest};
use crate::plan::template::TemplateFault;

/// The order of the steps and the class of each.
pub(super) struct Graph {
    /// By step: those that it names.
    after: Vec<Vec<usize>>,
    /// By step: all that are done before it.
    ancestors: Vec<BTreeSet<usize>>,
    classes: Vec<Class>,
    /// By name of a step or branch that has a result: its number, and the step it is in.
    units: BTreeMap<String, (BranchIndex, usize)>,
}

impl Graph {
    /// Of steps whose names have been checked.
    pub(super) fn check(check: &mut Check, steps: &[StepRequest]) -> Self {
        let after = edges(check, steps);
        let ancestors = ancestors(check, &after);
        let units = units(steps);
        let classes = steps.iter().map(|step| step.class.unwrap_or_default());
        let mut graph = Self { after, ancestors, classes: classes.collect(), units };
        graph.classify(check, steps);
        graph
    }

    /// Of a plan that is a group alone.
    pub(super) fn of_one_group(branches: &[BranchRequest]) -> Self {
        let names = branches.iter().map(|branch| branch.name.clone());
        let units = (0..=u8::MAX).zip(names);
        Self {
            after: vec![Vec::new()],
            ancestors: vec![BTreeSet::new()],
            classes: vec![Class::Pivot],
            units: units
                .map(|(index, name)| (name, (BranchIndex(index), 0)))
                .collect(),
        }
    }

    pub(super) fn into_ancestors(self) -> Vec<BTreeSet<usize>> {
        self.ancestors
    }

    pub(super) fn len(&self) -> usize {
        self.after.len()
    }

    pub(super) fn after(&self, step: usize) -> &[usize] {
        self.after.get(step).map_or(&[], Vec::as_slice)
    }

    pub(super) fn class(&self, step: usize) -> Class {
        self.classes.get(step).copied().unwrap_or_default()
    }

    /// The number behind a name, for a reference in `step`. A compensation may refer to its `own`
    /// act's result too.
    pub(super) fn resolve(
        &self,
        name: &str,
        step: usize,
        own: Option<&str>,
    ) -> Result<BranchIndex, TemplateFault> {
        let &(index, holder) = self
            .units
            .get(name)
            .ok_or_else(|| TemplateFault::Unknown(name.to_owned()))?;
        let before = self.comes_before(holder, step);
        if before || own == Some(name) {
            Ok(index)
        } else {
            Err(TemplateFault::TooEarly(name.to_owned()))
        }
    }

    fn comes_before(&self, earlier: usize, later: usize) -> bool {
        let ancestors = self.ancestors.get(later);
        ancestors.is_some_and(|all| all.contains(&earlier))
    }

    fn classify(&mut self, check: &mut Check, steps: &[StepRequest]) {
        let pivot = self.pivot(check, steps);
        let any_other = steps.iter().any(|step| {
            step.group.is_none() && step.message.is_none() && step.class != Some(Class::Retriable)
        });
        for (at, step) in steps.iter().enumerate() {
            let after_pivot = pivot.is_some_and(|pivot| self.comes_before(pivot, at));
            let class = self.class_of(check, at, step, pivot, after_pivot);
            if let Some(place) = self.classes.get_mut(at) {
                *place = class;
            }
            let path = format!("steps[{at}].class");
            match (pivot, class) {
                (Some(pivot), Class::Compensatable) if !self.comes_before(at, pivot) => {
                    let detail = "a compensatable step comes before the pivot, and the pivot \
                                  waits for it: name it in an `after` on the way there";
                    check.fault(&path, PlanFaultCode::Order, detail);
                }
                (Some(_), Class::Retriable) if !after_pivot => {
                    let detail = "a retriable step comes after the pivot: it waits for it";
                    check.fault(&path, PlanFaultCode::Order, detail);
                }
                (None, Class::Retriable) if any_other => {
                    let detail = "a retriable step or message needs a pivot before it, unless all \
                                  steps are retriable: give the step that decides the class pivot";
                    check.fault(&path, PlanFaultCode::Order, detail);
                }
                _ => {}
            }
        }
    }

    fn pivot(&self, check: &mut Check, steps: &[StepRequest]) -> Option<usize> {
        let is_pivot =
            |step: &StepRequest| step.group.is_some() || step.class == Some(Class::Pivot);
        let mut pivots = steps.iter().enumerate().filter(|(_, step)| is_pivot(step));
        let first = pivots.next().map(|(at, _)| at);
        for (at, step) in pivots {
            let (field, detail) = if step.group.is_some() {
                ("group", "a plan has one atomic group, which is its pivot")
            } else {
                ("class", "a plan has one pivot")
            };
            check.fault(
                &format!("steps[{at}].{field}"),
                PlanFaultCode::TooMany,
                detail,
            );
        }
        first
    }

    fn class_of(
        &self,
        check: &mut Check,
        at: usize,
        step: &StepRequest,
        pivot: Option<usize>,
        after_pivot: bool,
    ) -> Class {
        let fixed = match (&step.group, &step.message) {
            (Some(_), _) => Some((Class::Pivot, "a group is the pivot")),
            (None, Some(_)) => Some((Class::Retriable, "a message is retriable")),
            (None, None) => None,
        };
        match (fixed, step.class) {
            (Some((class, detail)), Some(given)) if given != class => {
                check.fault(
                    &format!("steps[{at}].class"),
                    PlanFaultCode::Conflict,
                    detail,
                );
                class
            }
            (Some((class, _)), _) | (None, Some(class)) => class,
            (None, None) if after_pivot => Class::Retriable,
            (None, None) if pivot == Some(at) => Class::Pivot,
            (None, None) => Class::Compensatable,
        }
    }
}

fn edges(check: &mut Check, steps: &[StepRequest]) -> Vec<Vec<usize>> {
    let place = |name: &str| steps.iter().position(|step| step.name == name);
    let mut edges = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let mut named = Vec::new();
        for (nr, name) in step.after.iter().enumerate() {
            let path = format!("steps[{at}].after[{nr}]");
            match place(name) {
                None => {
                    let detail = format!("there is no step {name:?}");
                    check.fault(&path, PlanFaultCode::Unknown, detail);
                }
                Some(before) if named.contains(&before) => {
                    let detail = format!("names {name:?} once more");
                    check.fault(&path, PlanFaultCode::Duplicate, detail);
                }
                Some(before) => named.push(before),
            }
        }
        edges.push(named);
    }
    edges
}

/// What comes before each step, nearest first seen. What stands in a circle is a fault of its own.
fn ancestors(check: &mut Check, after: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let mut all = Vec::new();
    for (at, direct) in after.iter().enumerate() {
        let mut found = BTreeSet::new();
        let mut open = direct.clone();
        while let Some(step) = open.pop() {
            if found.insert(step) {
                open.extend(after.get(step).into_iter().flatten());
            }
        }
        if found.remove(&at) {
            let detail = "the step waits for itself, by way of those that it names";
            check.fault(&format!("steps[{at}].after"), PlanFaultCode::Cycle, detail);
        }
        all.push(found);
    }
    all
}

/// Numbers as they are given when the steps are taken one by one: a message's targets have no
/// result to refer to.
fn units(steps: &[StepRequest]) -> BTreeMap<String, (BranchIndex, usize)> {
    let mut units = BTreeMap::new();
    let mut next = 0_usize;
    for (at, step) in steps.iter().enumerate() {
        let names: Vec<&str> = match (&step.group, &step.action) {
            (Some(group), _) => group.branches.iter().map(|it| it.name.as_str()).collect(),
            (None, Some(_)) => vec![step.name.as_str()],
            (None, None) => Vec::new(),
        };
        for (nr, name) in names.iter().enumerate() {
            let index = BranchIndex(u8::try_from(next + nr).unwrap_or(u8::MAX));
            units.insert((*name).to_owned(), (index, at));
        }
        next += names.len() + step.message.as_ref().map_or(0, |message| message.to.len());
    }
    units
}
