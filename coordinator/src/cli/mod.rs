//! The command line of `accordant`: serving, and looking at a coordinator that serves.
//!
//! | module | what it answers for |
//! |---|---|
//! | `arguments` | what can be typed |
//! | [`exit`] | what the process's exit code says |
//! | `serve`, `store`, `signal`, `ready` | running a coordinator |
//! | `transactions`, `in_doubt`, `status` | looking at one |
//! | `stuck` | looking at what waits for an operator, and deciding about it |
//! | `ask`, `http` | asking it |
//! | `table` | showing what it said to people |
//!
//! It decides nothing about transactions by itself, and changes nothing in them but what an operator
//! decides.

mod arguments;
mod ask;
mod config;
mod conform;
pub mod exit;
mod http;
mod in_doubt;
mod ready;
mod run;
mod serve;
mod signal;
mod status;
mod store;
mod stuck;
mod table;
mod transactions;

pub use run::{main, run};
