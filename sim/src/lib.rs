//! Exhaustive explorer and seeded simulator over the pure core of Accordant.
//!
//! What runs here is the real `Node`, the real participant's table and the real recovery, between
//! models of what surrounds them: a journal, a network, databases, a client. The explorer visits
//! every state that a bounded number of faults can lead to; the simulator walks at random with
//! larger bounds. Both check the same invariants after every step, and then heal the world and
//! demand that everything ends.
//!
//! | module | what it answers for |
//! |---|---|
//! | [`engine`] | breadth-first search with shortest counter-examples; knows no transactions |
//! | [`textbook`] | two-phase commit as in the literature, to calibrate the engine |
//! | [`fingerprint`] | what the visited set keeps of a state |
//! | [`world`] | processes around the real core, journal, network, databases, client |
//! | [`invariant`] | what must hold, one a file |
//! | [`explorer`] | the engine over the world, and the healing of each state |
//! | [`case`] | the configurations that are explored and walked through |
//! | [`mutation`] | rules taken away, each of which must be noticed |
//! | [`plans`] | plans of every kind |
//! | [`story`] | a counter-example, told |
//! | [`simulate`], [`random`] | walks drawn from a seed |

pub mod case;
pub mod engine;
pub mod explorer;
pub mod fingerprint;
pub mod invariant;
pub mod mutation;
pub mod plans;
pub mod random;
pub mod saga_case;
pub mod saga_mutation;
pub mod simulate;
pub mod story;
pub mod textbook;
pub mod world;
