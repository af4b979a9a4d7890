//! An atomic group and its branches.

use super::check::Check;
use super::fault::PlanFaultCode;
use super::graph::Graph;
use crate::limits::{BRANCHES_MAX, TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX, TIMEOUT_MS_MIN};
use crate::plan::request::{BranchRequest, GroupRequest, Mode};
use crate::plan::{Branch, Group};

impl Check {
    pub(super) fn group(
        &mut self,
        path: &str,
        group: GroupRequest,
        alone: bool,
        at: usize,
        graph: &Graph,
    ) -> Group {
        let dotted = if path.is_empty() {
            String::new()
        } else {
            format!("{path}.")
        };
        let path = format!("{dotted}branches");
        self.count(&path, group.branches.len(), BRANCHES_MAX);
        self.local(&path, &group.branches, at, graph);
        let timeout_path = format!("{dotted}timeout_ms");
        let given = self.range(
            &timeout_path,
            group.timeout_ms,
            TIMEOUT_MS_MIN,
            TIMEOUT_MS_MAX,
        );
        if alone && given.is_some() {
            let detail = "the group is the whole plan: give the transaction's own timeout_ms";
            self.fault(&timeout_path, PlanFaultCode::Conflict, detail);
        }
        let timeout_ms = (!alone).then(|| given.unwrap_or(TIMEOUT_MS_DEFAULT));
        let checked = group.branches.into_iter().take(BRANCHES_MAX).enumerate();
        let branches = checked.filter_map(|(branch_at, it)| {
            self.branch(&format!("{path}[{branch_at}]"), it, at, graph)
        });
        Group { branches: branches.collect(), timeout_ms }
    }

    /// A local branch is the sender's own transaction: nobody is asked to prepare it, so nothing
    /// can be held back for the sake of another branch.
    fn local(&mut self, path: &str, branches: &[BranchRequest], at: usize, graph: &Graph) {
        let Some(local) = branches.iter().position(|it| it.mode == Mode::Local) else {
            return;
        };
        let path = format!("{path}[{local}].mode");
        if branches.len() > 1 {
            let detail = "a local branch is alone in its group";
            self.fault(&path, PlanFaultCode::Conflict, detail);
        }
        if !graph.after(at).is_empty() {
            let detail = "a local branch is in the first step of its plan";
            self.fault(&path, PlanFaultCode::Order, detail);
        }
    }

    fn branch(
        &mut self,
        path: &str,
        branch: BranchRequest,
        at: usize,
        graph: &Graph,
    ) -> Option<Branch> {
        let index = self.unit(path);
        // Whether the name is free was looked at with those of the steps.
        let name = branch.name.parse().ok();
        let participant = self.name(&format!("{path}.participant"), &branch.participant);
        let operation = self.name(&format!("{path}.operation"), &branch.operation);
        let resolve = |name: &str| graph.resolve(name, at, None);
        let payload = self.template(&format!("{path}.payload"), branch.payload, &resolve);
        Some(Branch {
            index,
            name: name?,
            participant: participant?,
            operation: operation?,
            payload: payload?,
            mode: branch.mode,
        })
    }
}
