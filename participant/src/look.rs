//! What the database holds for a branch.

use std::time::Duration;

use accordant_protocol::branch::Holding;
use accordant_protocol::id::Gid;
use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{Identity, Refusal};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::timeout;

use crate::engine::{Engine, Unanswered};
use crate::limits::STATEMENT_MAX;
use crate::pool::{Lease, Server};
use crate::statement;

/// What was seen, and where.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub holding: Holding,
    /// From the marker.
    pub result: Option<Json>,
    /// From the seal.
    pub refusal: Option<Refusal>,
    pub identity: Identity,
    /// At or below the retention floor: a row that was there may be deleted.
    pub below_floor: bool,
    /// What was read here may not have reached the standbys that acknowledgements stand for.
    pub replicated: bool,
}

/// Looks, on a connection without an open transaction.
pub(crate) async fn look(lease: &mut Lease, gid: &Gid) -> Result<Look, Unanswered> {
    let server = lease.server().clone();
    let text = statement::look(gid, server.database);
    let rows = bounded(STATEMENT_MAX, sqlx::raw_sql(text).fetch_all(lease.pg())).await?;
    read(&rows, &server)
}

/// Waits for the database for so long and no longer. A statement that was not waited for is of
/// unknown outcome; the caller drops the connection, and no cancel request is sent.
pub(crate) async fn bounded<T>(
    longest: Duration,
    asking: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Unanswered> {
    match timeout(longest, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Unanswered::Timeout),
    }
}

/// Reads the last two rows of a message that looks.
pub(crate) fn read(rows: &[PgRow], server: &Server) -> Result<Look, Unanswered> {
    let [.., lock, row] = rows else {
        return Err(Unanswered::Corrupt("a look gave no rows"));
    };
    if row.try_get::<bool, _>("recovering")? {
        return Err(Unanswered::Standby);
    }
    let state: Option<String> = row.try_get("state")?;
    let prepared: bool = row.try_get("prepared")?;
    let free: bool = lock.try_get("free")?;
    let holding = match state.as_deref() {
        Some("committed") => Holding::Committed,
        Some("aborted") => Holding::Sealed,
        Some(_) => {
            return Err(Unanswered::Corrupt(
                "accordant.branch holds an unknown state",
            ));
        }
        None if prepared => Holding::Prepared,
        None if !free => Holding::Active,
        None => Holding::Nothing,
    };
    Ok(Look {
        holding,
        result: read_json(row, "result")?,
        refusal: read_json(row, "refusal")?.and_then(|refusal| refusal.to().ok()),
        identity: Engine::identity(server, starts(row)?),
        below_floor: row.try_get("below_floor")?,
        replicated: row.try_get("replicated")?,
    })
}

/// The start count. Without it the tables are not ours.
pub(crate) fn starts(row: &PgRow) -> Result<i64, Unanswered> {
    let starts: Option<i64> = row.try_get("starts")?;
    starts.ok_or(Unanswered::Corrupt("accordant.instance has no row"))
}

pub(crate) fn read_json(row: &PgRow, column: &str) -> Result<Option<Json>, Unanswered> {
    let text: Option<String> = row.try_get(column)?;
    text.map(Json::from_text)
        .transpose()
        .map_err(|_| Unanswered::Corrupt("accordant.branch holds a result that is not JSON"))
}

/// Makes what was read on this connection as durable as what was acknowledged: a prepared branch
/// or a marker is visible before it is replicated if its own session was cut off meanwhile.
pub(crate) async fn barrier(lease: &mut Lease) -> Result<(), Unanswered> {
    bounded(
        STATEMENT_MAX,
        sqlx::query(statement::BARRIER).execute(lease.pg()),
    )
    .await?;
    Ok(())
}
