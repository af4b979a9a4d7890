//! Databases of our own on a server that somebody else runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::Connection;

use crate::address;
use crate::error::{ControlError, DatabaseError, StartError};
use crate::limits;
use crate::random;
use crate::sql;
use crate::version::Version;

/// A server that is only visited, and the databases made there.
///
/// Dropping it rolls back what is prepared in those databases and drops them.
#[derive(Debug)]
pub(crate) struct Existing {
    url: String,
    version: Version,
    /// Appended to every database name: other tests use the same server.
    suffix: String,
    /// The name that the test uses, and the real one.
    databases: Mutex<BTreeMap<String, String>>,
}

impl Existing {
    /// Connects and checks that the server has what is needed.
    pub(crate) async fn visit(url: &str, origin: &str) -> Result<Self, StartError> {
        let (address, origin) = (address::without_secrets(url), origin.to_owned());
        if address::with_database(url, "x").is_none() {
            let why = format!("{address} does not begin with postgres://");
            return Err(StartError::BadChoice { what: origin, why });
        }
        let asked = async {
            let mut connection = sql::connect(url).await?;
            let facts = sql::facts(&mut connection).await?;
            connection.close().await?;
            Ok(facts)
        };
        let facts = match asked.await {
            Ok(facts) => facts,
            Err(source) => return Err(StartError::Unreachable { address, origin, source }),
        };
        if let Some(why) = lack(&facts) {
            return Err(StartError::Unsuitable { address, origin, why });
        }
        Ok(Self {
            url: url.to_owned(),
            version: facts.version,
            suffix: format!("_{}", random::token()),
            databases: Mutex::default(),
        })
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The server, without the password.
    pub(crate) fn address(&self) -> String {
        address::without_secrets(&self.url)
    }

    /// The URL of a database by the name that the test uses. A name that was not created here is
    /// taken as the real one.
    pub(crate) fn url(&self, name: &str) -> String {
        let databases = self.databases();
        let real = databases.get(name).map_or(name, String::as_str);
        // `visit` has checked that the URL has a database to replace.
        address::with_database(&self.url, real).unwrap_or_else(|| self.url.clone())
    }

    /// Creates a database under a name that nobody else has.
    pub(crate) async fn create_database(&self, name: &str) -> Result<(), DatabaseError> {
        let name = name.to_owned();
        let bytes_max = limits::IDENTIFIER_BYTES_MAX - self.suffix.len();
        if name.is_empty() || name.len() > bytes_max {
            return Err(DatabaseError::Name { name, bytes_max });
        }
        let real = format!("{name}{}", self.suffix);
        // Noted first: if the answer is lost, the database may exist, and must be dropped.
        self.databases().insert(name.clone(), real.clone());
        let created = async {
            let mut connection = sql::connect(&self.url).await?;
            sql::create_database(&mut connection, &real).await?;
            connection.close().await
        };
        created
            .await
            .map_err(|source| DatabaseError::Refused { name, source })
    }

    fn databases(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to every attempt to stop or start the server.
    pub(crate) fn not_ours(&self) -> ControlError {
        ControlError::NotOurs { address: self.address() }
    }
}

impl Drop for Existing {
    fn drop(&mut self) {
        let databases = std::mem::take(
            self.databases
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if databases.is_empty() {
            return;
        }
        let url = self.url.clone();
        let address = self.address();
        // The runtime of the test may be single-threaded or already shutting down: clean up on
        // one of our own, and wait, so that nothing is left when the test ends.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(clean_up(&url, databases.into_values()))
        });
        match cleaner.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                eprintln!("accordant-testbed-postgres: left behind at {address}: {error}")
            }
            Err(_) => eprintln!("accordant-testbed-postgres: clean-up at {address} panicked"),
        }
    }
}

/// Rolls back and drops each database; goes on after an error, and returns the last one.
async fn clean_up(url: &str, databases: impl Iterator<Item = String>) -> Result<(), sqlx::Error> {
    let mut administrator = sql::connect(url).await?;
    let mut failed = Ok(());
    for database in databases {
        // A database that was never created cannot be connected to; dropping it does nothing.
        if let Some(own) = address::with_database(url, &database) {
            drop(empty(&own).await);
        }
        if let Err(error) = sql::drop_database(&mut administrator, &database).await {
            failed = Err(error);
        }
    }
    administrator.close().await?;
    failed
}

/// Ends every connection and every prepared transaction in one database.
async fn empty(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = sql::connect(url).await?;
    for _ in 0..limits::ROLLBACK_ROUNDS_MAX {
        sql::cut_others(&mut connection).await?;
        if sql::roll_back_prepared(&mut connection).await? == 0 {
            break;
        }
        tokio::time::sleep(limits::POLL).await;
    }
    connection.close().await
}

/// What the server lacks, with the command that mends it.
fn lack(facts: &sql::Facts) -> Option<String> {
    let (major, minor) = facts.version;
    if major < limits::MAJOR_MIN {
        Some(format!(
            "it is version {major}.{minor}; {} or later is needed",
            limits::MAJOR_MIN
        ))
    } else if facts.max_prepared_transactions == 0 {
        Some(
            "max_prepared_transactions is 0; run `alter system set max_prepared_transactions = \
             64` there and restart it"
                .to_owned(),
        )
    } else if !facts.may_create_databases {
        Some(
            "its user may not create databases; run `alter role … createdb` there, or name \
             another user in the URL"
                .to_owned(),
        )
    } else {
        None
    }
}
