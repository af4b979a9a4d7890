//! From wishes to a participant that is ready to be called.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::{NameError, OperationName, ParticipantName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::branch::States;
use crate::check::{self, CheckError, Wishes};
use crate::engine::{Engine, Settings};
use crate::handler::{Handler, Operation, Typed};
use crate::inquiry::Inquirer;
use crate::limits;
use crate::migrate::{self, MigrateError};
use crate::participant::Participant;
use crate::pool::{Lease, LeaseError, Pool};
use crate::retention::Watermarks;
use crate::statement;

/// Why a participant did not start. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A name is not of its form.
    #[error("the {what} {text:?} {source}")]
    Name {
        /// What it names.
        what: &'static str,
        /// The name.
        text: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two handlers go by one name.
    #[error("the operation {0:?} has two handlers")]
    Twice(String),
    /// No database was given, or not by a URL.
    #[error("no database: give `database` a URL such as postgres://user@host/name ({0})")]
    Url(String),
    /// The coordinator's address is not one.
    #[error(
        "the coordinator's address {0:?} is not of the form http://host:port (TLS is not \
         supported yet)"
    )]
    Coordinator(String),
    /// The build may kill itself on purpose.
    #[error(
        "this build has the feature `crash-points`; call `unsafe_test_build(true)`, or set \
         ACCORDANT_UNSAFE_TEST_BUILD=1, if it is a test"
    )]
    TestBuild,
    /// The database was not reached.
    #[error("the database was not reached: {0}")]
    Unreachable(String, #[source] Option<sqlx::Error>),
    /// The database is not fit.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The tables could not be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The start could not be written down.
    #[error("the start could not be counted in accordant.instance; the role needs `update` on it")]
    Count(#[source] sqlx::Error),
}

/// The wishes for a participant; made by [`Participant::builder`], ended by [`Builder::connect`].
#[must_use = "nothing happens before `connect`"]
pub struct Builder {
    name: String,
    database: Option<Result<PgConnectOptions, String>>,
    coordinator: Option<String>,
    operations: Vec<(String, Box<dyn Operation>)>,
    states: States,
    connections_max: usize,
    slots_min: Option<i64>,
    settings: Settings,
    sweep: bool,
    migrate: bool,
    unsafe_durability: bool,
    unsafe_test_build: bool,
}

impl Builder {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            database: None,
            coordinator: None,
            operations: Vec::new(),
            states: States::new(),
            connections_max: limits::BRANCH_CONNECTIONS,
            slots_min: None,
            settings: Settings {
                lock_timeout: limits::LOCK_TIMEOUT,
                sweep_every: Duration::from_secs(5),
                sweep_grace: Duration::from_secs(10),
                retention_every: Duration::from_secs(30),
                retention_grace: Duration::from_millis(2 * limits::WORK_MS_MAX),
                insecure: false,
            },
            sweep: true,
            migrate: true,
            unsafe_durability: false,
            unsafe_test_build: false,
        }
    }

    /// The service's database, by URL. The role that it names does the work, prepares and
    /// finishes: PostgreSQL lets no other one finish. Connect directly, not through a pooler.
    pub fn database(mut self, url: impl AsRef<str>) -> Self {
        // The error's text does not repeat the URL, which may hold a password.
        let options = PgConnectOptions::from_str(url.as_ref()).map_err(|error| error.to_string());
        self.database = Some(options);
        self
    }

    /// The service's database, by options of sqlx.
    pub fn database_options(mut self, options: PgConnectOptions) -> Self {
        self.database = Some(Ok(options));
        self
    }

    /// The coordinator's base address, as in `http://127.0.0.1:7650`: asked about branches that
    /// stay in doubt. Without it they wait for the coordinator to come by itself.
    pub fn coordinator(mut self, base: impl Into<String>) -> Self {
        self.coordinator = Some(base.into());
        self
    }

    /// Adds an operation: what a call names, and who does it.
    ///
    /// # Examples
    /// ```
    /// # use accordant_participant::{Branch, Participant, Refusal};
    /// async fn debit(branch: &mut Branch, cents: i64) -> Result<(), Refusal> {
    ///     sqlx::query("update account set cents = cents - $1 where id = 1")
    ///         .bind(cents)
    ///         .execute(branch.connection())
    ///         .await?;
    ///     Ok(())
    /// }
    /// let builder = Participant::builder("bank").operation("debit", debit);
    /// # drop(builder);
    /// ```
    pub fn operation<H, P, R>(mut self, name: &str, handler: H) -> Self
    where
        H: for<'b> Handler<'b, P, R> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        self.operations
            .push((name.to_owned(), Box::new(Typed::<H, P, R>::new(handler))));
        self
    }

    /// Gives the handlers something besides their payloads: they get it by
    /// [`Branch::state`](crate::Branch::state). One value of each type; the last one stays.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// How many branches may work at the same time, each on a connection of its own; 16 if not
    /// said. One more is told to come later. As many further connections, and at least
    /// eight, serve phase two; each is opened when it is first needed.
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max.max(1);
        self
    }

    /// How many slots for prepared transactions the server must have; as many as
    /// [`Builder::connections_max`] if not said.
    pub fn prepared_slots_min(mut self, slots_min: u32) -> Self {
        self.slots_min = Some(i64::from(slots_min.max(1)));
        self
    }

    /// How long a branch waits for one lock; two seconds if not said.
    pub fn lock_timeout(mut self, lock_timeout: Duration) -> Self {
        // Zero would mean for ever, and the server takes no more than some weeks.
        let longest = Duration::from_millis(limits::WORK_MS_MAX);
        self.settings.lock_timeout = lock_timeout.clamp(Duration::from_millis(1), longest);
        self
    }

    /// How often own branches in doubt are looked for, and how old one must be to be asked about;
    /// 5 and 10 seconds if not said.
    pub fn sweep(mut self, every: Duration, grace: Duration) -> Self {
        (self.settings.sweep_every, self.settings.sweep_grace) = (every, grace);
        self
    }

    /// Starts no tasks of its own: the service calls [`Participant::sweep_once`] and
    /// [`Participant::retain_once`] itself.
    pub fn no_background(mut self) -> Self {
        self.sweep = false;
        self
    }

    /// How often the retention floor is raised and old rows are deleted, and for how long a floor
    /// must have stood before they are; 30 seconds and two hours if not said. The second must be
    /// longer than any branch may work, which is an hour.
    pub fn retention(mut self, every: Duration, grace: Duration) -> Self {
        (self.settings.retention_every, self.settings.retention_grace) = (every, grace);
        self
    }

    /// Whether the tables are created and changed where need be; true if not said. With `false`
    /// the role needs no right to create anything, and older tables are refused.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Lets in callers from beyond this machine, although calls are not authenticated yet: whoever
    /// reaches the participant can then have work done and branches committed.
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.settings.insecure = insecure;
        self
    }

    /// Takes a server whose `fsync` or `full_page_writes` is off. For tests only.
    pub fn allow_unsafe_durability(mut self, allow: bool) -> Self {
        self.unsafe_durability = allow;
        self
    }

    /// Starts although this build has crash points. For tests only.
    pub fn unsafe_test_build(mut self, allow: bool) -> Self {
        self.unsafe_test_build = allow;
        self
    }

    /// Checks the database, brings the tables up to date, and counts this start in them.
    ///
    /// # Durability
    /// On return the start is counted durably.
    ///
    /// # Errors
    /// [`StartError`] says what is missing and how to mend it. Nothing runs then.
    pub async fn connect(self) -> Result<Participant, StartError> {
        Box::pin(self.start()).await
    }

    async fn start(self) -> Result<Participant, StartError> {
        let asked = std::env::var("ACCORDANT_UNSAFE_TEST_BUILD").is_ok_and(|value| value == "1");
        if cfg!(feature = "crash-points") && !self.unsafe_test_build && !asked {
            return Err(StartError::TestBuild);
        }
        let slots = self.slots_min;
        let slots = slots.unwrap_or_else(|| i64::try_from(self.connections_max).unwrap_or(1));
        let wishes = Wishes { slots, unsafe_durability: self.unsafe_durability };
        let (sweep, may_migrate) = (self.sweep, self.migrate);
        let engine = self.engine()?;
        let mut lease = engine.control.lease().await.map_err(unreachable)?;
        prepare_database(&mut lease, wishes, may_migrate).await?;
        // It has no plans for tables that were not there yet.
        drop(lease);
        engine.control.set_migrated();
        engine.work.set_migrated();
        Ok(Participant::start(Arc::new(engine), sweep))
    }

    fn engine(self) -> Result<Engine, StartError> {
        let name = ParticipantName::new(&self.name).map_err(|source| StartError::Name {
            what: "participant's name",
            text: self.name.clone(),
            source,
        })?;
        let mut operations = BTreeMap::new();
        for (text, operation) in self.operations {
            let key = OperationName::new(&text).map_err(|source| StartError::Name {
                what: "operation's name",
                text: text.clone(),
                source,
            })?;
            if operations.insert(key, operation).is_some() {
                return Err(StartError::Twice(text));
            }
        }
        let inquirer = match self.coordinator {
            None => None,
            Some(base) => match Inquirer::new(&base, name.clone()) {
                Some(inquirer) => Some(inquirer),
                None => return Err(StartError::Coordinator(base)),
            },
        };
        let options = match self.database {
            None => return Err(StartError::Url("none was given".to_owned())),
            Some(options) => session_options(options.map_err(StartError::Url)?),
        };
        Ok(Engine {
            name,
            operations,
            states: Arc::new(self.states),
            work: Pool::new(options.clone(), self.connections_max),
            control: Pool::new(
                control_options(options),
                self.connections_max.max(limits::CONTROL_CONNECTIONS),
            ),
            watermarks: Watermarks::default(),
            inquirer,
            settings: self.settings,
            prepares: Arc::new(Semaphore::new(limits::CALLS_MAX)),
            finishes: Arc::new(Semaphore::new(limits::CALLS_MAX)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What every session of ours begins with, and comes back to after each branch. The commands of
/// phase two cannot stand in a transaction, so `set local` does not reach them.
fn session_options(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("accordant-participant").options([
        ("synchronous_commit", "on"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "off"),
    ])
}

/// The role's own isolation level is for the handlers. Replicas that count their starts or raise a
/// floor at the same time would fail under a stricter one, and nothing here wants it.
fn control_options(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("default_transaction_isolation", "read committed")])
}

fn unreachable(error: LeaseError) -> StartError {
    match error {
        LeaseError::Standby => StartError::Check(CheckError::Standby),
        LeaseError::Connect(source) => {
            StartError::Unreachable("is PostgreSQL running?".to_owned(), Some(source))
        }
        LeaseError::Busy | LeaseError::Closed | LeaseError::Timeout => {
            StartError::Unreachable(error.to_string(), None)
        }
    }
}

async fn prepare_database(
    lease: &mut Lease,
    wishes: Wishes,
    may_migrate: bool,
) -> Result<(), StartError> {
    let server = lease.server().clone();
    let pg = lease.pg();
    check::server(pg, wishes).await?;
    migrate::migrate(pg, may_migrate).await?;
    check::tables(pg).await?;
    let counted = sqlx::query(statement::COUNT_START).fetch_one(pg).await;
    let counted = counted.and_then(|row| row.try_get::<i64, _>("starts"));
    let starts = counted.map_err(StartError::Count)?;
    tracing::info!(
        system = server.system,
        timeline = server.timeline,
        starts,
        "the participant has started"
    );
    Ok(())
}
