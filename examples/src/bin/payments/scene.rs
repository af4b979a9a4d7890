//! Everything that stands on the stage: servers, banks, coordinator.

use accordant_examples::stage::{coordinator_role, service_role};
use accordant_testbed::port;
use accordant_testbed::postgres::Postgres;
use accordant_testbed::process::Process;
use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::arguments::{Arguments, JournalKind};
use accordant_examples::bank::SCHEMA;

/// Accounts of each bank: enough that transfers seldom wait for each other.
pub(crate) const ACCOUNTS: i32 = 1000;
/// What each account holds at first.
pub(crate) const CENTS: i64 = 100_000;
/// The banks.
pub(crate) const BANKS: [&str; 2] = ["north", "south"];
/// Prepared-transaction slots of each bank's server.
const SLOTS: u32 = 512;

/// A bank and its server.
pub(crate) struct Bank {
    pub name: &'static str,
    pub server: Postgres,
    pub process: Process,
}

/// Everything.
pub(crate) struct Scene {
    pub banks: Vec<Bank>,
    pub coordinator: Process,
    pub coordinator_url: String,
    /// The journal's own server, if it is kept in one.
    pub journal: Option<Postgres>,
    // Last, so that it is removed after all that writes into it has ended.
    directory: TempDir,
}

impl Scene {
    /// Starts everything.
    pub(crate) async fn build(arguments: &Arguments) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        println!("starting two banks, each with a PostgreSQL server of its own, and a coordinator");
        let place = port::reserve()?;
        let places = [port::reserve()?, port::reserve()?];
        let wants_journal = arguments.journal == JournalKind::Postgres;
        let (journal, north, south) = tokio::try_join!(
            journal_server(wants_journal),
            bank_server(BANKS[0]),
            bank_server(BANKS[1]),
        )?;
        println!("  {}", north.source());
        let journal_url = match &journal {
            Some(server) => server.url("journal"),
            None => format!("sqlite:{}", directory.path().join("journal.db").display()),
        };
        let known = BANKS.into_iter().zip(places);
        let coordinator = coordinator_role(directory.path(), place, &journal_url, known)?;
        let coordinator = Process::start(coordinator).await?;
        let mut banks = Vec::new();
        for ((name, server), at) in BANKS.into_iter().zip([north, south]).zip(places) {
            let database = server.url("bank");
            let role = service_role(directory.path(), "bank", name, &database, at, place)?;
            let process = Process::start(role).await?;
            banks.push(Bank { name, server, process });
        }
        let coordinator_url = place.url();
        Ok(Self { banks, coordinator, coordinator_url, journal, directory })
    }

    /// Leaves everything up until the person has seen enough.
    pub(crate) async fn keep(&self) -> anyhow::Result<()> {
        println!("\neverything is left up:");
        println!("  coordinator  {}", self.coordinator_url);
        for bank in &self.banks {
            println!("  bank {:<7} {}", bank.name, bank.server.url("bank"));
        }
        println!("  logs         {}", self.directory.path().display());
        println!("press Ctrl-C to end it");
        tokio::signal::ctrl_c().await.context("no signals")
    }
}

async fn journal_server(wanted: bool) -> anyhow::Result<Option<Postgres>> {
    if !wanted {
        return Ok(None);
    }
    let server = Postgres::builder()
        .private()
        .database("journal")
        .start()
        .await;
    Ok(Some(server.context(
        "the journal's PostgreSQL server did not start",
    )?))
}

async fn bank_server(name: &str) -> anyhow::Result<Postgres> {
    let server = Postgres::builder()
        .private()
        .database("bank")
        .max_connections(150)
        .max_prepared_transactions(SLOTS)
        .start()
        .await
        .with_context(|| format!("the PostgreSQL server of bank {name} did not start"))?;
    let mut connection = PgConnection::connect(&server.url("bank")).await?;
    connection.execute(sqlx::raw_sql(SCHEMA)).await?;
    sqlx::query("insert into account select id, $2 from generate_series(1, $1) as id")
        .bind(ACCOUNTS)
        .bind(CENTS)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(server)
}
