//! Which partitions this process owns: acquired, loaded, lost, and taken up again. Also the
//! retention of what is closed.
//!
//! Recovery is what loading does, beside live traffic and per transaction: one whose history is
//! not legal is put under quarantine and stops no other.

mod loader;
mod loads;
mod owner;
mod quarantine;

pub(crate) use loader::history;
pub use owner::{Owned, Owner};
pub use quarantine::{Quarantine, Quarantined};
