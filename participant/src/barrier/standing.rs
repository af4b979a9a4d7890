//! What the rows of a barrier say.

use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{Identity, Refusal};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::table::{Standing, Verb};
use crate::engine::{Engine, Unanswered};
use crate::look::{read_json, starts};
use crate::pool::Server;

/// A row of a barrier.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    /// Whether it is done; skipped otherwise.
    pub done: bool,
    pub result: Option<Json>,
    pub refusal: Option<Refusal>,
    /// Whether the local transaction that looks has inserted it.
    pub ours: bool,
}

/// The rows of one branch, and where they were seen.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Whether they are those of a TCC branch.
    tcc: bool,
    /// Of `act` or `try`.
    pub first: Option<Barrier>,
    /// Of `compensate`; or of `confirm`, which is skipped where a cancel has come.
    pub second: Option<Barrier>,
    pub identity: Identity,
    /// At or below the retention floor: nothing new is taken, and a row that was there may be
    /// deleted.
    pub below_floor: bool,
    /// What was read here may not have reached the standbys that acknowledgements stand for.
    pub replicated: bool,
}

impl Rows {
    /// Reads the last row of a message that asks how a branch stands.
    pub(crate) fn read(verb: Verb, rows: &[PgRow], server: &Server) -> Result<Self, Unanswered> {
        let Some(row) = rows.last() else {
            return Err(Unanswered::Corrupt("a look at a barrier gave no row"));
        };
        if row.try_get::<bool, _>("recovering")? {
            return Err(Unanswered::Standby);
        }
        let refusal = read_json(row, "first_refusal")?.and_then(|refusal| refusal.to().ok());
        Ok(Self {
            tcc: matches!(verb, Verb::Try | Verb::Confirm | Verb::Cancel),
            first: barrier(row, "first_state", "first_result", "first_ours", refusal)?,
            second: barrier(row, "second_state", "second_result", "second_ours", None)?,
            identity: Engine::identity(server, starts(row)?),
            below_floor: row.try_get("below_floor")?,
            replicated: row.try_get("replicated")?,
        })
    }

    /// How the branch stood before the local transaction that looks.
    pub(crate) fn before(&self) -> Standing {
        let before = |barrier: &'_ Barrier| !barrier.ours;
        let first = self.first.as_ref().filter(|it| before(it));
        self.standing(first, self.second.as_ref().filter(|it| before(it)))
    }

    /// How it stands now.
    pub(crate) fn now(&self) -> Standing {
        self.standing(self.first.as_ref(), self.second.as_ref())
    }

    /// A second row without a first one is what retention leaves in the middle of a branch: such a
    /// branch is below the floor, and nothing is done for it.
    fn standing(&self, first: Option<&Barrier>, second: Option<&Barrier>) -> Standing {
        match (first, second) {
            (None, _) => Standing::Nothing,
            (Some(first), _) if !first.done => Standing::Skipped,
            (Some(_), None) => Standing::Done,
            // The second row of an action is that of its compensation.
            (Some(_), Some(second)) if self.tcc && second.done => Standing::Confirmed,
            (Some(_), Some(_)) => Standing::Undone,
        }
    }

    pub(crate) fn first_result(&self) -> Option<Json> {
        self.first
            .as_ref()
            .and_then(|barrier| barrier.result.clone())
    }

    pub(crate) fn second_result(&self) -> Option<Json> {
        self.second
            .as_ref()
            .and_then(|barrier| barrier.result.clone())
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.first
            .as_ref()
            .and_then(|barrier| barrier.refusal.clone())
    }

    /// Whether what is there was there before, and was only read.
    pub(crate) fn is_only_read(&self) -> bool {
        let ours = |barrier: &Option<Barrier>| barrier.as_ref().is_some_and(|it| it.ours);
        !ours(&self.first) && !ours(&self.second)
    }
}

fn barrier(
    row: &PgRow,
    state: &str,
    result: &str,
    ours: &str,
    refusal: Option<Refusal>,
) -> Result<Option<Barrier>, Unanswered> {
    let done = match row.try_get::<Option<String>, _>(state)?.as_deref() {
        None => return Ok(None),
        Some("done") => true,
        Some("skipped") => false,
        Some(_) => {
            return Err(Unanswered::Corrupt(
                "accordant.branch holds an unknown state",
            ));
        }
    };
    let (result, ours) = (read_json(row, result)?, row.try_get(ours)?);
    Ok(Some(Barrier { done, result, refusal, ours }))
}
