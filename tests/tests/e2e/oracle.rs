//! What was asked for, and what clients were told about it.
//!
//! A client that heard nothing knows nothing: neither that it happened nor that it did not. Later
//! answers must settle it to one value, and nothing that was once told may change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accordant_client::{Gtid, Outcome};
use anyhow::{bail, ensure};

use crate::teller::Transfer;

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Committed,
    Aborted,
    /// Someone interfered, and the coordinator says so.
    Heuristic,
    /// Neither answer nor refusal, or an answer that says "not yet".
    Unknown,
    /// The coordinator said, or could not be reached so that it is certain, that nothing was begun.
    NotBegun,
}

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Committed => Self::Committed,
            Outcome::Aborted => Self::Aborted,
            Outcome::Heuristic => Self::Heuristic,
            Outcome::Pending | _ => Self::Unknown,
        }
    }
}

/// One transfer and its story.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) transfer: Transfer,
    pub(crate) told: Told,
    pub(crate) id: Option<Gtid>,
    /// Some attempt was neither answered nor refused: a later refusal says nothing about that one.
    doubt: bool,
    /// Two answers that exclude each other.
    contradiction: Option<String>,
}

/// Every transfer of a test, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle(Arc<Mutex<BTreeMap<String, Case>>>);

/// How many transfers ended in which way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) committed: usize,
    pub(crate) aborted: usize,
    pub(crate) heuristic: usize,
    pub(crate) unknown: usize,
    pub(crate) not_begun: usize,
}

impl Oracle {
    fn cases(&self) -> MutexGuard<'_, BTreeMap<String, Case>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn asked(&self, transfer: &Transfer) {
        let case = Case {
            transfer: transfer.clone(),
            told: Told::Unknown,
            id: None,
            doubt: false,
            contradiction: None,
        };
        self.cases().entry(transfer.key.clone()).or_insert(case);
    }

    /// Notes an answer. One that contradicts an earlier one is kept for [`Oracle::check`].
    pub(crate) fn told(&self, key: &str, told: Told, id: Option<Gtid>) {
        let mut cases = self.cases();
        let Some(case) = cases.get_mut(key) else {
            return;
        };
        match (case.id, id) {
            (Some(first), Some(second)) if first != second => {
                case.contradiction = Some(format!("the id was {first} and is {second}"));
            }
            (None, Some(_)) => case.id = id,
            _ => {}
        }
        match (case.told, told) {
            (before, Told::Unknown) => {
                case.doubt = true;
                if before == Told::NotBegun {
                    case.told = Told::Unknown;
                }
            }
            (before, Told::NotBegun) => {
                if before == Told::Unknown && !case.doubt {
                    case.told = Told::NotBegun;
                }
            }
            // That someone interfered may come to light later. The audit takes it for a fault.
            (Told::Unknown | Told::NotBegun, _) | (_, Told::Heuristic) => case.told = told,
            (before, now) if before == now => {}
            (before, now) => case.contradiction = Some(format!("{before:?} became {now:?}")),
        }
    }

    pub(crate) fn all(&self) -> Vec<(String, Case)> {
        let cases = self.cases();
        cases
            .iter()
            .map(|(key, case)| (key.clone(), case.clone()))
            .collect()
    }

    pub(crate) fn case(&self, key: &str) -> anyhow::Result<Case> {
        let found = self.cases().get(key).cloned();
        found.ok_or_else(|| anyhow::anyhow!("{key} was never asked for"))
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for case in self.cases().values() {
            match case.told {
                Told::Committed => tally.committed += 1,
                Told::Aborted => tally.aborted += 1,
                Told::Heuristic => tally.heuristic += 1,
                Told::Unknown => tally.unknown += 1,
                Told::NotBegun => tally.not_begun += 1,
            }
        }
        tally
    }

    /// No answer was ever taken back.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (key, case) in self.cases().iter() {
            if let Some(contradiction) = &case.contradiction {
                bail!("{key}: {contradiction}");
            }
            ensure!(
                !matches!(case.told, Told::Committed | Told::Aborted) || case.id.is_some(),
                "{key}: an outcome without an id"
            );
        }
        Ok(())
    }
}

impl std::ops::Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            committed: self.committed - before.committed,
            aborted: self.aborted - before.aborted,
            heuristic: self.heuristic - before.heuristic,
            unknown: self.unknown.saturating_sub(before.unknown),
            not_begun: self.not_begun.saturating_sub(before.not_begun),
        }
    }
}
