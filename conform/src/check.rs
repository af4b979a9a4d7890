//! One rule, and what came of it.

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::session::Session;

/// A rule of the contract, with the way to test it.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Stable: what a report and `--only` call it.
    pub id: &'static str,
    /// Whether breaking it can lose or double work.
    pub level: Level,
    /// Which way of working it belongs to.
    pub area: Area,
    /// What is required, in one sentence.
    pub requires: &'static str,
    pub(crate) run: Run,
}

pub(crate) type Run = for<'a> fn(&'a Session<'a>) -> BoxFuture<'a, Verdict>;

/// How much depends on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Breaking it can lose work, do it twice, or leave it behind.
    Must,
    /// Breaking it makes trouble harder to find, or costs time.
    Should,
}

/// A way of working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Actions and compensations.
    Act,
    /// Branches that are prepared in a database.
    TwoPhase,
    /// Reservations.
    Tcc,
    /// Endpoints that know nothing of Accordant.
    Plain,
    /// The form of calls and replies, whichever of the first three is tested.
    Contract,
}

impl Area {
    /// Every area.
    pub const ALL: [Self; 5] = [
        Self::Act,
        Self::TwoPhase,
        Self::Tcc,
        Self::Plain,
        Self::Contract,
    ];
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The rule was kept.
    Passed,
    /// It was broken.
    Failed(Failure),
    /// It was not tested.
    Skipped {
        /// Why.
        why: String,
    },
}

/// How a rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What the contract asks for at this point.
    pub expected: String,
    /// What came instead.
    pub came: String,
    /// The last exchanges before it was noticed, oldest first.
    pub exchanges: Vec<Exchange>,
}

/// A request and what came back, both cut to what a person reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Method, path and body.
    pub request: String,
    /// Status and body, or why there is none.
    pub response: String,
}

/// Why a check stops before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed {
        expected: String,
        came: String,
        /// No answer came at all.
        silent: bool,
    },
    Skipped(String),
}

pub(crate) type Verdict<T = ()> = Result<T, Stop>;

/// Stops with a failure.
pub(crate) fn fail<T>(expected: impl Into<String>, came: impl Into<String>) -> Verdict<T> {
    Err(Stop::Failed { expected: expected.into(), came: came.into(), silent: false })
}

/// Stops without a finding.
pub(crate) fn skip<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Stop::Skipped(why.into()))
}

/// Fails unless a condition holds.
pub(crate) fn ensure(holds: bool, expected: &str, came: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        fail(expected, came())
    }
}

/// Makes the list of an area's checks.
macro_rules! checks {
    ($area:ident: $($level:ident $id:literal, $requires:literal, $run:path;)*) => {
        pub(super) const CHECKS: &[$crate::check::Check] = &[$($crate::check::Check {
            id: $id,
            level: $crate::check::Level::$level,
            area: $crate::check::Area::$area,
            requires: $requires,
            run: |session| Box::pin($run(session)),
        }),*];
    };
}
pub(crate) use checks;
