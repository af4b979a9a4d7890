//! The tables of a participant.
