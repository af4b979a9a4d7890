//! Sagas, TCC, messages and mixed plans: plain services that remember every call, banks that keep
//! the contract, and a coordinator that is killed in between.

#![expect(
    clippy::indexing_slicing,
    reason = "a field of a JSON value that is not there is null, and a test may panic"
)]

mod audit;
mod change;
mod crashes;
mod desk;
mod hand_over;
mod modes;
mod operator;
mod scenes;
mod stage;
mod take_over;
mod trip;
