//! The figures at the end.

use std::path::Path;

use anyhow::Context as _;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::driver::{Said, Told};
use crate::killer::Kill;

/// What happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    transfers: u32,
    clients: u16,
    #[serde(skip)]
    told: usize,
    committed: usize,
    refused: usize,
    unknown: usize,
    seconds: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    money_before: i64,
    money_after: i64,
    prepared_left: usize,
    untrue: Vec<String>,
    kills: Vec<Kill>,
    journal: &'static str,
    seed: u64,
}

impl Report {
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each thing that is reported"
    )]
    pub(crate) fn new(
        arguments: &Arguments,
        told: &[Told],
        seconds: f64,
        money_before: i64,
        money_after: i64,
        prepared_left: usize,
        kills: Vec<Kill>,
        untrue: Vec<String>,
    ) -> Self {
        let count = |said| told.iter().filter(|told| told.outcome == said).count();
        let mut ms: Vec<f64> = told.iter().map(|told| told.ms).collect();
        ms.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let at = (ms.len() * percent / 100).min(ms.len().saturating_sub(1));
            ms.get(at).copied().unwrap_or_default()
        };
        Self {
            transfers: arguments.transfers,
            clients: arguments.clients,
            told: told.len(),
            committed: count(Said::Committed),
            refused: count(Said::Refused),
            unknown: count(Said::Unknown),
            seconds,
            per_second: f64::from(arguments.transfers) / seconds,
            p50_ms: percentile(50),
            p99_ms: percentile(99),
            money_before,
            money_after,
            prepared_left,
            untrue,
            kills,
            journal: arguments.journal.name(),
            seed: arguments.seed,
        }
    }

    /// Whether money was kept, nothing is left prepared, every outcome that was told is true, and
    /// transfers that nothing stood in the way of were made.
    pub(crate) fn holds(&self) -> bool {
        let kept = self.money_before == self.money_after;
        // Without faults, all yes means commit: a coordinator that aborts everything keeps the money
        // too. One transfer in twenty asks for too much, and a few may wait too long for a lock.
        let few = self.told < 100;
        let useful = few || !self.kills.is_empty() || self.committed * 10 >= self.told * 8;
        kept && useful && self.prepared_left == 0 && self.untrue.is_empty()
    }
}

/// Shows the figures.
pub(crate) fn print(report: &Report) {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    let euros = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
    for (name, value) in [
        ("committed", report.committed.to_string()),
        ("refused", report.refused.to_string()),
        ("unknown", report.unknown.to_string()),
        ("transfers per second", format!("{:.0}", report.per_second)),
        (
            "p50 / p99",
            format!("{:.1} ms / {:.1} ms", report.p50_ms, report.p99_ms),
        ),
        ("money before", euros(report.money_before)),
        ("money after", euros(report.money_after)),
        (
            "prepared transactions left",
            report.prepared_left.to_string(),
        ),
        (
            "outcomes that are not true",
            report.untrue.len().to_string(),
        ),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    if !report.kills.is_empty() {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        table.set_header(["killed", "after transfers", "in doubt at that moment"]);
        for kill in &report.kills {
            let (after, in_doubt) = (kill.after_transfers.to_string(), kill.in_doubt.to_string());
            table.add_row([kill.victim.clone(), after, in_doubt]);
        }
        println!("{table}");
    }
    for line in report.untrue.iter().take(20) {
        println!("NOT TRUE: {line}");
    }
    let verdict = if report.holds() {
        "every transfer happened everywhere or nowhere; no money was made or lost"
    } else {
        "SOMETHING DOES NOT HOLD: see above"
    };
    println!("{verdict}");
}

/// Writes the figures.
pub(crate) fn write(report: &Report, path: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report).context("the figures cannot be written")?;
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
