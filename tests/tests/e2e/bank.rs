//! A bank as the tests see it: its cluster, its process, and the way to it.

use std::path::Path;

use accordant_testbed::port::{self, Place};
use accordant_testbed::postgres::Postgres;
use accordant_testbed::{Process, Proxy, Role};
use anyhow::Context as _;
use sqlx::Connection as _;

use crate::relay::Relay;

/// Accounts 1 to this one. The last one is only read.
pub(crate) const ACCOUNTS: i64 = 16;
/// What each holds at first.
pub(crate) const INITIAL: i64 = 1_000_000;

/// How a bank is started.
#[derive(Clone, Debug)]
pub(crate) struct BankOptions {
    /// How often, and after what grace, the bank asks for its branches in doubt.
    pub(crate) sweep_ms: Option<(u64, u64)>,
    /// Slots for prepared transactions of its server.
    pub(crate) slots: u32,
    /// Whether calls go by the relay.
    pub(crate) relayed: bool,
    /// Services that the coordinator is to know besides the banks, by name and address.
    pub(crate) plain: Vec<(String, String)>,
}

impl Default for BankOptions {
    fn default() -> Self {
        Self { sweep_ms: None, slots: 64, relayed: false, plain: Vec::new() }
    }
}

/// One bank.
pub(crate) struct Bank {
    pub(crate) name: &'static str,
    pub(crate) server: Postgres,
    /// The coordinator calls the proxy, which passes on to the process; if so wished, by the relay.
    pub(crate) relay: Relay,
    relayed: bool,
    pub(crate) proxy: Proxy,
    pub(crate) process: Process,
    pub(crate) place: Place,
}

/// A row of `accordant.branch`.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) gtid: String,
    pub(crate) branch: i16,
    pub(crate) committed: bool,
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) account: i64,
    pub(crate) cents: i64,
}

pub(crate) async fn server(slots: u32) -> anyhow::Result<Postgres> {
    let builder = Postgres::builder()
        .private()
        .durable(false)
        .max_prepared_transactions(slots)
        .database("bank");
    Ok(builder.start().await?)
}

impl Bank {
    pub(crate) async fn start(
        name: &'static str,
        directory: &Path,
        coordinator: &str,
        options: &BankOptions,
    ) -> anyhow::Result<Self> {
        let server = server(options.slots).await?;
        let place = port::reserve()?;
        let proxy = Proxy::start(place.address()).await?;
        let relay = Relay::start(proxy.url()).await?;
        let program = env!("CARGO_BIN_EXE_accordant-e2e").into();
        let mut role = Role::new(name, program, directory).arguments(["bank"]);
        role = role.arguments(["--name", name, "--database", &server.url("bank")]);
        role = role.arguments(["--listen", &place.address().to_string()]);
        role = role.arguments(["--coordinator", coordinator]);
        if let Some((every, grace)) = options.sweep_ms {
            role = role.arguments(["--sweep-every-ms", &every.to_string()]);
            role = role.arguments(["--sweep-grace-ms", &grace.to_string()]);
        }
        if options.slots < 16 {
            role = role.arguments(["--slots-min", "1"]);
        }
        let ready = role.ready_file.clone();
        let role = role.arguments(["--ready-file".into(), ready]);
        let process = Process::start(role).await?;
        let relayed = options.relayed;
        Ok(Self { name, server, relay, relayed, proxy, process, place })
    }

    /// What the coordinator calls.
    pub(crate) fn address(&self) -> String {
        if self.relayed {
            self.relay.url()
        } else {
            self.proxy.url()
        }
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<sqlx::PgConnection> {
        sqlx::PgConnection::connect(&self.server.url("bank"))
            .await
            .with_context(|| format!("the database of {}", self.name))
    }

    /// Own prepared transactions.
    pub(crate) async fn prepared(&self) -> anyhow::Result<Vec<String>> {
        let mut pg = self.connect().await?;
        let rows: Vec<(String,)> =
            sqlx::query_as("select gid from pg_prepared_xacts where gid like 'acc:%' order by 1")
                .fetch_all(&mut pg)
                .await?;
        pg.close().await?;
        Ok(rows.into_iter().map(|(gid,)| gid).collect())
    }

    pub(crate) async fn execute(&self, text: String) -> anyhow::Result<()> {
        let mut pg = self.connect().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut pg)
            .await?;
        Ok(pg.close().await?)
    }

    pub(crate) async fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let mut pg = self.connect().await?;
        let rows: Vec<(String, i16, String)> =
            sqlx::query_as("select gtid, branch, state from accordant.branch")
                .fetch_all(&mut pg)
                .await?;
        pg.close().await?;
        let row = |(gtid, branch, state): (String, i16, String)| Row {
            gtid,
            branch,
            committed: state == "committed",
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The ledger and the balances, in one snapshot.
    pub(crate) async fn books(&self) -> anyhow::Result<(Vec<(String, Entry)>, Vec<(i64, i64)>)> {
        let mut pg = self.connect().await?;
        sqlx::raw_sql("begin isolation level repeatable read")
            .execute(&mut pg)
            .await?;
        let ledger: Vec<(String, i64, i64)> =
            sqlx::query_as("select transfer, account, cents from ledger")
                .fetch_all(&mut pg)
                .await?;
        let balances = sqlx::query_as("select id, balance from account order by id")
            .fetch_all(&mut pg)
            .await?;
        pg.close().await?;
        let entry = |(key, account, cents)| (key, Entry { account, cents });
        Ok((ledger.into_iter().map(entry).collect(), balances))
    }

    /// Starts the process again, on the same database.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.role_mut().environment.clear();
        Ok(self.process.start_again().await?)
    }

    /// Starts the process again so that it dies at a point.
    pub(crate) async fn restart_to_die_at(&mut self, point: &str) -> anyhow::Result<()> {
        self.process.kill()?;
        let variable = accordant_participant::crash::VARIABLE.to_owned();
        self.process.role_mut().environment = vec![(variable, point.to_owned())];
        Ok(self.process.start_again().await?)
    }
}
