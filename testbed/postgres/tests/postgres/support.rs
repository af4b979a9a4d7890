//! What the tests of this crate share.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Connects, as a user's test would.
pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Prepares a transaction of one statement and closes its connection.
pub(crate) async fn prepare(url: &str, gid: &str, statement: &str) {
    let mut connection = connect(url).await;
    let gid = gid.replace('\'', "''");
    let text = format!("begin; {statement}; prepare transaction '{gid}'");
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Every prepared transaction of the server.
pub(crate) async fn prepared(url: &str) -> Vec<String> {
    let mut connection = connect(url).await;
    sqlx::query_scalar("select gid from pg_prepared_xacts order by gid")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// The one number that a query returns.
pub(crate) async fn number(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Whether a process with this id is there; false where there is no `/proc` to ask.
pub(crate) fn is_process(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Processes whose working directory is the data directory, which the server's are. Its name
/// has ` (deleted)` behind it once it is removed.
pub(crate) fn processes_in(data: &Path) -> Vec<u32> {
    let Ok(entries) = Path::new("/proc").read_dir() else {
        return Vec::new();
    };
    let data = data.display().to_string();
    entries
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|cwd| cwd.display().to_string().starts_with(&data))
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}
