//! How a coordinator is to run: from flags, the environment, a file and the defaults, in that order
//! of precedence; typed, and checked as a whole before anything is started.
//!
//! Every key exists once, as a field of [`Layer`]: its flag, its variable, its key in the file and its
//! words in the help all come from there.

mod checked;
mod file;
mod journal;
mod layer;
mod nearest;
mod render;

pub use checked::{Config, LogFormat};
pub use file::{FileError, FileLayer};
pub use journal::{JournalFault, JournalUrl, SecretText};
pub use layer::Layer;
pub use render::render_defaults;

use std::fmt;

/// One fault of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, with the path below it: `participants.bank-a`.
    pub path: String,
    /// What is wrong, and what would be right. Never the value of a key that may hold a secret.
    pub problem: String,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { path: path.into(), problem: problem.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// All faults that were found; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n  " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}
