//! The tables of the coordinator's journal. Each step runs in one local transaction with the change
//! of the schema's version; in PostgreSQL the schema `accordant_journal` is there before the first.

use crate::Migration;

/// For SQLite; the version stands in `pragma user_version`.
pub const SQLITE: [Migration; 2] = [
    Migration {
        version: 1,
        name: "journal",
        sql: include_str!("../coordinator/sqlite/0001_journal.sql"),
    },
    Migration {
        version: 2,
        name: "stuck",
        sql: include_str!("../coordinator/sqlite/0002_stuck.sql"),
    },
];

/// For PostgreSQL; the version stands in `accordant_journal.schema_version`.
pub const POSTGRES: [Migration; 2] = [
    Migration {
        version: 1,
        name: "journal",
        sql: include_str!("../coordinator/postgres/0001_journal.sql"),
    },
    Migration {
        version: 2,
        name: "stuck",
        sql: include_str!("../coordinator/postgres/0002_stuck.sql"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_from_1_without_a_gap() {
        for migrations in [SQLITE.as_slice(), POSTGRES.as_slice()] {
            for (migration, version) in migrations.iter().zip(1..) {
                assert_eq!(migration.version, version, "{}", migration.name);
            }
        }
    }
}
