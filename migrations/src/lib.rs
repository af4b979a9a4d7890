//! The SQL schemas of Accordant as constants: forward only, never edited once landed.
//!
//! The files stand beside this crate's sources, by owner and database; `coordinator` and
//! `participant` carry a small runner each, so that neither needs sqlx's `migrate` feature.

pub mod coordinator;
pub mod participant;

/// One step of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Counts from 1 without a gap.
    pub version: u32,
    /// What it brings, for logs.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}
