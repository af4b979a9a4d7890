//! One file per input: exact orders are compared.

mod begun;
mod deadline;
mod delegated;
mod end;
mod fixture;
mod identity;
mod recovery;
mod table;
mod unanswered;
mod vote;
