//! The world around the core: two coordinator processes, a journal, a network, one database per
//! branch, a client. The core in it is the real one.
//!
//! | module | what it models |
//! |---|---|
//! | `config` | what a run is about, its bounds, and the rules that are removed |
//! | `state` | the whole state |
//! | `action` | which steps are possible |
//! | `step` | what a step does |
//! | `coordinator`, `driver`, `gate` | a process: the real node, its effects, recovery by pages |
//! | `journal` | durable records, writes in flight, the fence |
//! | `network` | calls, answers, verdicts |
//! | `participant` | a database and the library on it, statement by statement |
//! | `service` | what the service of an action holds, behind the barrier or without one |
//! | `told` | a sender's local transaction, call-backs, an operator |
//! | `misread` | histories as they are read where a rule of recovery is removed |
//! | `rule` | the rules that can be removed |
//! | `heal` | faults stop |
//! | `log` | coverage marks and the sentences of a story |
//!
//! Left out: retention (the horizon stays at zero, so no watermark ever rises), a database that is
//! restored or fails over with a loss, a journal that is, several partitions, clients with other
//! bodies under one key.

mod action;
mod config;
mod coordinator;
mod driver;
mod gate;
mod heal;
mod journal;
mod log;
mod misread;
mod network;
mod ownership;
mod participant;
mod rule;
mod service;
mod state;
mod step;
mod told;

pub use action::Action;
pub(crate) use config::NAMES;
pub use config::{Bounded, Budget, Config, PlanRefused, Voice, branch_name};
pub use coordinator::{Coordinator, Held, Hold, Leaving, Saying};
pub use journal::{Journal, Pending, Row as JournalRow, Written};
pub use log::{Log, Mark, Marks};
pub use network::{Network, Order, Packet, Verb};
pub use participant::{Branch, Job, Participant, Row, Stage};
pub use rule::Rule;
pub use service::{Service, Unit, result_of};
pub use state::{Client, World, transaction_name};
pub use told::Decision;
