//! One transaction, as its client and its participants have seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::clock;
use crate::diary::Entry;

/// One moment.
#[derive(Clone, Debug)]
struct Line {
    at_ms: f64,
    who: String,
    what: String,
    said: String,
    more: String,
}

/// What happened from a first moment on.
#[derive(Clone, Debug)]
pub struct Timeline {
    start_ms: f64,
    lines: Vec<Line>,
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { start_ms: clock::now_ms(), lines: Vec::new() }
    }

    /// Somebody has seen something just now.
    pub fn note(&mut self, who: &str, said: &str, more: impl Into<String>) {
        let line = Line {
            at_ms: clock::now_ms(),
            who: who.to_owned(),
            what: String::new(),
            said: said.to_owned(),
            more: more.into(),
        };
        self.lines.push(line);
    }

    /// Adds what the services have written down since the beginning, of whatever transaction.
    pub fn add_all(&mut self, entries: &[Entry]) {
        let recent = entries.iter().filter(|it| it.at_ms >= self.start_ms);
        let gtids: BTreeSet<String> = recent.map(|entry| entry.gtid.clone()).collect();
        for gtid in gtids {
            self.add(entries, &gtid);
        }
    }

    /// Takes in what others have noted.
    pub fn merge(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// Adds what the services have written down of this transaction.
    pub fn add(&mut self, entries: &[Entry], gtid: &str) {
        let mine: Vec<&Entry> = entries.iter().filter(|it| it.gtid == gtid).collect();
        // Orders of phase two name no operation: it is that of the branch.
        let operations: BTreeMap<_, _> = mine
            .iter()
            .filter(|entry| !entry.operation.is_empty())
            .map(|entry| ((&entry.who, &entry.unit), &entry.operation))
            .collect();
        for entry in &mine {
            let named = Some(&entry.operation).filter(|operation| !operation.is_empty());
            let operation = named.or_else(|| operations.get(&(&entry.who, &entry.unit)).copied());
            let operation = operation.map_or("", |operation| operation.as_str());
            if let Some((said, more)) = shown(entry, &mine) {
                self.lines.push(Line {
                    at_ms: entry.at_ms,
                    who: entry.who.clone(),
                    what: format!("{operation:<8} {}", entry.verb),
                    said,
                    more,
                });
            }
        }
    }

    /// As text, in the order in which it happened.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = self.lines.clone();
        lines.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
        let longest = |of: fn(&Line) -> &str| lines.iter().map(|it| of(it).len()).max();
        let who = longest(|line| &line.who).unwrap_or(0);
        let what = longest(|line| &line.what).unwrap_or(0);
        let mut text = String::new();
        for Line { at_ms, who: name, what: verb, said, more } in &lines {
            let seconds = (at_ms - self.start_ms) / 1000.0;
            let line = format!("{seconds:7.3}  {name:<who$}  {verb:<what$}  {said:<11}  {more}");
            // A text can be written to without an end.
            let _always = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// What to show of an entry: an answer, or a question that has none.
fn shown(entry: &Entry, all: &[&Entry]) -> Option<(String, String)> {
    let same = |it: &&&Entry| {
        it.who == entry.who
            && it.unit == entry.unit
            && it.operation == entry.operation
            && it.verb == entry.verb
    };
    if entry.said.is_empty() {
        let answered = all.iter().filter(same).any(|it| {
            !it.said.is_empty() && it.attempt == entry.attempt && it.at_ms >= entry.at_ms
        });
        return (!answered).then(|| ("asked".to_owned(), String::new()));
    }
    let earlier = all
        .iter()
        .filter(same)
        .find(|it| it.said == entry.said && it.more == entry.more && it.at_ms < entry.at_ms);
    let said = match entry.said.as_str() {
        no @ ("refused" | "no") => no.to_uppercase(),
        other => other.to_owned(),
    };
    let more = match earlier {
        Some(_) => "asked again, and the same answer".to_owned(),
        None => entry.more.clone(),
    };
    Some((said, more))
}
