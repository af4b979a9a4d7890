//! `accordant serve`: from the configuration to a running coordinator, and to its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::arguments::ServeArguments;
use super::exit::Exit;
use super::ready::ReadyFile;
use super::signal::Signals;
use super::store::Opening;
use crate::config::{Config, Faults, FileError, FileLayer, JournalUrl};
use crate::driver::{Coordinator, Settings, StartError};
use crate::journal::error::OpenError;
use crate::journal::store::Store;
use crate::telemetry::init::{self, TelemetryError};
use crate::{api, crash, id};

/// How long replies that are on their way may take after the coordinator has stopped.
const REPLIES_WAIT: Duration = Duration::from_secs(2);

/// How long the runtime waits for its threads at the end.
const THREADS_WAIT: Duration = Duration::from_secs(1);

/// Why a coordinator does not serve, or no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the configuration is wrong:\n  {0}")]
    Faults(Faults),
    #[error(
        "refused: this build contains crash points, at which it kills itself when told to. Use a \
         release build, or pass --unsafe-test-build in a test"
    )]
    TestBuild,
    #[error(
        "refused: {listen} is not a loopback address, and there is no authentication and no TLS yet: \
         whoever reaches it can begin transactions and read them. Listen on a loopback address, or \
         pass --insecure in a network that you trust"
    )]
    Insecure { listen: SocketAddr },
    #[error(
        "refused: a journal in memory forgets every decision when the process ends, and \
         participants are left in doubt. Use sqlite:PATH, or pass --volatile to try things out"
    )]
    Volatile,
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("the journal {journal} cannot be opened{hint}")]
    Journal { journal: JournalUrl, hint: &'static str, source: OpenError },
    #[error("the coordinator does not start")]
    Start(#[from] StartError),
    #[error(
        "{listen} cannot be listened on; if another program does, choose another port with --listen"
    )]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("the ready file {path} cannot be written")]
    ReadyFile { path: PathBuf, source: std::io::Error },
    #[error(
        "the journal failed for good ({reason}); nothing that was confirmed is lost. Look at the disk \
         or the database, and start again"
    )]
    JournalFatal { reason: Arc<str> },
    #[error(
        "{task} panicked; nothing that was confirmed is lost. Start again, and report the panic"
    )]
    Panicked { task: &'static str },
    #[error("the process cannot go on")]
    System(#[from] std::io::Error),
    #[error("ended at once by a second {signal}; the next start finishes what is open")]
    Interrupted { signal: &'static str },
}

impl ServeError {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::File(_) | Self::Faults(_) | Self::Start(_) => Exit::Config,
            Self::TestBuild | Self::Insecure { .. } | Self::Volatile => Exit::Unsafe,
            Self::Journal { source: OpenError::InUse { .. }, .. } => Exit::JournalInUse,
            Self::Journal { .. } => Exit::JournalOpen,
            Self::Listen { .. } | Self::ReadyFile { .. } => Exit::Listen,
            Self::JournalFatal { .. } => Exit::JournalFatal,
            Self::Telemetry(_) | Self::System(_) | Self::Panicked { .. } => Exit::Internal,
            Self::Interrupted { .. } => Exit::Interrupted,
        }
    }
}

/// Serves until told to stop.
pub(super) fn serve(arguments: ServeArguments) -> Result<Exit, ServeError> {
    let prepared = Prepared::check(arguments)?;
    init::start_log(&prepared.config.log, prepared.config.log_format)?;
    let metrics = init::start_metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let running = Running::start(prepared, metrics).await?;
        running.until_told().await
    });
    runtime.shutdown_timeout(THREADS_WAIT);
    served.map(|()| Exit::Ok)
}

/// A configuration that may be served. Nothing has been touched yet.
struct Prepared {
    config: Config,
    ready_file: Option<PathBuf>,
    restored: bool,
    accept_unsafe_server: bool,
}

impl Prepared {
    fn check(arguments: ServeArguments) -> Result<Self, ServeError> {
        if crash::COMPILED_IN && !arguments.unsafe_test_build {
            return Err(ServeError::TestBuild);
        }
        let file = match &arguments.config {
            Some(path) => FileLayer::read(path)?,
            None => FileLayer::default(),
        };
        let named = arguments.participants.into_iter();
        let participants: BTreeMap<_, _> = named.map(|it| (it.name, it.address)).collect();
        let config = Config::resolve(arguments.layer, participants, file);
        let config = config.map_err(ServeError::Faults)?;
        if !config.listen.ip().is_loopback() && !config.insecure {
            return Err(ServeError::Insecure { listen: config.listen });
        }
        if config.journal == JournalUrl::Memory && !arguments.volatile {
            return Err(ServeError::Volatile);
        }
        Ok(Self {
            config,
            ready_file: arguments.ready_file,
            restored: arguments.journal_restored,
            accept_unsafe_server: arguments.accept_unsafe_server,
        })
    }
}

/// A coordinator that serves.
struct Running {
    coordinator: Arc<Coordinator>,
    signals: Signals,
    server: JoinHandle<std::io::Result<()>>,
    stop_server: CancellationToken,
    upkeep: JoinHandle<()>,
    ready_file: Option<ReadyFile>,
}

impl Running {
    async fn start(prepared: Prepared, metrics: PrometheusHandle) -> Result<Self, ServeError> {
        let Prepared { config, ready_file, restored, accept_unsafe_server } = prepared;
        if let Some(path) = &ready_file {
            ReadyFile::clear(path)
                .map_err(|source| ServeError::ReadyFile { path: path.clone(), source })?;
        }
        let (cluster, partitions) = (config.cluster, config.partitions);
        let journal = config.journal.clone();
        let opening = Opening { journal, cluster, partitions, restored, accept_unsafe_server };
        let store = opening.open().await;
        let store = store.map_err(|source| ServeError::Journal {
            hint: hint(&config.journal, &source),
            journal: config.journal.clone(),
            source,
        })?;
        Self::over(store, &config, ready_file, metrics).await
    }

    /// Serves over an open journal.
    async fn over(
        store: Arc<dyn Store>,
        config: &Config,
        ready_file: Option<PathBuf>,
        metrics: PrometheusHandle,
    ) -> Result<Self, ServeError> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await;
        let listener = listener.map_err(|source| ServeError::Listen { listen, source })?;
        let address = listener.local_addr()?;
        let settings = Settings {
            owner: config.owner.clone().unwrap_or_else(|| owner(address)),
            ..config.settings.clone()
        };
        warn_of(config, &settings);
        let coordinator = Arc::new(Coordinator::start(store, settings)?);
        let signals = Signals::listen()?;
        let upkeep = init::spawn_upkeep(metrics.clone());
        let stop_server = CancellationToken::new();
        let router = api::router(Arc::clone(&coordinator), metrics);
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "a connection keeps its delay");
            }
        });
        let stopped = stop_server.clone().cancelled_owned();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
        let server = tokio::spawn(serving.into_future());
        announce(address, config);
        let ready_file = match ready_file {
            Some(path) => Some(
                ReadyFile::write(&path, address)
                    .map_err(|source| ServeError::ReadyFile { path, source })?,
            ),
            None => None,
        };
        Ok(Self {
            coordinator,
            signals,
            server,
            stop_server,
            upkeep,
            ready_file,
        })
    }

    /// Serves until a signal comes, then finishes what is open; or until it cannot go on.
    async fn until_told(mut self) -> Result<(), ServeError> {
        let coordinator = Arc::clone(&self.coordinator);
        let signal = tokio::select! {
            signal = self.signals.next() => signal,
            reason = coordinator.journal().fatal() => return Err(fatal(reason)),
            task = coordinator.failed() => return Err(ServeError::Panicked { task }),
            ended = &mut self.server => return Err(unserved(ended)),
        };
        info!(
            signal,
            "stopping: no new transactions; a second signal ends the process at once"
        );
        let Self { signals, server, stop_server, ready_file, .. } = &mut self;
        // Participants still ask for outcomes and clients still wait for them, so that the server
        // answers until the coordinator has stopped.
        let graceful = async {
            coordinator.shutdown().await;
            stop_server.cancel();
            if tokio::time::timeout(REPLIES_WAIT, server).await.is_err() {
                warn!("some connections were closed in the middle of a request");
            }
        };
        let ended = tokio::select! {
            () = graceful => Ok(()),
            signal = signals.next() => Err(ServeError::Interrupted { signal }),
            task = coordinator.failed() => Err(ServeError::Panicked { task }),
            reason = coordinator.journal().fatal() => Err(fatal(reason)),
        };
        drop(ready_file.take());
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.upkeep.abort();
        self.server.abort();
    }
}

fn fatal(reason: Arc<str>) -> ServeError {
    error!(%reason, "the journal failed for good: ending");
    ServeError::JournalFatal { reason }
}

fn unserved(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> ServeError {
    let error = match ended {
        Ok(Ok(())) => std::io::Error::other("the server ended by itself"),
        Ok(Err(error)) => error,
        Err(error) => std::io::Error::other(error),
    };
    ServeError::System(error)
}

const fn hint(journal: &JournalUrl, error: &OpenError) -> &'static str {
    match (journal, error) {
        (JournalUrl::Postgres(_), OpenError::Unavailable { .. }) => {
            ": is PostgreSQL running there, and may this user use the database?"
        }
        (_, OpenError::Moved { .. }) => " (see --journal-restored)",
        _ => "",
    }
}

/// The owner's name: the same after a restart, so that the process need not wait for the lease that
/// it held before.
fn owner(address: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    let host = host.unwrap_or_else(|| {
        // Unique is what matters.
        id::random_u128().map_or_else(|_| "unnamed".to_owned(), |bits| format!("{bits:032x}"))
    });
    format!("{}/{address}", host.chars().take(64).collect::<String>())
}

fn warn_of(config: &Config, settings: &Settings) {
    if crash::COMPILED_IN {
        warn!("this build contains crash points: for tests only");
    }
    if !config.listen.ip().is_loopback() {
        warn!(listen = %config.listen, "listening without authentication and TLS (--insecure)");
    }
    if settings.registry.is_empty() {
        warn!(
            "no participants are registered: every transaction will be refused; see --participant"
        );
    }
}

/// The one line for people; a broken pipe is no reason not to serve.
fn announce(address: SocketAddr, config: &Config) {
    use std::io::Write as _;
    let (version, journal) = (env!("CARGO_PKG_VERSION"), &config.journal);
    let participants = config.settings.registry.len();
    let _unheard = writeln!(
        std::io::stdout(),
        "accordant {version} listens on http://{address}, journal {journal}, \
         participants {participants}",
    );
    info!(%address, %journal, cluster = %config.cluster, participants, version, "serving");
}

#[cfg(test)]
mod tests {
    use accordant_protocol::id::{Cluster, Incarnation};
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::config::Layer;
    use crate::journal::memory::{Fault, MemoryStore};

    #[tokio::test]
    async fn a_journal_that_fails_for_good_ends_the_process_with_a_code_of_its_own() {
        let flags = Layer {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..Layer::default()
        };
        let bank = BTreeMap::from([("bank".to_owned(), "http://127.0.0.1:1".to_owned())]);
        let config = Config::resolve(flags, bank, FileLayer::default()).unwrap();
        let store = MemoryStore::new(Cluster::new("acc").unwrap(), Incarnation(1), 1);
        store.inject(Fault::Fatal);
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready.json");
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let running = Running::over(Arc::new(store), &config, Some(ready.clone()), metrics);
        let running = running.await.unwrap();
        running.coordinator.owned_all().await;
        let told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();

        // The first write of a transaction is the one that fails.
        let body = r#"{"branches":[{"name":"a","participant":"bank","operation":"x"}]}"#;
        let request = format!(
            "POST /v1/transactions HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let address = told["address"].as_str().unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), running.until_told()).await;
        let error = ended.unwrap().unwrap_err();
        assert!(
            matches!(error, ServeError::JournalFatal { .. }),
            "{error:?}"
        );
        assert_eq!(error.exit(), Exit::JournalFatal);
        assert!(!ready.exists());
    }
}
