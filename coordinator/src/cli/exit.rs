//! What the exit code of `accordant` says. Stable: scripts and supervisors rely on it.

use std::process::ExitCode;

/// The exit codes. Never changed, only added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// All went well; of `serve`: it was told to stop and did.
    Ok,
    /// The command worked, and what it found needs a look: something is in doubt, or the coordinator
    /// is not ready.
    Attention,
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong.
    Config,
    /// Another coordinator has the journal.
    JournalInUse,
    /// The journal cannot be opened.
    JournalOpen,
    /// The journal failed for good while serving: start again.
    JournalFatal,
    /// Refused for safety; the message names the flag that allows it.
    Unsafe,
    /// No such transaction.
    NotFound,
    /// The coordinator cannot be reached, or cannot answer at present.
    Unreachable,
    /// The address cannot be listened on, or the ready file not written.
    Listen,
    /// The coordinator refused the request, or what answers is no coordinator.
    Refused,
    /// A fault of ours or of the system.
    Internal,
    /// Ended at once by a second signal; what was open is finished by the next start.
    Interrupted,
}

impl Exit {
    /// Every code.
    pub const ALL: &[Self] = &[
        Self::Ok,
        Self::Attention,
        Self::Usage,
        Self::Config,
        Self::JournalInUse,
        Self::JournalOpen,
        Self::JournalFatal,
        Self::Unsafe,
        Self::NotFound,
        Self::Unreachable,
        Self::Listen,
        Self::Refused,
        Self::Internal,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Attention => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::JournalInUse => 4,
            Self::JournalOpen => 5,
            Self::JournalFatal => 6,
            Self::Unsafe => 7,
            Self::NotFound => 8,
            Self::Unreachable => 9,
            Self::Listen => 10,
            Self::Refused => 11,
            Self::Internal => 12,
            // What a shell shows for a process that ^C ended.
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_operator_finds_every_code_in_the_documentation() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        for exit in Exit::ALL {
            assert!(docs.contains(&format!("\n| {} |", exit.code())), "{exit:?}");
        }
    }
}
