//! `postmaster.pid`, in which the server says who it is and how far it has come.

use std::fs;
use std::path::Path;

/// The two lines of the file that matter here.
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    pub(crate) ready: bool,
}

impl PidFile {
    /// Reads the file in a data directory; `None` while it is missing or being written.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    /// Line 1 is the pid, line 8 the state.
    fn parse(text: &str) -> Option<Self> {
        let pid = text.lines().next()?.trim().parse().ok()?;
        let ready = text
            .lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready");
        Some(Self { pid, ready })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_on_line_eight() {
        let head = "4711\n/data\n1700000000\n5432\n/sock\n\n  1234  5\n";
        let starting = PidFile::parse(&format!("{head}starting\n")).unwrap();
        let ready = PidFile::parse(&format!("{head}ready   \n")).unwrap();
        assert_eq!((starting.pid, starting.ready), (4711, false));
        assert!(ready.ready);
        assert!(!PidFile::parse(head).unwrap().ready);
        assert!(PidFile::parse("").is_none());
    }
}
