//! The server, as a test sees it.

use std::path::PathBuf;

use rustix::process::Signal;
use sqlx::Connection;

use crate::builder::Builder;
use crate::cluster::Cluster;
#[cfg(feature = "docker")]
use crate::container::Container;
use crate::error::{ControlError, DatabaseError};
use crate::existing::Existing;
use crate::limits;
use crate::sql;

/// A PostgreSQL server for tests, with the databases that were asked for.
///
/// Usually it is private: started for this value, reachable through a socket in its own folder,
/// and stopped and removed when the value is dropped. It can be killed and started again, and
/// keeps its data and its URLs. With `ACCORDANT_TEST_PG_URL` set it is a set of databases on that
/// server instead; they have unique real names and are dropped with this value. A container is
/// ours as well, but has no folder and no process here.
///
/// Dropping it blocks the thread until the server has ended, usually some milliseconds. On Linux
/// the server also stops when the process is killed; the folder that then stays behind is removed
/// by the next start.
#[derive(Debug)]
pub struct Postgres {
    kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Own(Cluster),
    Existing(Existing),
    #[cfg(feature = "docker")]
    Container(Box<Container>),
}

impl Postgres {
    /// Begins the wishes for a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind }
    }

    /// The connection URL of a database, for sqlx, libpq and `psql`.
    ///
    /// It stays the same when the server is started again. A name that was not created through
    /// this value is taken as it is, such as `postgres`.
    pub fn url(&self, database: &str) -> String {
        match &self.kind {
            Kind::Own(cluster) => cluster.url(database),
            Kind::Existing(existing) => existing.url(database),
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.url(database),
        }
    }

    /// Creates another empty database.
    ///
    /// # Errors
    /// [`DatabaseError::Name`] if the name cannot be one; [`DatabaseError::Refused`] if the server
    /// does not run, or has a database of this name.
    pub async fn create_database(&self, name: &str) -> Result<(), DatabaseError> {
        match &self.kind {
            Kind::Own(cluster) => create(&cluster.url("postgres"), name).await,
            Kind::Existing(existing) => existing.create_database(name).await,
            #[cfg(feature = "docker")]
            Kind::Container(container) => create(&container.url("postgres"), name).await,
        }
    }

    /// Kills the server process (SIGKILL) and waits until it is gone; does nothing if none runs.
    ///
    /// Its backends notice and end by themselves; one inside a long statement takes longer, and
    /// [`Postgres::start_again`] waits for it.
    ///
    /// # Errors
    /// [`ControlError::NotOurs`] on a server that somebody else runs.
    pub async fn kill(&self) -> Result<(), ControlError> {
        match &self.kind {
            Kind::Own(cluster) => cluster.end(Signal::KILL).await,
            Kind::Existing(existing) => Err(existing.not_ours()),
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.kill().await,
        }
    }

    /// Stops the server at once, as before a crash recovery (SIGQUIT); does nothing if none runs.
    ///
    /// # Errors
    /// [`ControlError::NotOurs`] on a server that somebody else runs.
    pub async fn stop_immediate(&self) -> Result<(), ControlError> {
        match &self.kind {
            Kind::Own(cluster) => cluster.end(Signal::QUIT).await,
            Kind::Existing(existing) => Err(existing.not_ours()),
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.stop_immediate().await,
        }
    }

    /// Stops the server in order: open transactions are rolled back, prepared ones are kept
    /// (SIGINT). Does nothing if none runs.
    ///
    /// # Errors
    /// [`ControlError::NotOurs`] on a server that somebody else runs;
    /// [`ControlError::StillRunning`] if it takes too long.
    pub async fn stop(&self) -> Result<(), ControlError> {
        match &self.kind {
            Kind::Own(cluster) => cluster.end(Signal::INT).await,
            Kind::Existing(existing) => Err(existing.not_ours()),
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.stop().await,
        }
    }

    /// Starts a stopped or killed server on the same data, under the same URLs; does nothing if it
    /// runs.
    ///
    /// # Errors
    /// [`ControlError::NotOurs`] on a server that somebody else runs; [`ControlError::Launch`] with
    /// the end of its log if it does not come up, also after some seconds of waiting for backends
    /// of the killed one.
    pub async fn start_again(&self) -> Result<(), ControlError> {
        match &self.kind {
            Kind::Own(cluster) => cluster.start_again().await,
            Kind::Existing(existing) => Err(existing.not_ours()),
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.start_again().await,
        }
    }

    /// Whether the server runs. One that somebody else runs is taken to.
    pub fn is_running(&self) -> bool {
        match &self.kind {
            Kind::Own(cluster) => cluster.is_running(),
            Kind::Existing(_) => true,
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.is_running(),
        }
    }

    /// Whether the server is ours to kill, stop and start.
    pub fn is_ours(&self) -> bool {
        match &self.kind {
            Kind::Own(_) => true,
            Kind::Existing(_) => false,
            #[cfg(feature = "docker")]
            Kind::Container(_) => true,
        }
    }

    /// Major and minor version, as in `(17, 2)`.
    pub fn version(&self) -> (u32, u32) {
        match &self.kind {
            Kind::Own(cluster) => cluster.binaries().version(),
            Kind::Existing(existing) => existing.version(),
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.version(),
        }
    }

    /// Which server this is, as in `PostgreSQL 15.18 from /usr/lib/postgresql/15/bin`.
    pub fn source(&self) -> String {
        match &self.kind {
            Kind::Own(cluster) => cluster.binaries().describe(),
            Kind::Existing(existing) => {
                let (major, minor) = existing.version();
                format!("PostgreSQL {major}.{minor} at {}", existing.address())
            }
            #[cfg(feature = "docker")]
            Kind::Container(container) => container.describe(),
        }
    }

    /// The data directory of a server of ours.
    pub fn data_dir(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Own(cluster) => Some(cluster.data()),
            Kind::Existing(_) => None,
            #[cfg(feature = "docker")]
            Kind::Container(_) => None,
        }
    }

    /// The log of a server of ours; it is removed with the server.
    pub fn log_file(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Own(cluster) => Some(cluster.log()),
            Kind::Existing(_) => None,
            #[cfg(feature = "docker")]
            Kind::Container(_) => None,
        }
    }

    /// The process id of a server of ours that runs, such as a test needs to freeze it.
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Own(cluster) => cluster.pid(),
            Kind::Existing(_) => None,
            #[cfg(feature = "docker")]
            Kind::Container(_) => None,
        }
    }
}

/// Creates a database on a server of ours.
async fn create(url: &str, name: &str) -> Result<(), DatabaseError> {
    let bytes_max = limits::IDENTIFIER_BYTES_MAX;
    let name = name.to_owned();
    if name.is_empty() || name.len() > bytes_max {
        return Err(DatabaseError::Name { name, bytes_max });
    }
    let created = async {
        let mut connection = sql::connect(url).await?;
        sql::create_database(&mut connection, &name).await?;
        connection.close().await
    };
    created
        .await
        .map_err(|source| DatabaseError::Refused { name, source })
}
