//! The faults found so far, and what every part of a plan is checked for.

use std::collections::BTreeSet;

use super::fault::{PlanFault, PlanFaultCode};
use crate::id::{BranchIndex, NameError};
use crate::json::Json;
use crate::limits::{PAYLOAD_BYTES_MAX, UNITS_MAX};
use crate::plan::reference::Reference;
use crate::plan::template::{PathTemplate, Resolve, Template, TemplateFault};

/// More faults than this help nobody, and a reply has a bound too.
const FAULTS_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Check {
    pub(super) faults: Vec<PlanFault>,
    names: BTreeSet<String>,
    units: usize,
    /// It was checked when it was new, perhaps by an earlier version with wider bounds: it must come
    /// back from its record all the same.
    pub(super) stored: bool,
}

impl Check {
    /// Of a plan that comes from a record.
    pub(super) fn of_stored() -> Self {
        Self { stored: true, ..Self::default() }
    }

    pub(super) fn fault(&mut self, path: &str, code: PlanFaultCode, detail: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults
                .push(PlanFault { path: path.to_owned(), code, detail: detail.into() });
        }
    }

    /// Numbers a branch or action.
    pub(super) fn unit(&mut self, path: &str) -> BranchIndex {
        if self.units == UNITS_MAX {
            let detail = format!("at most {UNITS_MAX} branches, actions and targets are allowed");
            self.fault(path, PlanFaultCode::TooMany, detail);
        }
        let index = BranchIndex(u8::try_from(self.units).unwrap_or(u8::MAX));
        self.units += 1;
        index
    }

    pub(super) fn count(&mut self, path: &str, count: usize, count_max: usize) {
        if count == 0 {
            self.fault(path, PlanFaultCode::Empty, "at least one is needed");
        } else if count > count_max {
            let detail = format!("{count} are given; at most {count_max} are allowed");
            self.fault(path, PlanFaultCode::TooMany, detail);
        }
    }

    pub(super) fn range(
        &mut self,
        path: &str,
        given: Option<u64>,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        if given.is_some_and(|given| !(least..=most).contains(&given)) {
            let detail = format!("must be from {least} to {most}");
            self.fault(path, PlanFaultCode::Range, detail);
        }
        given
    }

    pub(super) fn unique_name<N: std::str::FromStr<Err = NameError>>(
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

    /// A name that nothing in the plan has yet: names are unique in a plan, and a record holds each.
    pub(super) fn free_name(&self, wanted: &str) -> String {
        let mut free = wanted.to_owned();
        while self.names.contains(&free) {
            free.push('_');
        }
        free
    }

    pub(super) fn name<N: std::str::FromStr<Err = NameError>>(
        &mut self,
        path: &str,
        text: &str,
    ) -> Option<N> {
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

    pub(super) fn template(
        &mut self,
        path: &str,
        json: Json,
        resolve: Resolve<'_>,
    ) -> Option<Template> {
        let bytes = json.text().len();
        if bytes > PAYLOAD_BYTES_MAX {
            let detail = format!("is {bytes} bytes long; at most {PAYLOAD_BYTES_MAX} are allowed");
            self.fault(path, PlanFaultCode::TooLarge, detail);
            return None;
        }
        let template = Template::parse(json, resolve);
        let template = template.map_err(|fault| self.template_fault(path, &fault));
        let template = template.ok()?;
        self.pointers(path, template.references());
        Some(template)
    }

    pub(super) fn path_template(
        &mut self,
        path: &str,
        text: &str,
        resolve: Resolve<'_>,
    ) -> Option<PathTemplate> {
        let template = PathTemplate::parse(text, resolve);
        let template = template.map_err(|fault| self.template_fault(path, &fault));
        let template = template.ok()?;
        self.pointers(path, template.references());
        Some(template)
    }

    /// One that was stored with a longer pointer points at nothing.
    fn pointers<'a>(&mut self, path: &str, mut references: impl Iterator<Item = &'a Reference>) {
        if !self.stored && !references.all(Reference::is_bounded) {
            self.template_fault(path, &TemplateFault::Pointer);
        }
    }

    fn template_fault(&mut self, path: &str, fault: &TemplateFault) {
        let code = match fault {
            TemplateFault::Form | TemplateFault::Brace => PlanFaultCode::Form,
            TemplateFault::Depth | TemplateFault::Pointer => PlanFaultCode::TooLarge,
            TemplateFault::TooMany => PlanFaultCode::TooMany,
            TemplateFault::Unknown(_) => PlanFaultCode::Unknown,
            TemplateFault::TooEarly(_) => PlanFaultCode::Order,
        };
        self.fault(path, code, fault.to_string());
    }
}
