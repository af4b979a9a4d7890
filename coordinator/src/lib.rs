//! The Accordant coordinator, embeddable.

pub mod clock;
pub mod id;
pub mod journal;
