//! The tables of a participant, in the schema `accordant` of its own database.

use crate::Migration;

/// The steps for PostgreSQL, in their order. The runner makes the schema `accordant` and its table
/// `accordant.migration` before the first.
pub const POSTGRES: &[Migration] = &[
    Migration {
        version: 1,
        name: "branch",
        sql: include_str!("../participant/postgres/0001_branch.sql"),
    },
    Migration {
        version: 2,
        name: "outbox",
        sql: include_str!("../participant/postgres/0002_outbox.sql"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_from_one_without_a_gap() {
        for (migration, version) in POSTGRES.iter().zip(1..) {
            assert_eq!(migration.version, version, "{}", migration.name);
        }
    }
}
