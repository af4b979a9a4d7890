//! What must be so before a participant may start. Each refusal says how to mend it.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::statement;

/// Why the database is not fit for a participant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// Its minor version has bugs that lose or resurrect prepared transactions.
    #[error(
        "PostgreSQL {found} has bugs that can lose prepared transactions; upgrade to 14.14, 15.9, \
         16.5, 17.1, any 18, or later"
    )]
    Version {
        /// Its version.
        found: String,
    },
    /// Prepared transactions are switched off, as they are by default.
    #[error(
        "prepared transactions are disabled (max_prepared_transactions = 0); run \
         `alter system set max_prepared_transactions = {needed}` and restart PostgreSQL"
    )]
    Disabled {
        /// At least this many slots are needed.
        needed: i64,
    },
    /// There are fewer slots for prepared transactions than branches at work.
    #[error(
        "max_prepared_transactions is {found}, and {needed} are needed; run \
         `alter system set max_prepared_transactions = {needed}` and restart PostgreSQL (its \
         standbys first), or lower `connections_max` or `prepared_slots_min` of the participant"
    )]
    Slots {
        /// The setting.
        found: i64,
        /// What is needed.
        needed: i64,
    },
    /// It is a standby.
    #[error(
        "the server is in recovery; connect to the primary (`target_session_attrs` does not do)"
    )]
    Standby,
    /// A crash of the machine would destroy what was acknowledged.
    #[error(
        "{setting} is off, so a crash of the machine may destroy what was acknowledged; set it to \
         on and reload, or call `allow_unsafe_durability(true)` in a test"
    )]
    Durability {
        /// The setting.
        setting: &'static str,
    },
    /// The session did not take a setting that the participant asked for.
    #[error(
        "{setting} is {found:?} in the participant's sessions although it asked for {wanted:?}; \
         connect to PostgreSQL directly, not through a pooler that drops startup options"
    )]
    Session {
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Texts would be cut or refused.
    #[error("the database's encoding is {found}; create it with `encoding 'UTF8'`")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// A column of ours is missing or of another type.
    #[error(
        "column accordant.{table}.{column} should be of type {wanted} and is {found}; restore the \
         schema `accordant`, which only this library may change"
    )]
    Column {
        /// Its table.
        table: &'static str,
        /// Its name.
        column: &'static str,
        /// Its type.
        wanted: &'static str,
        /// What was found.
        found: String,
    },
    /// The checks could not be made.
    #[error("the start-up checks could not be made")]
    Database(#[from] sqlx::Error),
}

/// What the checks go by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    pub slots: i64,
    pub unsafe_durability: bool,
}

const WANTED_COLUMNS: &[(&str, &str, &str)] = &[
    ("branch", "gtid", "text"),
    ("branch", "branch", "smallint"),
    ("branch", "op", "text"),
    ("branch", "state", "text"),
    ("branch", "result", "text"),
    ("branch", "refusal", "text"),
    ("branch", "epoch", "bigint"),
    ("branch", "at", "timestamp with time zone"),
    ("instance", "singleton", "boolean"),
    ("instance", "starts", "bigint"),
    ("floor", "issuer", "text"),
    ("floor", "minted", "bigint"),
    ("floor", "settling", "bigint"),
    ("floor", "since", "timestamp with time zone"),
    ("floor", "settled", "bigint"),
    ("outbox", "id", "uuid"),
    ("outbox", "plan", "text"),
    ("outbox", "traceparent", "text"),
    ("outbox", "created_at", "timestamp with time zone"),
    ("outbox", "attempts", "bigint"),
    ("outbox", "next_at", "timestamp with time zone"),
    ("outbox", "state", "text"),
    ("outbox", "error", "text"),
];

/// Checks the server and the session, before the tables are there.
pub(crate) async fn server(pg: &mut PgConnection, wishes: Wishes) -> Result<(), CheckError> {
    let row = sqlx::query(statement::SETTINGS).fetch_one(pg).await?;
    if row.try_get("recovering")? {
        return Err(CheckError::Standby);
    }
    let version: i64 = row.try_get("version")?;
    if !is_safe(version) {
        return Err(CheckError::Version { found: row.try_get("version_text")? });
    }
    match row.try_get("slots")? {
        0 => return Err(CheckError::Disabled { needed: wishes.slots }),
        found if found < wishes.slots => {
            return Err(CheckError::Slots { found, needed: wishes.slots });
        }
        _ => {}
    }
    for setting in ["fsync", "full_page_writes"] {
        if !wishes.unsafe_durability && !row.try_get::<bool, _>(setting)? {
            return Err(CheckError::Durability { setting });
        }
    }
    let encoding: String = row.try_get("encoding")?;
    if encoding != "UTF8" {
        return Err(CheckError::Encoding { found: encoding });
    }
    session(&row)
}

fn session(row: &PgRow) -> Result<(), CheckError> {
    for (setting, wanted) in [("synchronous_commit", "on"), ("statement_timeout", "0")] {
        let found: String = row.try_get(setting)?;
        if found != wanted {
            return Err(CheckError::Session { setting, found, wanted });
        }
    }
    if !row.try_get::<bool, _>("conforming")? {
        let (found, wanted) = ("off".to_owned(), "on");
        return Err(CheckError::Session { setting: "standard_conforming_strings", found, wanted });
    }
    Ok(())
}

/// Checks our tables.
pub(crate) async fn tables(pg: &mut PgConnection) -> Result<(), CheckError> {
    let rows = sqlx::query(statement::COLUMNS).fetch_all(pg).await?;
    let mut columns = Vec::with_capacity(rows.len());
    for row in rows {
        let column: (String, String, String) = (
            row.try_get("table_name")?,
            row.try_get("column_name")?,
            row.try_get("data_type")?,
        );
        columns.push(column);
    }
    for &(table, column, wanted) in WANTED_COLUMNS {
        let found = columns.iter().find(|(t, c, _)| t == table && c == column);
        match found {
            Some((_, _, found)) if found == wanted => {}
            Some((_, _, found)) => {
                let found = found.clone();
                return Err(CheckError::Column { table, column, wanted, found });
            }
            None => {
                let found = "missing, or not readable by this role".to_owned();
                return Err(CheckError::Column { table, column, wanted, found });
            }
        }
    }
    Ok(())
}

/// The first minor version of each major one without the bugs, as `server_version_num`.
fn is_safe(version: i64) -> bool {
    match version / 10_000 {
        ..14 => false,
        14 => version >= 140_014,
        15 => version >= 150_009,
        16 => version >= 160_005,
        17 => version >= 170_001,
        18.. => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_without_the_known_bugs_are_safe() {
        for (version, safe) in [
            (130_022, false),
            (140_013, false),
            (140_014, true),
            (150_008, false),
            (150_009, true),
            (150_018, true),
            (160_004, false),
            (160_005, true),
            (170_000, false),
            (170_001, true),
            (180_000, true),
            (190_000, true),
        ] {
            assert_eq!(is_safe(version), safe, "{version}");
        }
    }
}
