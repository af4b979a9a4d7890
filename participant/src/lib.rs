//! Take part in Accordant transactions from a service on PostgreSQL.
//!
//! ```no_run
//! use accordant_participant::{Branch, Participant, Refusal};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Debit { account: i64, cents: i64 }
//!
//! #[derive(Serialize)]
//! struct Receipt { left: i64 }
//!
//! async fn debit(branch: &mut Branch, order: Debit) -> Result<Receipt, Refusal> {
//!     let left: Option<(i64,)> = sqlx::query_as(
//!         "update account set cents = cents - $1 where id = $2 and cents >= $1 returning cents",
//!     )
//!     .bind(order.cents)
//!     .bind(order.account)
//!     .fetch_optional(branch.connection())
//!     .await?;
//!     match left {
//!         Some((left,)) => Ok(Receipt { left }),
//!         None => Err(Refusal::new("insufficient_funds", "the account does not cover it")),
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let participant = Participant::builder("bank-a")
//!         .database("postgres://bank@localhost/bank_a")
//!         .coordinator("http://127.0.0.1:7650")
//!         .operation("debit", debit)
//!         .connect()
//!         .await?;
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:7701").await?;
//!     participant.serve(listener).await?;
//!     Ok(())
//! }
//! ```
//!
//! The handler works in a local transaction of the library's. When it returns, the library
//! prepares that transaction and votes; the coordinator decides; the library commits or rolls
//! back. What a call means in which state is the table in [`accordant_protocol::branch`]; how it is
//! carried out safely on PostgreSQL is in the modules named there. The contract on the wire is
//! described in `docs/participants.md`.
//!
//! | module | what it answers for |
//! |---|---|
//! | `prepare`, `finish` | the two calls: look, act, look again |
//! | `act` | actions, compensations and messages |
//! | `tcc` | try, confirm and cancel |
//! | `barrier` | what guards them against repeats and disorder |
//! | `settle` | actions that went on elsewhere |
//! | `outbox`, `push`, `local` | messages that the service sends itself |
//! | `statement` | every SQL text; the only place that builds one from parts |
//! | `prepared` | the statements of two-phase commit |
//! | `inbox` | seals |
//! | `look` | what the database holds for a branch |
//! | `sqlstate` | what an error means |
//! | `pool` | connections of our own |
//! | `coordinator` | requests to it |
//! | `sweep`, `inquiry` | own branches in doubt |
//! | `retention` | what keeps the table from growing |
//! | `check`, `migrate` | what must be so before a start |
//! | `router` | the contract over HTTP |

mod act;
mod barrier;
mod bounds;
mod branch;
mod builder;
mod check;
mod clock;
mod coordinator;
pub mod crash;
mod engine;
mod finish;
mod handler;
mod id;
mod inbox;
mod inquiry;
mod limits;
mod local;
mod look;
mod message;
mod metric;
mod migrate;
mod outbox;
mod participant;
mod pool;
mod prepare;
mod prepared;
mod push;
mod refusal;
mod retention;
mod router;
mod settle;
mod sqlstate;
mod statement;
mod sweep;
mod tcc;
pub mod testing;
mod work;

pub use accordant_protocol as protocol;
pub use branch::Branch;
pub use builder::{Builder, StartError};
pub use check::CheckError;
pub use handler::{FollowUp, Handler};
pub use id::{MessageId, RandomError};
pub use local::{LocalError, LocalMessage, MarkError};
pub use message::Message;
pub use migrate::MigrateError;
pub use outbox::{Outbox, SendError};
pub use participant::{Participant, RoundError};
pub use push::Pushed;
pub use refusal::Refusal;
pub use settle::{CallBackError, SettleError};
pub use sweep::Swept;

/// The table of the barriers, which a test compares with the documentation.
#[doc(hidden)]
pub use barrier::TableMarkdown as BarrierMarkdown;

/// The statements that a test has a real server parse.
#[doc(hidden)]
pub const STATEMENTS: &[&str] = statement::ALL;
