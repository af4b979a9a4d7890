//! Connections of our own: a stack of idle ones, and a bound on those in use.
//!
//! A pool that pings, resets and hands on is the wrong place for a connection that may carry a
//! transaction of unknown state. Here a connection goes back only by [`Lease::release`]; whatever
//! else happens to a lease closes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clock;
use crate::limits::{CONNECT_MAX, CONNECTION_AGE_MS_MAX, LEASE_WAIT};
use crate::statement;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// All are in use, and none came free in time.
    #[error("every connection is in use")]
    Busy,
    /// The pool was closed.
    #[error("the participant is shutting down")]
    Closed,
    /// The database did not answer in time.
    #[error("the database did not accept a connection in time")]
    Timeout,
    /// The database refused, or was not there.
    #[error("the database did not accept a connection")]
    Connect(#[source] sqlx::Error),
    /// It is a standby.
    #[error("the server is in recovery; a participant needs the primary")]
    Standby,
}

impl LeaseError {
    /// Whether the server has no connection left (SQLSTATE 53300).
    pub(crate) fn is_server_full(&self) -> bool {
        let Self::Connect(error) = self else {
            return false;
        };
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == "53300")
    }
}

/// Which server a connection leads to. Neither part changes while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// The server cluster's system identifier and the database's oid.
    pub system: String,
    /// The timeline of the primary.
    pub timeline: u32,
    /// The database's oid.
    pub database: u32,
}

struct Connection {
    pg: PgConnection,
    server: Server,
    opened_ms: u64,
}

/// Up to so many connections to one database.
pub(crate) struct Pool {
    options: PgConnectOptions,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Whether our tables are there, so that a session can plan for them.
    migrated: AtomicBool,
}

/// One connection, for one use. Dropping it closes the connection.
pub(crate) struct Lease {
    connection: Connection,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, connections_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections_max));
        let (idle, migrated) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        Arc::new(Self { options, idle, permits, migrated })
    }

    /// Our tables are there now. Connections made before are not to be released.
    pub(crate) fn set_migrated(&self) {
        self.migrated.store(true, Ordering::SeqCst);
    }

    /// Takes a connection, idle or new.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, LeaseError> {
        let permit = match timeout(LEASE_WAIT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(LeaseError::Closed),
            Err(_) => return Err(LeaseError::Busy),
        };
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Lease { connection, pool: Arc::clone(self), _permit: permit })
    }

    /// Forgets the idle connections: one of their kind was found dead.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// Lends no more.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.clear();
    }

    fn take_idle(&self) -> Option<Connection> {
        let oldest_ms = clock::now()
            .as_millis()
            .saturating_sub(CONNECTION_AGE_MS_MAX);
        let mut idle = self.idle();
        loop {
            let connection = idle.pop()?;
            if connection.opened_ms >= oldest_ms {
                return Some(connection);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, LeaseError> {
        let opening = async {
            let mut pg = PgConnection::connect_with(&self.options).await?;
            // A nested `begin` of a handler must become a savepoint, not end our transaction. sqlx
            // counts the transactions that it began itself, so it is made to count one, for good:
            // this one, which it never sees the end of, and which the next message rolls back.
            std::mem::forget(pg.begin().await?);
            let row = sqlx::raw_sql(statement::SERVER).fetch_one(&mut pg).await?;
            if self.migrated.load(Ordering::SeqCst) {
                sqlx::raw_sql(statement::PLANS).execute(&mut pg).await?;
            }
            Ok((pg, row))
        };
        let (pg, row) = match timeout(CONNECT_MAX, opening).await {
            Ok(opened) => opened.map_err(LeaseError::Connect)?,
            Err(_) => return Err(LeaseError::Timeout),
        };
        let server = read_server(&row).map_err(LeaseError::Connect)?;
        let server = server.ok_or(LeaseError::Standby)?;
        Ok(Connection { pg, server, opened_ms: clock::now().as_millis() })
    }
}

/// `None` for a standby.
fn read_server(row: &sqlx::postgres::PgRow) -> Result<Option<Server>, sqlx::Error> {
    let (system, database): (String, i64) = (row.try_get("system")?, row.try_get("database")?);
    let timeline: Option<String> = row.try_get("timeline")?;
    let Some(timeline) = timeline else {
        return Ok(None);
    };
    let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let timeline = u32::from_str_radix(&timeline, 16).map_err(|error| decode(error.into()))?;
    let system = format!("{system}/{database}");
    let database = u32::try_from(database).map_err(|error| decode(error.into()))?;
    Ok(Some(Server { system, timeline, database }))
}

impl Lease {
    pub(crate) fn pg(&mut self) -> &mut PgConnection {
        &mut self.connection.pg
    }

    pub(crate) fn server(&self) -> &Server {
        &self.connection.server
    }

    /// Gives the connection back. Only after the server has said that no transaction is open.
    pub(crate) fn release(self) {
        let Self { connection, pool, _permit } = self;
        // A handler may have unbalanced sqlx's count; then its `begin` would mean something else.
        if connection.pg.is_in_transaction() && !pool.permits.is_closed() {
            pool.idle().push(connection);
        }
    }

    /// Closes the connection because it is dead, and the idle ones that have likely died with it.
    pub(crate) fn discard(self) {
        self.pool.clear();
    }
}
