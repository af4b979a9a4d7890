//! The participant's side: what a call means, given what the participant's database holds.
//!
//! The table is the rule; the participant library carries the acts out against PostgreSQL, the
//! explorer against a model of it. What the database holds can change between the look and the
//! act, so each act ends in a statement that the database itself refuses when it has: the marker's
//! and the seal's common primary key, and `COMMIT PREPARED` of a name that is not there. Whoever
//! is refused looks again.

mod table;

pub use table::{Act, Holding, TABLE, TableMarkdown, Verb, act};
