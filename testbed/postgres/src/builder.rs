//! The wishes for a server.

use std::path::PathBuf;

use crate::error::StartError;
use crate::postgres::Postgres;
use crate::settings::Settings;
use crate::source::Source;

/// The wishes for a server; made by [`Postgres::builder`], ended by [`Builder::start`].
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    pub(crate) databases: Vec<String>,
    pub(crate) settings: Settings,
    /// `None`: what the environment admits.
    pub(crate) sources: Option<Vec<Source>>,
    pub(crate) private: bool,
    pub(crate) server_url: Option<String>,
    pub(crate) search_in: Option<Vec<PathBuf>>,
    pub(crate) cache: Option<PathBuf>,
}

impl Builder {
    /// Adds a database, created when the server starts; any number of them.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.databases.push(name.into());
        self
    }

    /// How many transactions may be prepared at the same time; 64 if not said. On a server that
    /// is not ours its own setting holds, and only 0 is refused.
    pub fn max_prepared_transactions(mut self, count: u32) -> Self {
        self.settings.max_prepared_transactions = count;
        self
    }

    /// How many connections the server admits; 100 if not said.
    pub fn max_connections(mut self, count: u32) -> Self {
        self.settings.max_connections = count;
        self
    }

    /// Whether a commit is on the disk when it is acknowledged; true if not said.
    ///
    /// With `false` the server leaves the writing to the kernel (`fsync` and `full_page_writes`
    /// off), which is several times faster. Everything committed or prepared still survives
    /// [`Postgres::kill`] and every other end of the *process*, which is what tests play out. A
    /// power loss would destroy the cluster. Measurements want `true`.
    pub fn durable(mut self, durable: bool) -> Self {
        self.settings.durable = durable;
        self
    }

    /// Any other server setting, such as `("log_min_messages", "warning")`. The last one with a
    /// name wins. Settings do not reach a server that is not ours.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.other.push((name.into(), value.to_string()));
        self
    }

    /// The ways to a server that may be used, in this order, whatever `ACCORDANT_PG_SOURCE` says.
    pub fn sources(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        self.sources = Some(sources.into_iter().collect());
        self
    }

    /// Only a server of our own, even if `ACCORDANT_TEST_PG_URL` names another one: for tests
    /// that kill or stop the server.
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Databases on this server instead of the one in `ACCORDANT_TEST_PG_URL`; the user in the
    /// URL needs the right to create databases.
    pub fn server_url(mut self, url: impl Into<String>) -> Self {
        self.server_url = Some(url.into());
        self
    }

    /// Looks for installed binaries in these folders only, not in `ACCORDANT_PG_BIN`, in `PATH` or
    /// in the usual ones.
    pub fn search_in(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.search_in = Some(folders.into_iter().collect());
        self
    }

    /// Keeps fetched binaries here, instead of in `ACCORDANT_PG_CACHE` or the user's cache.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Finds a server, starts it if it is ours, and creates the databases.
    ///
    /// Takes a second or two with installed binaries. The first start on a machine that has none
    /// fetches them, which it announces on standard error.
    ///
    /// # Cancel safety
    /// Dropping the future stops and removes what it has made so far.
    ///
    /// # Errors
    /// [`StartError::NotFound`] if there is no way to a server here; its text says what to
    /// install. The other variants say what to mend in a wish that was explicit.
    ///
    /// # Examples
    /// ```no_run
    /// # use accordant_testbed_postgres::Postgres;
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Postgres::builder().database("bank_a").durable(false).start().await?;
    /// println!("{} at {}", server.source(), server.url("bank_a"));
    /// # Ok(()) }
    /// ```
    pub async fn start(self) -> Result<Postgres, StartError> {
        // On the heap: it is large, and would make the future of every test large.
        Box::pin(crate::find::start(self)).await
    }
}
