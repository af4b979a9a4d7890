#![doc = include_str!("../README.md")]

mod backoff;
mod client;
mod clock;
mod ended;
mod error;
mod follow;
mod id;
pub mod limits;
mod list;
mod path;
mod plan;
mod reply;
mod status;
mod submit;
mod transaction;
mod transport;

pub use accordant_protocol::id::{
    BranchName, Gtid, IdempotencyKey, NameError, ParticipantName, TenantName, Traceparent,
};
pub use accordant_protocol::time::Timestamp;
pub use accordant_protocol::wire::api::{
    AbortReason, ActionState, ActionStatus, BranchState, BranchStatus, Outcome, State,
    TransactionPage, TransactionStatus, TransactionSummary, Wait,
};
pub use accordant_protocol::wire::contract::Refusal;
pub use accordant_protocol::wire::problem::{Problem, ProblemCode};
pub use client::{Client, ClientBuilder};
pub use error::{
    AddressError, EndedError, ListError, LostReply, StatusError, SubmitError, WaitError,
};
pub use id::RandomError;
pub use list::Listing;
pub use plan::{Action, Endpoint, Group, Message, PayloadError, ResultOf, Retry, Step, result_of};
pub use status::{ResultError, Status};
pub use submit::Submitted;
pub use transaction::Transaction;
