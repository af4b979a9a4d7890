//! Brings the tables up to this library's version. Forward only; replicas may start together.

use accordant_migrations::Migration;
use accordant_migrations::participant::POSTGRES;
use sqlx::{PgConnection, Row as _};
use tracing::info;

use crate::statement;

/// Why the tables are not of this library's version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A later version of the library has been here.
    #[error(
        "the schema `accordant` has version {found} and this library knows {known}; run a version \
         of accordant-participant that is at least as new as the newest that has run here"
    )]
    Newer {
        /// In the database.
        found: u32,
        /// The newest of this library.
        known: u32,
    },
    /// The tables are older, and migrating was switched off.
    #[error(
        "the schema `accordant` has version {found} and this library needs {known}; start it once \
         with a role that may create schemas and with `migrate(true)`"
    )]
    Older {
        /// In the database.
        found: u32,
        /// The newest of this library.
        known: u32,
    },
    /// The database refused.
    #[error(
        "the schema `accordant` could not be brought up to date; the role needs `grant create on database`"
    )]
    Database(#[from] sqlx::Error),
}

/// Migrates if need be. Needs no right to create anything where nothing is to be created.
pub(crate) async fn migrate(pg: &mut PgConnection, allowed: bool) -> Result<(), MigrateError> {
    let known = POSTGRES.last().map_or(0, |migration| migration.version);
    let found = version(pg).await?;
    match found {
        found if found > known => Err(MigrateError::Newer { found, known }),
        found if found == known => Ok(()),
        found if !allowed => Err(MigrateError::Older { found, known }),
        _ => apply(pg, known).await,
    }
}

async fn version(pg: &mut PgConnection) -> Result<u32, MigrateError> {
    let row = sqlx::query(statement::MIGRATED).fetch_one(&mut *pg).await?;
    if !row.try_get::<bool, _>("there")? {
        return Ok(0);
    }
    let row = sqlx::query(statement::MIGRATION_VERSION)
        .fetch_one(pg)
        .await?;
    let version: i64 = row.try_get("version")?;
    Ok(u32::try_from(version).unwrap_or(u32::MAX))
}

/// All steps in one transaction: a crash leaves the old version.
async fn apply(pg: &mut PgConnection, known: u32) -> Result<(), MigrateError> {
    sqlx::raw_sql(statement::MIGRATE_BEGIN)
        .execute(&mut *pg)
        .await?;
    // Another replica may have done it while we waited for the lock.
    let found = version(pg).await?;
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    for Migration { version, name, sql } in POSTGRES.iter().filter(|step| step.version > found) {
        sqlx::raw_sql(*sql).execute(&mut *pg).await?;
        let done = sqlx::query(statement::MIGRATION_DONE)
            .bind(i64::from(*version))
            .bind(*name);
        done.execute(&mut *pg).await?;
        info!(version, name, "the participant's tables were migrated");
    }
    sqlx::raw_sql("commit").execute(pg).await?;
    Ok(())
}
