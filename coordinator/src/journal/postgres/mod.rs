//! The journal in PostgreSQL: for several coordinators, or where the database's replication is
//! wanted.
//!
//! A flush is one statement in a local transaction of its own: one round trip and one forced write.
//! The statement locks the row of each partition against a change of key, and only a take-over
//! changes that key; so a take-over waits for a flush in flight, and a flush after it writes nothing.
//!
//! # What the server must be
//!
//! The primary, version 14 or later, reached directly (a pooler between would hide which server
//! answers), with `fsync` and `full_page_writes` on. Which server it is, by system identifier and
//! timeline, is stored and compared at each start and each connection.
//!
//! # Replication
//!
//! A commit waits for the synchronous standbys that the server has configured. A wait that is
//! cancelled on the server (`pg_cancel_backend`, an immediate restart) ends as a success with
//! warning 01000, which the driver does not show: never cancel the sessions named
//! `accordant-journal`. Whatever is concluded from what was found, rather than from a flush of our
//! own, is preceded by a write, which waits for the standbys once more.

mod flush;
mod link;
mod open;
mod options;
mod sqlstate;
mod statement;
mod store;

pub use options::PostgresOptions;
#[doc(hidden)]
pub use statement::ALL as STATEMENTS;
pub use store::PostgresStore;
