//! What is said over HTTP. Version 1: [`contract`] between coordinator and participant, [`api`]
//! between client and coordinator, [`problem`] for refusals.
//!
//! Types here are for the wire alone; records and machine states have types of their own. Every
//! request refuses fields that it does not know. Every reply may grow fields: its readers pass
//! over what they do not know.

pub mod api;
pub mod contract;
pub mod problem;
