//! What a check found.

use std::fmt;

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong, and where.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) next: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}", self.what, self.next)
    }
}
