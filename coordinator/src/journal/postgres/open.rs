//! Opening a journal in PostgreSQL.

use accordant_migrations::coordinator::POSTGRES as MIGRATIONS;
use accordant_protocol::id::Incarnation;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row};

use super::super::error::OpenError;
use super::super::incarnation::{check_identity, draw_incarnation, partitions_of};
use super::super::limits::{CALL_WAIT_MAX, POSTGRES_READERS, TAKEOVER_WAIT_MS};
use super::super::store::Description;
use super::link::{Link, Server, complete, examine, session};
use super::options::PostgresOptions;
use super::sqlstate;
use super::statement;
use super::store::PostgresStore;

impl PostgresStore {
    /// Opens the journal, or makes it in the schema `accordant_journal`. Other coordinators may have
    /// it open.
    ///
    /// # Cancel safety
    /// What was begun is rolled back.
    ///
    /// # Errors
    /// [`OpenError`], with what to do.
    pub async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        let parsed: PgConnectOptions = options.url.parse().map_err(unavailable)?;
        let accept_unsafe = options.accept_unsafe_server;
        let opened = async {
            let settings = session(parsed.clone(), TAKEOVER_WAIT_MS);
            let mut connection = settings.connect().await.map_err(unavailable)?;
            let server = examine(&mut connection, accept_unsafe).await?;
            let description = set_up(&mut connection, &options, &server).await?;
            connection.close().await.map_err(unavailable)?;
            Ok::<_, OpenError>((server, description))
        };
        let opened = tokio::time::timeout(CALL_WAIT_MAX, opened).await;
        let (server, description) =
            opened.map_err(|late| OpenError::Unavailable { source: late.into() })??;
        let link = |lock_ms| Link::new(&parsed, &server, accept_unsafe, lock_ms);
        let present = server.clone();
        let readers = PgPoolOptions::new()
            .max_connections(POSTGRES_READERS)
            .acquire_timeout(CALL_WAIT_MAX)
            .after_connect(move |connection, _| {
                let present = present.clone();
                Box::pin(async move { same_server(connection, accept_unsafe, &present).await })
            })
            .connect_lazy_with(session(parsed.clone(), TAKEOVER_WAIT_MS));
        // A flush waits for a take-over for as long as it takes: it is then fenced, or goes on.
        let (writer, keeper) = (link(0), link(TAKEOVER_WAIT_MS));
        Ok(Self::new(
            description,
            writer,
            link(TAKEOVER_WAIT_MS),
            keeper,
            readers,
        ))
    }
}

fn unavailable(error: sqlx::Error) -> OpenError {
    OpenError::Unavailable { source: error.into() }
}

async fn same_server(
    connection: &mut PgConnection,
    accept_unsafe: bool,
    present: &Server,
) -> Result<(), sqlx::Error> {
    let configuration = |error: OpenError| sqlx::Error::Configuration(error.into());
    let found = examine(connection, accept_unsafe)
        .await
        .map_err(configuration)?;
    if found == *present {
        return Ok(());
    }
    let (stored, present) = (present.to_string(), found.to_string());
    Err(configuration(OpenError::Moved { stored, present }))
}

async fn set_up(
    connection: &mut PgConnection,
    options: &PostgresOptions,
    server: &Server,
) -> Result<Description, OpenError> {
    let mut local = connection.begin().await.map_err(unavailable)?;
    // Several coordinators may start at once; one makes the journal, the others wait.
    execute(sqlx::query(statement::LOCK_SCHEMA), &mut local).await?;
    migrate(&mut local).await?;
    let rows = complete(
        sqlx::query(statement::SELECT_JOURNAL),
        &mut local,
        CALL_WAIT_MAX,
    )
    .await;
    let rows = rows.map_err(unavailable)?;
    let schema = MIGRATIONS.len().try_into().unwrap_or(u32::MAX);
    let cluster = options.cluster;
    let description = match rows.first() {
        None => {
            let partitions = partitions_of(options.partitions)?;
            let incarnation = draw_incarnation(None)?;
            let made = Description { cluster, incarnation, partitions, schema };
            insert_journal(&mut local, &made, server).await?;
            made
        }
        Some(row) => {
            let stored_cluster: String = row.try_get(0).map_err(unavailable)?;
            let stored: i64 = row.try_get(1).map_err(unavailable)?;
            let partitions: i32 = row.try_get(2).map_err(unavailable)?;
            let last = Server {
                system_identifier: row.try_get(3).map_err(unavailable)?,
                timeline: row.try_get(4).map_err(unavailable)?,
            };
            let asked = options.partitions;
            let partitions = check_identity(&stored_cluster, partitions.into(), cluster, asked)?;
            let incarnation = if options.restored {
                restore(&mut local, stored, server).await?
            } else if last != *server {
                let (stored, present) = (last.to_string(), server.to_string());
                return Err(OpenError::Moved { stored, present });
            } else {
                let corrupt = |_| OpenError::Corrupt { what: format!("incarnation {stored}") };
                Incarnation(u32::try_from(stored).map_err(corrupt)?)
            };
            Description { cluster, incarnation, partitions, schema }
        }
    };
    // Read to the end of the answer, as `complete` does.
    local.commit().await.map_err(unavailable)?;
    Ok(description)
}

async fn execute(
    query: super::link::Statement<'_>,
    connection: &mut PgConnection,
) -> Result<(), OpenError> {
    complete(query, connection, CALL_WAIT_MAX)
        .await
        .map(drop)
        .map_err(unavailable)
}

async fn insert_journal(
    connection: &mut PgConnection,
    made: &Description,
    server: &Server,
) -> Result<(), OpenError> {
    let journal = sqlx::query(statement::INSERT_JOURNAL)
        .bind(made.cluster.as_str().to_owned())
        .bind(i64::from(made.incarnation.0))
        .bind(i32::from(made.partitions))
        .bind(server.system_identifier.clone())
        .bind(server.timeline);
    execute(journal, connection).await?;
    let partitions = i32::from(made.partitions);
    execute(
        sqlx::query(statement::INSERT_PARTITIONS).bind(partitions),
        connection,
    )
    .await
}

/// Draws another incarnation and fences everyone.
async fn restore(
    connection: &mut PgConnection,
    former: i64,
    server: &Server,
) -> Result<Incarnation, OpenError> {
    let incarnation = draw_incarnation(Some(former))?;
    execute(sqlx::query(statement::KEEP_INCARNATION), connection).await?;
    let set = sqlx::query(statement::SET_INCARNATION)
        .bind(i64::from(incarnation.0))
        .bind(server.system_identifier.clone())
        .bind(server.timeline);
    execute(set, connection).await?;
    execute(sqlx::query(statement::RAISE_ALL), connection).await?;
    tracing::warn!(former, present = incarnation.0, %server, "the journal is opened as restored");
    Ok(incarnation)
}

async fn migrate(connection: &mut PgConnection) -> Result<(), OpenError> {
    let rows = complete(
        sqlx::query(statement::SCHEMA_EXISTS),
        connection,
        CALL_WAIT_MAX,
    )
    .await;
    let exists = rows
        .map_err(unavailable)?
        .first()
        .map_or(Ok(false), |row| row.try_get(0));
    if !exists.map_err(unavailable)? {
        sqlx::raw_sql(statement::CREATE_SCHEMA)
            .execute(&mut *connection)
            .await
            .map_err(schema_error)?;
    }
    let rows = complete(
        sqlx::query(statement::SCHEMA_VERSION),
        connection,
        CALL_WAIT_MAX,
    )
    .await;
    let stored = rows
        .map_err(unavailable)?
        .first()
        .map_or(Ok(0), |row| row.try_get::<i32, _>(0));
    let stored = stored.map_err(unavailable)?;
    let corrupt = |_| OpenError::Corrupt { what: format!("schema version {stored}") };
    let stored = u32::try_from(stored).map_err(corrupt)?;
    let ours = MIGRATIONS.len().try_into().unwrap_or(u32::MAX);
    if stored > ours {
        return Err(OpenError::NewerSchema { stored, ours });
    }
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.version > stored)
    {
        tracing::info!(
            version = migration.version,
            name = migration.name,
            "migrating the journal"
        );
        sqlx::raw_sql(migration.sql)
            .execute(&mut *connection)
            .await
            .map_err(schema_error)?;
        let version = i32::try_from(migration.version).unwrap_or(i32::MAX);
        execute(
            sqlx::query(statement::ADD_VERSION).bind(version),
            connection,
        )
        .await?;
    }
    Ok(())
}

fn schema_error(error: sqlx::Error) -> OpenError {
    if sqlstate::code(&error) == Some(sqlstate::INSUFFICIENT_PRIVILEGE) {
        return OpenError::Unsafe {
            problem: "the role may not make or change the schema accordant_journal: as an \
                      administrator, run `grant create on database <database> to <role>`"
                .into(),
        };
    }
    unavailable(error)
}
