//! Two banks, a coordinator between them, and what it takes to kill and to heal them.

use std::path::Path;
use std::time::Duration;

use accordant_client::{BranchState, IdempotencyKey, StatusError};
use accordant_testbed::port::{self, Place};
use accordant_testbed::postgres::Postgres;
use accordant_testbed::{Fault, Process, Role};
use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::bank::{Bank, BankOptions};
use crate::http;
use crate::relay::Mode;
use crate::teller::{BANKS, Teller};

/// With everything up, everything has ended after so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(25);

/// Where the coordinator keeps its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalKind {
    Sqlite,
    Postgres,
}

/// Everything that one test starts.
pub(crate) struct World {
    pub(crate) banks: [Bank; 2],
    pub(crate) coordinator: Process,
    pub(crate) place: Place,
    pub(crate) teller: Teller,
    /// The journal's server, if it is one.
    pub(crate) journal: Option<Postgres>,
    pub(crate) directory: TempDir,
    /// Services that the coordinator knows besides the banks, by name and address.
    pub(crate) plain: Vec<(String, String)>,
}

impl World {
    pub(crate) async fn start(journal: JournalKind) -> anyhow::Result<Self> {
        Self::with(journal, BankOptions::default()).await
    }

    pub(crate) async fn with(journal: JournalKind, options: BankOptions) -> anyhow::Result<Self> {
        Self::build(journal, options, None).await
    }

    /// A world whose journal is in this file.
    pub(crate) async fn on_disk(file: &Path) -> anyhow::Result<Self> {
        Self::build(JournalKind::Sqlite, BankOptions::default(), Some(file)).await
    }

    async fn build(
        journal: JournalKind,
        options: BankOptions,
        file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("accordant-e2e-")
            .tempdir()?;
        let place = port::reserve()?;
        let url = place.url();
        let [a, b] = BANKS.map(|name| Bank::start(name, directory.path(), &url, &options));
        let (a, b) = tokio::try_join!(a, b)?;
        let server = match journal {
            JournalKind::Sqlite => None,
            JournalKind::Postgres => {
                let server = Postgres::builder()
                    .private()
                    .durable(true)
                    .database("journal");
                Some(server.start().await?)
            }
        };
        let journal_url = match &server {
            None => {
                let own = directory.path().join("journal.db");
                format!("sqlite:{}", file.unwrap_or(&own).display())
            }
            Some(server) => server.url("journal"),
        };
        let banks = [a, b];
        let plain = options.plain.clone();
        let role = coordinator("coordinator", place, &journal_url, &banks, directory.path());
        let coordinator = Process::start(with_plain(role, &plain)).await?;
        let teller = Teller::new(&url)?;
        let journal = server;
        let world = Self { banks, coordinator, place, teller, journal, directory, plain };
        world.until_ready().await?;
        Ok(world)
    }

    pub(crate) fn url(&self) -> String {
        self.place.url()
    }

    /// Starts the coordinator again, without a crash point.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.coordinator.kill()?;
        self.coordinator.role_mut().environment.clear();
        self.coordinator.start_again().await?;
        self.until_ready().await
    }

    /// Waits until the coordinator calls itself ready.
    pub(crate) async fn until_ready(&self) -> anyhow::Result<()> {
        self.until(
            "the coordinator is ready",
            Duration::from_secs(15),
            async |world| Ok(world.ready().await?.0),
        )
        .await
    }

    /// Starts the coordinator again so that it dies at a point.
    pub(crate) async fn restart_to_die_at(&mut self, point: &str) -> anyhow::Result<()> {
        self.coordinator.kill()?;
        let variable = "ACCORDANT_CRASH_POINT".to_owned();
        self.coordinator.role_mut().environment = vec![(variable, point.to_owned())];
        self.coordinator.start_again().await?;
        self.until_ready().await
    }

    /// Starts whatever is down, and lifts every fault.
    pub(crate) async fn heal(&mut self) -> anyhow::Result<()> {
        if let Some(server) = &self.journal {
            server.start_again().await?;
        }
        for bank in &mut self.banks {
            bank.server.start_again().await?;
            bank.proxy.set(Fault::None);
            bank.relay.set(Mode::Pass);
            if !bank.process.is_running() {
                bank.restart().await?;
            }
        }
        if !self.coordinator.is_running() {
            self.restart().await?;
        }
        Ok(())
    }

    /// Prepared branches at each bank whose server runs.
    pub(crate) async fn prepared(&self) -> anyhow::Result<[usize; 2]> {
        let mut counts = [0; 2];
        for (count, bank) in counts.iter_mut().zip(&self.banks) {
            if bank.server.is_running() {
                *count = bank.prepared().await?.len();
            }
        }
        Ok(counts)
    }

    pub(crate) async fn in_doubt(&self) -> anyhow::Result<serde_json::Value> {
        http::get(&format!("{}/v1/admin/in-doubt", self.url()))
            .await?
            .json()
    }

    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        Ok(http::get(&format!("{}/metrics", self.url())).await?.text)
    }

    /// Whether the coordinator calls itself ready, and what it says.
    pub(crate) async fn ready(&self) -> anyhow::Result<(bool, String)> {
        let reply = http::get(&format!("{}/readyz", self.url())).await?;
        Ok((reply.status == 200, reply.text))
    }

    /// Whether the coordinator runs, answers, and calls itself ready.
    pub(crate) async fn coordinator_answers_ready(&self) -> bool {
        self.ready().await.is_ok_and(|(ready, _)| ready)
    }

    /// Waits until everything has ended: nothing open at the coordinator, nothing prepared at the
    /// banks. How long that took.
    ///
    /// # Errors
    /// If it takes longer than what is promised, with what is left.
    pub(crate) async fn settle(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let left = self.left().await?;
            let Some(left) = left else {
                return Ok(start.elapsed());
            };
            if start.elapsed() > SETTLED_WITHIN {
                let seconds = SETTLED_WITHIN.as_secs();
                bail!(
                    "not settled {seconds} s after everything is up: {left}\n{}",
                    self.logs()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn left(&self) -> anyhow::Result<Option<String>> {
        let (ready, reason) = self.ready().await?;
        if !ready {
            return Ok(Some(reason));
        }
        let in_doubt = self.in_doubt().await?;
        let count = |name: &str| in_doubt.get(name).and_then(serde_json::Value::as_u64);
        if count("open") != Some(0) || count("count") != Some(0) {
            return Ok(Some(in_doubt.to_string()));
        }
        for bank in &self.banks {
            let prepared = bank.prepared().await?;
            if !prepared.is_empty() {
                return Ok(Some(format!("prepared at {}: {prepared:?}", bank.name)));
            }
        }
        Ok(None)
    }

    /// Waits until something is so.
    pub(crate) async fn until(
        &self,
        what: &str,
        within: Duration,
        mut is_so: impl AsyncFnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        while !is_so(self).await? {
            if start.elapsed() > within {
                bail!(
                    "within {} s it was never so: {what}\n{}",
                    within.as_secs(),
                    self.logs()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until the coordinator says so of a branch.
    pub(crate) async fn until_branch(
        &self,
        key: &str,
        branch: &str,
        state: BranchState,
    ) -> anyhow::Result<()> {
        let name = IdempotencyKey::new(key)?;
        let what = format!("{branch} of {key} is {state:?}");
        self.until(&what, Duration::from_secs(8), async |world| {
            match world.teller.client().status_by_key(&name).await {
                Ok(status) => Ok(status.branch(branch).is_some_and(|it| it.state == state)),
                Err(StatusError::NotFound) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// The ends of the processes' logs.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let files = std::fs::read_dir(self.directory.path());
        let paths = files.into_iter().flatten().flatten().map(|it| it.path());
        for path in paths.filter(|path| path.extension().is_some_and(|it| it == "log")) {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines
                .get(lines.len().saturating_sub(25)..)
                .unwrap_or_default();
            text.push_str(&format!("--- {}\n{}\n", path.display(), end.join("\n")));
        }
        text
    }
}

/// The role of a coordinator of these banks.
pub(crate) fn coordinator(
    name: &str,
    place: Place,
    journal: &str,
    banks: &[Bank; 2],
    directory: &Path,
) -> Role {
    let program = env!("CARGO_BIN_EXE_accordant-e2e").into();
    let mut role = Role::new(name, program, directory).arguments(["coordinator", "serve"]);
    role = role.arguments(["--listen", &place.address().to_string()]);
    role = role.arguments(["--journal", journal, "--unsafe-test-build"]);
    for bank in banks {
        let registered = format!("{}={}", bank.name, bank.address());
        role = role.arguments(["--participant", &registered]);
    }
    let ready = role.ready_file.clone();
    role.arguments(["--ready-file".into(), ready])
}

/// The same, with services besides the banks.
pub(crate) fn with_plain(mut role: Role, plain: &[(String, String)]) -> Role {
    for (name, url) in plain {
        role = role.arguments(["--participant", &format!("{name}={url}")]);
    }
    role
}

/// Waits until a process has died by a signal.
pub(crate) async fn died(process: &mut Process, signal: i32) -> anyhow::Result<()> {
    use std::os::unix::process::ExitStatusExt as _;
    let status = process.wait(Duration::from_secs(20)).await;
    let status = status.context("the process has not died: its crash point was not reached")?;
    anyhow::ensure!(status.signal() == Some(signal), "it ended with {status}");
    Ok(())
}
