//! The few statements that this crate itself sends.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::timeout;

use crate::limits;
use crate::version::{self, Version};

/// Connects, bounded in time.
pub(crate) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    timeout(limits::CONNECT_WITHIN, PgConnection::connect(url))
        .await
        .unwrap_or_else(|_| {
            Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", limits::CONNECT_WITHIN.as_secs()),
            )))
        })
}

/// Runs statements whose names cannot be parameters and have been quoted by [`identifier`] or
/// [`literal`].
async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

/// Creates an empty database.
pub(crate) async fn create_database(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), sqlx::Error> {
    execute(connection, format!("create database {}", identifier(name))).await
}

/// Drops a database, cutting its connections. It must hold no prepared transaction.
pub(crate) async fn drop_database(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), sqlx::Error> {
    execute(
        connection,
        format!("drop database if exists {} with (force)", identifier(name)),
    )
    .await
}

/// Cuts every other connection to the database of this one.
pub(crate) async fn cut_others(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Rolls back what is prepared in the database of this connection; returns how many were there.
///
/// One that is busy is left for the next call: its connection is just being cut.
pub(crate) async fn roll_back_prepared(
    connection: &mut PgConnection,
) -> Result<usize, sqlx::Error> {
    let rows = sqlx::query("select gid from pg_prepared_xacts where database = current_database()")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let gid: String = row.try_get(0)?;
        match execute(connection, format!("rollback prepared {}", literal(&gid))).await {
            // Gone meanwhile, or busy.
            Ok(()) | Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(rows.len())
}

/// What a server that is not ours must be asked before it is used.
pub(crate) struct Facts {
    pub(crate) version: Version,
    pub(crate) max_prepared_transactions: i32,
    pub(crate) may_create_databases: bool,
}

/// Asks for version, prepared-transaction slots and the right to create databases.
pub(crate) async fn facts(connection: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    let row = sqlx::query(
        "select current_setting('server_version_num')::int4,
                current_setting('max_prepared_transactions')::int4,
                (select rolcreatedb or rolsuper from pg_roles where rolname = current_user)",
    )
    .fetch_one(connection)
    .await?;
    let number: i32 = row.try_get(0)?;
    Ok(Facts {
        version: version::from_number(number.unsigned_abs()),
        max_prepared_transactions: row.try_get(1)?,
        may_create_databases: row.try_get(2)?,
    })
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Safe with `standard_conforming_strings`, which is on unless somebody switched it off.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'b"), "'a''b'");
    }
}
