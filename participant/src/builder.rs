//! From wishes to a participant that is ready to be called.

use std::any::TypeId;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::{NameError, OperationName, ParticipantName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::branch::States;
use crate::check::{self, CheckError, Wishes};
use crate::coordinator::Coordinator;
use crate::engine::{Engine, Settings};
use crate::handler::{Action, FollowUp, Handler, Operation, Operations, Tcc, Typed, TypedSequel};
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
    /// Two handlers of one way of working go by one name.
    #[error("the operation {0:?} has two handlers of the same kind")]
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
    operations: Vec<(String, Registered)>,
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
                outbox_every: Duration::from_secs(1),
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
    /// stay in doubt, and sent what is in the outbox. Without it branches wait for the coordinator
    /// to come by itself, and messages wait for a participant that has it.
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
    pub fn operation<H, P, R>(self, name: &str, handler: H) -> Self
    where
        H: for<'b> Handler<'b, P, R> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        let handler = Box::new(Typed::<H, P, R>::new(handler));
        self.register(name, Registered::TwoPhase(handler))
    }

    /// Adds an action of sagas, and its compensation. Each runs in a local transaction of its own
    /// which the library commits together with a barrier row, so each takes effect once at most,
    /// and the act never after its compensation.
    ///
    /// The compensation gets the payload of the act and its result. It is not run for an act that
    /// never came or was refused. It must not refuse for reasons of business: the coordinator asks
    /// again, and after a while calls an operator.
    ///
    /// # Examples
    /// ```
    /// # use accordant_participant::{Branch, Participant, Refusal};
    /// async fn book(branch: &mut Branch, nights: i32) -> Result<i64, Refusal> {
    ///     let (id,) = sqlx::query_as("insert into booking (nights) values ($1) returning id")
    ///         .bind(nights)
    ///         .fetch_one(branch.connection())
    ///         .await?;
    ///     Ok(id)
    /// }
    /// async fn unbook(branch: &mut Branch, _: i32, id: Option<i64>) -> Result<(), Refusal> {
    ///     sqlx::query("delete from booking where id = $1")
    ///         .bind(id)
    ///         .execute(branch.connection())
    ///         .await?;
    ///     Ok(())
    /// }
    /// let builder = Participant::builder("hotel").action("book", book, unbook);
    /// # drop(builder);
    /// ```
    pub fn action<A, U, P, R, C>(self, name: &str, act: A, compensate: U) -> Self
    where
        A: for<'b> Handler<'b, P, R> + 'static,
        U: for<'b> FollowUp<'b, P, R, C> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        C: Serialize + Send + 'static,
    {
        let action = Action {
            act: Box::new(Typed::<A, P, R>::new(act)),
            compensate: Some(Box::new(TypedSequel::<U, P, R, C>::new(compensate))),
            refusable: true,
        };
        self.register(name, Registered::Action(action))
    }

    /// Adds an action without a compensation that may be refused: the pivot of a saga, or a step
    /// that only looks. Told to make it good when it is done, the library refuses.
    pub fn pivot<A, P, R>(self, name: &str, act: A) -> Self
    where
        A: for<'b> Handler<'b, P, R> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        let act = Box::new(Typed::<A, P, R>::new(act));
        let action = Action { act, compensate: None, refusable: true };
        self.register(name, Registered::Action(action))
    }

    /// Adds an operation that messages and the retriable steps of sagas are sent to. It is done
    /// once and has no compensation.
    ///
    /// Its sender has committed, so it must be done. What the handler refuses is not stored: the
    /// coordinator stops and calls an operator, who has it tried again once the cause is mended. A
    /// handler that only wants to be asked again says so by
    /// [`Refusal::later`](crate::Refusal::later).
    ///
    /// Plans must call it by messages and retriable steps only. To another step a no is final, and
    /// here nothing keeps a late repeat of the refused call from being done.
    pub fn message<A, P, R>(self, name: &str, act: A) -> Self
    where
        A: for<'b> Handler<'b, P, R> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        let act = Box::new(Typed::<A, P, R>::new(act));
        let action = Action { act, compensate: None, refusable: false };
        self.register(name, Registered::Action(action))
    }

    /// The same as [`Builder::message`], by the name of what is done for a saga after its pivot.
    pub fn retriable<A, P, R>(self, name: &str, act: A) -> Self
    where
        A: for<'b> Handler<'b, P, R> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        self.message(name, act)
    }

    /// Adds the three handlers of a TCC branch. `reserve` is the try: it makes a reservation of the
    /// service's own, which the library commits with a barrier row before it votes yes. `confirm`
    /// makes it good, or `cancel` gives it up: once at most, never both, and neither without a
    /// reservation. Both get the payload and the result of `reserve`.
    ///
    /// Neither may refuse: what they refuse is asked for again until it is done. Each has a minute.
    pub fn tcc<T, F, G, P, R, C, D>(self, name: &str, reserve: T, confirm: F, cancel: G) -> Self
    where
        T: for<'b> Handler<'b, P, R> + 'static,
        F: for<'b> FollowUp<'b, P, R, C> + 'static,
        G: for<'b> FollowUp<'b, P, R, D> + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        C: Serialize + Send + 'static,
        D: Serialize + Send + 'static,
    {
        let tcc = Tcc {
            reserve: Box::new(Typed::<T, P, R>::new(reserve)),
            confirm: Box::new(TypedSequel::<F, P, R, C>::new(confirm)),
            cancel: Box::new(TypedSequel::<G, P, R, D>::new(cancel)),
        };
        self.register(name, Registered::Tcc(tcc))
    }

    fn register(mut self, name: &str, registered: Registered) -> Self {
        self.operations.push((name.to_owned(), registered));
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

    /// How often the outbox is looked at besides [`Outbox::wake`](crate::Outbox::wake); every second
    /// if not said.
    pub fn outbox(mut self, every: Duration) -> Self {
        self.settings.outbox_every = every.max(Duration::from_millis(1));
        self
    }

    /// Starts no tasks of its own: the service calls [`Participant::sweep_once`],
    /// [`Participant::retain_once`] and [`Participant::push_once`] itself.
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
        let operations = operations(self.operations)?;
        let coordinator = match self.coordinator {
            None => None,
            Some(base) => match Coordinator::new(&base, name.clone()) {
                Some(coordinator) => Some(coordinator),
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
            coordinator,
            outbox: Notify::new(),
            settings: self.settings,
            acts: Arc::new(Semaphore::new(limits::CALLS_MAX)),
            prepares: Arc::new(Semaphore::new(limits::CALLS_MAX)),
            finishes: Arc::new(Semaphore::new(limits::CALLS_MAX)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }
}

/// What goes by a name.
enum Registered {
    TwoPhase(Box<dyn Operation>),
    Action(Action),
    Tcc(Tcc),
}

fn operations(registered: Vec<(String, Registered)>) -> Result<Operations, StartError> {
    let mut operations = Operations::default();
    for (text, registered) in registered {
        let key = OperationName::new(&text).map_err(|source| StartError::Name {
            what: "operation's name",
            text: text.clone(),
            source,
        })?;
        let twice = match registered {
            Registered::TwoPhase(it) => operations.two_phase.insert(key, it).is_some(),
            Registered::Action(it) => operations.actions.insert(key, it).is_some(),
            Registered::Tcc(it) => operations.tcc.insert(key, it).is_some(),
        };
        if twice {
            return Err(StartError::Twice(text));
        }
    }
    Ok(operations)
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
