//! A connection of the journal's own: checked when it is made, given up when in doubt.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Row};
use tokio::sync::{Mutex, MutexGuard};

use super::super::error::{Cause, OpenError};
use super::super::limits::CALL_WAIT_MAX;
use super::statement;

/// The oldest server that the journal is tested with.
const VERSION_MIN: i32 = 140_000;

/// Which server it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) system_identifier: String,
    pub(super) timeline: i64,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (timeline {})", self.system_identifier, self.timeline)
    }
}

/// How the journal's sessions are set. A session that waits for a lock may be cancelled only where
/// nothing is written yet.
pub(super) fn session(options: PgConnectOptions, lock_timeout_ms: u32) -> PgConnectOptions {
    let lock_timeout = lock_timeout_ms.to_string();
    options
        .application_name("accordant-journal")
        .options([
            ("synchronous_commit", "on"),
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("lock_timeout", lock_timeout.as_str()),
            ("default_transaction_read_only", "off"),
            ("default_transaction_isolation", "read committed"),
            // The plan of a flush must look records up by key, also one made while the tables were
            // empty, and compiling it takes longer than executing it.
            ("enable_seqscan", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ])
        // The statements are known and their values are payloads: neither belongs in a log.
        .disable_statement_logging()
}

/// Looks at the server behind a connection, and refuses one that would lose writes.
pub(super) async fn examine(
    connection: &mut PgConnection,
    accept_unsafe: bool,
) -> Result<Server, OpenError> {
    let unavailable = |error: sqlx::Error| OpenError::Unavailable { source: error.into() };
    let rows = sqlx::query(statement::SERVER)
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    let row = rows
        .first()
        .ok_or_else(|| unavailable(sqlx::Error::RowNotFound))?;
    let text = |at: usize| row.try_get::<String, _>(at).map_err(unavailable);
    let in_recovery: bool = row.try_get(0).map_err(unavailable)?;
    let version: i32 = row.try_get(3).map_err(unavailable)?;
    let refuse = |problem: &str| Err(OpenError::Unsafe { problem: problem.to_owned() });
    if in_recovery || text(9)? != "off" {
        return refuse("the server is a standby or read-only: connect to the primary");
    }
    if version < VERSION_MIN {
        return refuse("the server is older than PostgreSQL 14: upgrade it");
    }
    if text(4)? != "UTF8" {
        return refuse("the database's encoding is not UTF8: make one with `encoding 'UTF8'`");
    }
    if text(7)? != "on" || text(8)? != "read committed" || text(10)? != "0" {
        return refuse(
            "the session is not set as asked (synchronous_commit on, read committed, \
             statement_timeout 0): connect directly, not through a pooler",
        );
    }
    if !accept_unsafe && text(5)? != "on" {
        return refuse("fsync is off: set `fsync = on` in postgresql.conf and restart the server");
    }
    if !accept_unsafe && text(6)? != "on" {
        return refuse(
            "full_page_writes is off: set `full_page_writes = on` in postgresql.conf and reload",
        );
    }
    let timeline = row.try_get(2).map_err(unavailable)?;
    Ok(Server { system_identifier: text(1)?, timeline })
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum LinkError {
    /// Try again.
    Unavailable(Cause),
    /// The journal is no longer where it was: nothing that this process knows may be relied on.
    Moved(Cause),
}

/// One connection, made when it is needed. Whoever uses it takes it out, and puts it back only if
/// nothing is in doubt; so a future that is dropped closes it.
pub(super) struct Link {
    options: PgConnectOptions,
    server: Server,
    accept_unsafe: bool,
    slot: Mutex<Option<PgConnection>>,
}

/// A connection taken out of its link.
pub(super) struct Taken<'a> {
    slot: MutexGuard<'a, Option<PgConnection>>,
    pub(super) connection: PgConnection,
}

impl Taken<'_> {
    pub(super) fn put_back(mut self) {
        *self.slot = Some(self.connection);
    }
}

impl Link {
    pub(super) fn new(
        options: &PgConnectOptions,
        server: &Server,
        accept_unsafe: bool,
        lock_timeout_ms: u32,
    ) -> Self {
        let options = session(options.clone(), lock_timeout_ms);
        Self {
            options,
            server: server.clone(),
            accept_unsafe,
            slot: Mutex::new(None),
        }
    }

    pub(super) async fn take(&self) -> Result<Taken<'_>, LinkError> {
        let mut slot = self.slot.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => within(CALL_WAIT_MAX, self.connect()).await?,
        };
        Ok(Taken { slot, connection })
    }

    async fn connect(&self) -> Result<PgConnection, LinkError> {
        let connected = self.options.connect().await;
        let mut connection = connected.map_err(|error| LinkError::Unavailable(error.into()))?;
        match examine(&mut connection, self.accept_unsafe).await {
            Ok(server) if server == self.server => Ok(connection),
            Ok(server) => Err(LinkError::Moved(
                OpenError::Moved { stored: self.server.to_string(), present: server.to_string() }
                    .into(),
            )),
            Err(error) => Err(LinkError::Unavailable(error.into())),
        }
    }
}

async fn within<T>(
    wait: Duration,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    tokio::time::timeout(wait, work)
        .await
        .unwrap_or_else(|late| Err(LinkError::Unavailable(late.into())))
}

/// A statement with its values.
pub(super) type Statement<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Executes a statement to its very end, or gives it up: then the connection must be closed.
///
/// The server reports the result of a statement before it commits, and the commit after. So a
/// writing statement counts as done only when the server is ready for the next one, which is what
/// reading *all* of its answer waits for; reading one row would not.
pub(super) async fn complete(
    statement: Statement<'_>,
    connection: &mut PgConnection,
    wait: Duration,
) -> Result<Vec<PgRow>, sqlx::Error> {
    tokio::time::timeout(wait, statement.fetch_all(connection))
        .await
        .unwrap_or_else(|late| Err(sqlx::Error::Io(std::io::Error::other(late))))
}
