//! Every metric of the coordinator in words, for the page of the metrics itself. What they mean for
//! an operator is in `docs/operations.md`.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric, what it is, and what it says.
pub type Entry = (&'static str, Kind, &'static str);

/// All of them.
#[rustfmt::skip]
pub const METRICS: &[Entry] = &[
    ("accordant_transactions_begun_total", Kind::Counter, "Transactions begun, by mode."),
    ("accordant_transactions_total", Kind::Counter, "Transactions decided, by outcome and reason."),
    ("accordant_transaction_duration_seconds", Kind::Histogram, "From the acceptance of a transaction to the end of its last branch."),
    ("accordant_open_transactions", Kind::Gauge, "Transactions that have not ended, by shard."),
    ("accordant_in_doubt", Kind::Gauge, "Branches that may hold locks until a decision reaches them, by participant and shard."),
    ("accordant_in_doubt_oldest_seconds", Kind::Gauge, "Age of the oldest transaction with such a branch, by participant and shard."),
    ("accordant_stuck_actions", Kind::Gauge, "Actions that wait for an operator, by shard."),
    ("accordant_oldest_stuck_seconds", Kind::Gauge, "How long the oldest of them has waited, by shard."),
    ("accordant_overdue_transactions", Kind::Gauge, "Open past their deadline, with calls in vain, by shard."),
    ("accordant_oldest_overdue_seconds", Kind::Gauge, "How long the deadline of the oldest of them has passed, by shard."),
    ("accordant_calls_total", Kind::Counter, "Calls to participants, by participant, verb and answer."),
    ("accordant_inquiries_total", Kind::Counter, "Questions of participants about outcomes, by verdict."),
    ("accordant_participant_halted", Kind::Gauge, "1 if a participant answers from another or an older database."),
    ("accordant_heuristic_total", Kind::Counter, "Transactions of which someone else ended a branch against the decision."),
    ("accordant_quarantined", Kind::Gauge, "Transactions whose stored history is not legal, so that nothing is done for them."),
    ("accordant_recovered_total", Kind::Counter, "Open transactions taken up again from the journal."),
    ("accordant_log_flush_seconds", Kind::Histogram, "Time of one flush of the journal."),
    ("accordant_log_batch_size", Kind::Histogram, "Records made durable by one flush."),
    ("accordant_fenced_writes_total", Kind::Counter, "Records refused since another coordinator owns the partition."),
    ("accordant_refused_writes_total", Kind::Counter, "Records refused since they contradict what is stored."),
];

/// Tells the recorder of every metric.
pub fn describe() {
    for &(name, kind, text) in METRICS {
        let unit = if name.ends_with("_seconds") {
            Unit::Seconds
        } else {
            Unit::Count
        };
        match kind {
            Kind::Counter => describe_counter!(name, unit, text),
            Kind::Gauge => describe_gauge!(name, unit, text),
            Kind::Histogram => describe_histogram!(name, unit, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }

    /// The names of metrics that the macros in a source text are given.
    fn used(text: &str) -> BTreeSet<String> {
        let calls = ["counter!(", "gauge!(", "histogram!("];
        let after = calls.iter().flat_map(|call| text.split(call).skip(1));
        let first = after.filter_map(|rest| rest.trim_start().strip_prefix('"'));
        let names = first.filter_map(|rest| rest.split('"').next());
        names
            .filter(|name| name.starts_with("accordant_"))
            .map(str::to_owned)
            .collect()
    }

    fn used_below(folder: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files = Vec::new();
        sources(&root, &mut files);
        let texts = files
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap());
        texts.flat_map(|text| used(&text)).collect()
    }

    #[test]
    fn every_metric_in_the_sources_is_described_and_every_described_one_is_there() {
        let described: BTreeSet<_> = METRICS
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .collect();
        assert_eq!(used_below("src"), described);
    }

    #[test]
    fn the_operator_finds_every_metric_in_the_documentation() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let all = used_below("src")
            .into_iter()
            .chain(used_below("../participant/src"));
        let missing: Vec<_> = all
            .filter(|name| !docs.contains(&format!("`{name}`")))
            .collect();
        assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
    }
}
