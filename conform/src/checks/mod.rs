//! All checks. One file holds those of one subject, as a table and a function for each.

mod act;
mod act_storm;
mod all;
mod call;
mod one_phase;
mod plain;
mod reply;
mod rubbish;
mod tcc;
mod two_phase;
mod two_phase_odd;

pub use all::checks;
