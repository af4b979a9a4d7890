//! The journal in one SQLite file: the default, for one coordinator on one machine.
//!
//! One thread owns the connection that writes, another the one that reads. A flush is one local
//! transaction and one forced write (of the write-ahead log). The file must be on a local disk.
//!
//! What it guards against, besides crashes: a second coordinator on the file, a file or its log that
//! is deleted or replaced while open, a full disk, a library with the WAL-reset defect, and reading
//! pages back that a failed sync has left in memory only.

mod engine;
mod failure;
mod files;
mod open;
mod statement;
mod store;
mod tables;
mod thread;

pub use open::SqliteOptions;
#[doc(hidden)]
pub use statement::ALL as STATEMENTS;
pub use store::SqliteStore;
