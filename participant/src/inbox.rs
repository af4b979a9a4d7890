//! Seals: the durable no of a branch, in the table that holds its marker.

use accordant_protocol::branch::Holding;
use accordant_protocol::id::Gid;
use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{Identity, Refusal};
use sqlx::Row as _;

use crate::engine::{Engine, Unanswered};
use crate::limits::STATEMENT_MAX;
use crate::look::{bounded, read_json, starts};
use crate::metric;
use crate::pool::Lease;
use crate::sqlstate::{self, SealFault};
use crate::statement::{self, Session};

/// What is there after a seal was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Sealed {
    /// A seal: this one, or an earlier one with its own refusal.
    Aborted { refusal: Option<Refusal>, identity: Identity },
    /// The marker: the branch had committed.
    Committed { result: Option<Json>, identity: Identity },
    /// A marker that is not committed stands in the way: the branch is voting or prepared. The
    /// connection is to be dropped.
    Blocked,
}

/// Seals a branch and says what is there afterwards.
///
/// # Durability
/// What is reported is on the disk of this server, and on those of its synchronous standbys.
///
/// # Errors
/// The seal may be there or not; sealing again does no harm. The connection is to be dropped.
pub(crate) async fn seal(
    engine: &Engine,
    lease: &mut Lease,
    gid: &Gid,
    refusal: Option<&Refusal>,
    session: Session,
) -> Result<Sealed, Unanswered> {
    let server = lease.server().clone();
    let said = refusal
        .map(serde_json::to_string)
        .transpose()
        .unwrap_or_default();
    let text = statement::seal(gid, said.as_deref(), session);
    let asked = bounded(STATEMENT_MAX, sqlx::raw_sql(text).fetch_all(lease.pg())).await;
    let rows = match asked {
        Ok(rows) => rows,
        Err(Unanswered::Database(error)) => {
            metric::error(engine, sqlstate::code(&error));
            return match sqlstate::of_seal(&error) {
                SealFault::Blocked => Ok(Sealed::Blocked),
                SealFault::ReadOnlyServer => Err(Unanswered::Standby),
                SealFault::Unknown => Err(Unanswered::Database(error)),
            };
        }
        Err(other) => return Err(other),
    };
    let Some(row) = rows.last() else {
        return Err(Unanswered::Corrupt("neither seal nor marker after a seal"));
    };
    let identity = Engine::identity(&server, starts(row)?);
    let state: String = row.try_get("state")?;
    // An earlier row was only read: nothing was flushed for it here.
    if row.try_get("replicated")? {
        crate::look::barrier(lease).await?;
    }
    match state.as_str() {
        "aborted" => {
            metric::seal(engine);
            let refusal = read_json(row, "refusal")?.and_then(|refusal| refusal.to().ok());
            Ok(Sealed::Aborted { refusal, identity })
        }
        "committed" => Ok(Sealed::Committed { result: read_json(row, "result")?, identity }),
        _ => Err(Unanswered::Corrupt(
            "accordant.branch holds an unknown state",
        )),
    }
}

impl Sealed {
    /// As a look would have found it.
    pub(crate) fn holding(&self) -> Holding {
        match self {
            Self::Aborted { .. } => Holding::Sealed,
            Self::Committed { .. } => Holding::Committed,
            Self::Blocked => Holding::Active,
        }
    }
}
