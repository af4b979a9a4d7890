//! The rules of Accordant: what a transaction is, what must be durable before what, and what
//! every message means.
//!
//! This crate is pure. It does no input or output, starts no task, reads no clock and draws no
//! random number: the time, fresh ids and answers come in as values, and what is to be done goes
//! out as [`effect::Effect`]s. So one and the same core runs in the coordinator, in the explorer
//! and in the simulator (`accordant-sim`).
//!
//! | module | what it answers for |
//! |---|---|
//! | [`id`] | names and numbers; the global transaction id |
//! | [`plan`] | a validated plan of steps, and the machine of its direction and scheduling |
//! | [`wire`] | what is said over HTTP, to participants and to clients |
//! | [`record`] | facts in the journal |
//! | [`effect`] | what the core asks its driver to do, and after what |
//! | [`group`] | the machine of an atomic group |
//! | [`action`] | the machine of a saga action, or of one target of a message |
//! | [`calls`] | attempts, pauses, and which answer is listened to |
//! | [`node`] | many transactions, timers, partitions and epochs: the whole coordinator |
//! | [`branch`] | the participant's side: what a call means, given what its database holds |
//! | [`recovery`] | what stored facts add up to; never a guess |
//! | [`table`] | how the tables of the machines are looked up and printed |
//! | [`invariant`] | what must hold in any state |
//! | [`limits`] | every bound, with its reason |

pub mod action;
pub mod branch;
pub mod calls;
pub mod effect;
pub mod group;
pub mod id;
pub mod invariant;
pub mod json;
pub mod limits;
pub mod node;
pub mod plan;
pub mod record;
pub mod recovery;
pub mod table;
pub mod time;
pub mod wire;
