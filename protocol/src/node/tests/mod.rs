//! One file per event: exact effects are compared.

mod answered;
mod fixture;
mod flushed;
mod identity;
mod inquired;
mod model;
mod operator;
mod ownership;
mod property;
mod queried;
mod resumed;
mod room;
mod saga;
mod saga_ends;
mod services;
mod submitted;
mod timer;
mod too_large;
