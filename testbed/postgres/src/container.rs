//! A server in a container, for machines that have a Docker engine and nothing else.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};

use testcontainers_modules::postgres::Postgres as Image;
use testcontainers_modules::testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{ContainerAsync, ImageExt, TestcontainersError};
use tokio::time::{sleep, timeout};

use crate::address;
use crate::error::{ControlError, LaunchError};
use crate::limits;
use crate::random;
use crate::settings::Settings;
use crate::sql;
use crate::version::Version;

/// The major version that the image is asked for.
const TAG: &str = "17";

/// A container that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    container: ContainerAsync<Image>,
    url: String,
    version: Version,
    running: AtomicBool,
}

impl Container {
    /// Starts a container. The error is a fragment for a message.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, String> {
        let password = random::token();
        // A port that the engine chose would be another one after a restart, and the URL must stay.
        let port = free_port().map_err(|error| format!("no free port: {error}"))?;
        let mut command = vec!["postgres".to_owned()];
        for (name, value) in settings.pairs() {
            command.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let container = Image::default()
            .with_user(address::SUPERUSER)
            .with_password(&password)
            .with_tag(TAG)
            .with_mapped_port(port, address::PORT.tcp())
            .with_cmd(command)
            .start()
            .await
            .map_err(|error| error.to_string())?;
        let host = container
            .get_host()
            .await
            .map_err(|error| error.to_string())?;
        let user = address::SUPERUSER;
        let url = format!("postgres://{user}:{password}@{host}:{port}/postgres?sslmode=disable");
        let running = AtomicBool::new(true);
        let mut started = Self { container, url, version: (0, 0), running };
        started
            .until_ready()
            .await
            .map_err(|error| error.to_string())?;
        started.version = started
            .ask_version()
            .await
            .map_err(|error| error.to_string())?;
        Ok(started)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        address::with_database(&self.url, database).unwrap_or_else(|| self.url.clone())
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// As in `PostgreSQL 17.2 in container 0123456789ab`.
    pub(crate) fn describe(&self) -> String {
        let (major, minor) = self.version;
        format!(
            "PostgreSQL {major}.{minor} in container {}",
            self.container.id()
        )
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// The engine sends its stop signal and SIGKILL right behind it.
    pub(crate) async fn kill(&self) -> Result<(), ControlError> {
        self.stop_within(0).await
    }

    /// The image's stop signal is SIGINT: a fast stop.
    pub(crate) async fn stop(&self) -> Result<(), ControlError> {
        let seconds = i32::try_from(limits::STOP_WITHIN.as_secs()).unwrap_or(i32::MAX);
        self.stop_within(seconds).await
    }

    async fn stop_within(&self, seconds: i32) -> Result<(), ControlError> {
        self.container
            .stop_with_timeout(Some(seconds))
            .await
            .map_err(refused)?;
        self.running.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) async fn stop_immediate(&self) -> Result<(), ControlError> {
        if !self.is_running() {
            return Ok(());
        }
        // The server is process 1 of the container, which ends with it: so the answer of this
        // command may be lost, and only the state of the container tells.
        let quit = ExecCommand::new(["sh", "-c", "kill -QUIT 1"]);
        drop(self.container.exec(quit).await);
        let ended = async {
            while self.container.is_running().await.map_err(refused)? {
                sleep(limits::RESTART_PAUSE).await;
            }
            Ok(())
        };
        let waited_s = limits::STOP_WITHIN.as_secs();
        timeout(limits::STOP_WITHIN, ended)
            .await
            .unwrap_or(Err(ControlError::StillRunning { waited_s }))?;
        self.running.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) async fn start_again(&self) -> Result<(), ControlError> {
        self.container.start().await.map_err(refused)?;
        self.until_ready().await?;
        self.running.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the server accepts connections; while it initialises, it has no TCP port.
    async fn until_ready(&self) -> Result<(), LaunchError> {
        let ready = async {
            while sql::connect(&self.url).await.is_err() {
                sleep(limits::RESTART_PAUSE).await;
            }
        };
        timeout(limits::READY_WITHIN, ready)
            .await
            .map_err(|_| LaunchError::NotReady {
                waited_s: limits::READY_WITHIN.as_secs(),
                log: format!("see `docker logs {}`", self.container.id()),
            })
    }

    async fn ask_version(&self) -> Result<Version, sqlx::Error> {
        let mut connection = sql::connect(&self.url).await?;
        Ok(sql::facts(&mut connection).await?.version)
    }
}

fn refused(error: TestcontainersError) -> ControlError {
    ControlError::Container(error.to_string())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
