//! The coordinator and the services, each a process of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use accordant_client::Client;
use accordant_testbed::port::{self, Place};
use accordant_testbed::process::{Process, Role, end_with_parent};
use anyhow::Context as _;
use tempfile::TempDir;

/// How long a client keeps trying: longer than any kill lasts.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs.
pub struct Stage {
    /// The coordinator, which can be killed and started again.
    pub coordinator: Process,
    /// The services, by name. Dropped after the coordinator.
    pub services: BTreeMap<String, Process>,
    place: Place,
    places: BTreeMap<String, Place>,
    // Last, so that it is removed after all that writes into it has ended.
    directory: TempDir,
}

impl Stage {
    /// Starts a coordinator that knows these services, each with a port reserved for it.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn open(names: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let place = port::reserve()?;
        let mut places = BTreeMap::new();
        for name in names {
            places.insert((*name).to_owned(), port::reserve()?);
        }
        let journal = format!("sqlite:{}", directory.path().join("journal.db").display());
        let known = places.iter().map(|(name, place)| (name.as_str(), *place));
        let role = coordinator_role(directory.path(), place, &journal, known)?;
        let (coordinator, services) = (Process::start(role).await?, BTreeMap::new());
        Ok(Self { coordinator, services, place, places, directory })
    }

    /// Starts a service of the library's: this program again, as `word`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn serve(
        &mut self,
        word: &str,
        name: &str,
        database: &str,
        work: Duration,
    ) -> anyhow::Result<()> {
        let role = service_role(
            self.directory(),
            word,
            name,
            database,
            self.at(name)?,
            self.place,
        )?;
        let diary = self.diary_of(name).display().to_string();
        let work = work.as_millis().to_string();
        self.start(
            name,
            role.arguments(["--diary", &diary, "--work-ms", &work]),
        )
        .await
    }

    /// Starts a service of any other kind.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(&mut self, name: &str, role: Role) -> anyhow::Result<()> {
        let process = Process::start(role).await?;
        self.services.insert(name.to_owned(), process);
        Ok(())
    }

    /// Where a service is.
    ///
    /// # Errors
    /// If it was not named in the beginning.
    pub fn at(&self, name: &str) -> anyhow::Result<Place> {
        let place = self.places.get(name).copied();
        place.with_context(|| format!("there is no {name} on the stage"))
    }

    /// Where the coordinator is.
    #[must_use]
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// A client of the coordinator.
    ///
    /// # Errors
    /// If its address is none.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::builder(&self.url()).patience(PATIENCE).build()?)
    }

    /// Where everything is written.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The diary of a service.
    #[must_use]
    pub fn diary_of(&self, name: &str) -> PathBuf {
        self.directory().join(format!("{name}.diary"))
    }

    /// The diaries of all services.
    #[must_use]
    pub fn diaries(&self) -> Vec<PathBuf> {
        self.places.keys().map(|name| self.diary_of(name)).collect()
    }
}

/// The coordinator in its process: a role's `main`, with the arguments of `accordant`.
pub fn coordinate(arguments: Vec<OsString>) -> ExitCode {
    end_with_parent();
    let program = OsString::from("accordant");
    accordant_coordinator::cli::run(std::iter::once(program).chain(arguments))
}

/// The coordinator: this program again, as `coordinator`.
///
/// # Errors
/// If this program cannot be found.
pub fn coordinator_role<'a>(
    directory: &Path,
    place: Place,
    journal: &str,
    services: impl IntoIterator<Item = (&'a str, Place)>,
) -> anyhow::Result<Role> {
    let role = Role::new("coordinator", std::env::current_exe()?, directory);
    let (ready_file, listen) = (
        role.ready_file.display().to_string(),
        place.address().to_string(),
    );
    let mut role = role
        .arguments(["coordinator", "--", "serve", "--listen", &listen])
        .arguments(["--journal", journal, "--ready-file", &ready_file]);
    for (name, place) in services {
        role = role.arguments(["--participant", &format!("{name}={}", place.url())]);
    }
    Ok(role)
}

/// A service of the library's: this program again, as `word`.
///
/// # Errors
/// If this program cannot be found.
pub fn service_role(
    directory: &Path,
    word: &str,
    name: &str,
    database: &str,
    at: Place,
    coordinator: Place,
) -> anyhow::Result<Role> {
    let role = Role::new(name, std::env::current_exe()?, directory);
    let ready_file = role.ready_file.display().to_string();
    let (listen, coordinator) = (at.address().to_string(), coordinator.url());
    let role = role.arguments([word, "--name", name, "--database", database]);
    let role = role.arguments(["--coordinator", &coordinator, "--listen", &listen]);
    Ok(role.arguments(["--ready-file", &ready_file]))
}
