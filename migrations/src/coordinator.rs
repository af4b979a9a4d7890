//! The journal of the coordinator.
