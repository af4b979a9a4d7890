//! The HTTP API, version 1. Every refusal is a problem document with a stable code; bad input
//! names the field's path, and nothing is begun.

mod admin;
mod body;
mod health;
mod inquiry;
mod list;
mod problem;
mod read;
mod router;
mod stuck;
mod submit;
mod told;

pub use router::router;
