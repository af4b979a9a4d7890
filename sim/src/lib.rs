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

pub mod engine;
pub mod fingerprint;
pub mod textbook;
