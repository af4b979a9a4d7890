//! What integration tests with Accordant need: a coordinator, inside the test's process or as a
//! process of its own that can be killed; services in between; and a network that fails on
//! request. A private PostgreSQL is in [`accordant_testbed_postgres`], re-exported as
//! [`postgres`].
//!
//! ```no_run
//! use accordant_testbed::{LocalCoordinator, LocalService, postgres::Postgres};
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Postgres::builder().database("bank").durable(false).start().await?;
//! let place = accordant_testbed::port::reserve()?;
//! let coordinator = LocalCoordinator::builder().participant("bank", &place.url()).start().await?;
//! let bank = accordant_participant::Participant::builder("bank")
//!     .database(server.url("bank"))
//!     .coordinator(coordinator.url())
//!     .allow_unsafe_durability(true)
//!     .connect()
//!     .await?;
//! let bank = LocalService::start(place, bank.router()).await?;
//! // ... start transactions at `coordinator.url()` ...
//! # drop(bank); Ok(()) }
//! ```

pub mod local;
pub mod port;
pub mod process;
pub mod proxy;

pub use accordant_testbed_postgres as postgres;
pub use local::{LocalCoordinator, LocalService};
pub use process::{Process, ProcessError, Role};
pub use proxy::{Fault, Proxy};
