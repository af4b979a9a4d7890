//! The machine of a plan: its direction, and which of its steps may start.
//!
//! | direction | what goes on | leaves it when |
//! |---|---|---|
//! | `Beginning` | `Begun` is on its way; nothing is sent | `Begun` is durable |
//! | `Forward` | each step starts when all that it comes after are done | a step refuses, or its time or attempts are over, before the pivot has started: `TurningBack`; the pivot is done, or without one every step: `Committed` is ordered, and then `Passed` |
//! | `TurningBack` | nothing new starts; acts at plain services whose outcome is unknown are repeated until it is known | all are known: `Aborted` is ordered, which names what is to be made good, and then `Back` |
//! | `Back` | what is named is made good, each step after all that come after it; the group's branches are told to abort | all is made good, or given up by an operator: `Closed` |
//! | `Passed` | what comes after the pivot starts and is repeated until done; the group's branches are told to commit | all is done, or given up by an operator: `Closed` |
//! | `Closed` | nothing | |
//!
//! No act is ordered in `Back`, and no compensation outside it. `Committed` and `Aborted` exclude
//! each other in the journal, so no two owners can go different ways.
//!
//! A plan that is an atomic group and nothing else is led by its [`crate::group::Group`] alone.

mod answer;
mod backward;
mod forward;
mod group;
mod machine;
mod operator;
mod resume;
mod view;

pub use machine::{Course, Direction, Input, Refused};
