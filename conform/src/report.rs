//! What came of all checks.

use std::fmt::Write as _;

use accordant_protocol::wire::contract::cut;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::check::{Check, Failure, Level, Outcome};
use crate::limits::EXCERPT_BYTES_MAX;
use crate::options::Options;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The service's address.
    pub base: String,
    /// Its name.
    pub participant: String,
    /// With it the run can be repeated.
    pub seed: u64,
    /// The checks, in the order in which they were carried out.
    pub checks: Vec<CheckReport>,
    /// Actions and branches that could not be ended: look after them by hand.
    pub leftovers: Vec<String>,
}

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Its id.
    pub id: &'static str,
    /// How much depends on it.
    pub level: Level,
    /// What it requires.
    pub requires: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// How many checks came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Rules that were kept.
    pub passed: usize,
    /// Rules broken that must be kept.
    pub broken: usize,
    /// Rules broken that should be kept.
    pub remarks: usize,
    /// Rules that were not tested.
    pub skipped: usize,
}

impl CheckReport {
    pub(crate) const fn new(check: &Check, outcome: Outcome, elapsed_ms: u64) -> Self {
        let Check { id, level, requires, .. } = *check;
        Self { id, level, requires, outcome, elapsed_ms }
    }

    /// How the rule was broken, if it was.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Passed | Outcome::Skipped { .. } => None,
        }
    }

    const fn word(&self) -> &'static str {
        match (&self.outcome, self.level) {
            (Outcome::Passed, _) => "passed",
            (Outcome::Skipped { .. }, _) => "skipped",
            (Outcome::Failed(_), Level::Must) => "FAILED",
            (Outcome::Failed(_), Level::Should) => "failed",
        }
    }
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            base: options.base.to_string(),
            participant: options.name.to_string(),
            seed: options.seed.0,
            checks: Vec::new(),
            leftovers: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, check: CheckReport) {
        self.checks.push(check);
    }

    /// How many checks came to what.
    #[must_use]
    pub fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for check in &self.checks {
            let count = match (&check.outcome, check.level) {
                (Outcome::Passed, _) => &mut sum.passed,
                (Outcome::Failed(_), Level::Must) => &mut sum.broken,
                (Outcome::Failed(_), Level::Should) => &mut sum.remarks,
                (Outcome::Skipped { .. }, _) => &mut sum.skipped,
            };
            *count += 1;
        }
        sum
    }

    /// Whether the service keeps the contract: no rule that must be kept was broken, nothing was left
    /// behind, and something was tested. If `strict`, rules that should be kept count as well.
    #[must_use]
    pub fn holds(&self, strict: bool) -> bool {
        let sum = self.sum();
        let remarks = if strict { sum.remarks } else { 0 };
        sum.passed > 0 && sum.broken + remarks == 0 && self.leftovers.is_empty()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        // Texts, numbers and lists: nothing of it can be refused.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(["CHECK", "LEVEL", "OUTCOME", "REQUIRES, OR WHY NOT"]);
        for check in &self.checks {
            let level = match check.level {
                Level::Must => "must",
                Level::Should => "should",
            };
            let said = match &check.outcome {
                Outcome::Skipped { why } => cut(why, EXCERPT_BYTES_MAX),
                Outcome::Passed | Outcome::Failed(_) => check.requires.to_owned(),
            };
            table.add_row([check.id, level, check.word(), &said]);
        }
        let mut text = String::new();
        for line in table.to_string().lines() {
            // A table puts a blank before each row, and fills its last column with them.
            push(&mut text, line.trim());
        }
        for check in &self.checks {
            if let Some(failure) = check.failure() {
                push_failure(&mut text, check, failure);
            }
        }
        push(&mut text, "");
        for leftover in &self.leftovers {
            push(&mut text, &format!("left behind: {leftover}"));
        }
        push(&mut text, &self.summary());
        text
    }

    fn summary(&self) -> String {
        let Sum { passed, broken, remarks, skipped } = self.sum();
        format!(
            "{} at {}, seed {}: {passed} passed, {broken} failed that must hold, {remarks} that \
             should, {skipped} skipped",
            self.participant, self.base, self.seed
        )
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{line}");
}

fn push_failure(text: &mut String, check: &CheckReport, failure: &Failure) {
    push(text, "");
    push(
        text,
        &format!("{} {}: {}", check.word(), check.id, check.requires),
    );
    push(
        text,
        &format!(
            "  expected  {}",
            cut(&failure.expected, 2 * EXCERPT_BYTES_MAX)
        ),
    );
    push(
        text,
        &format!("  came      {}", cut(&failure.came, 2 * EXCERPT_BYTES_MAX)),
    );
    for exchange in &failure.exchanges {
        push(text, &format!("  > {}", exchange.request));
        push(text, &format!("  < {}", exchange.response));
    }
}
