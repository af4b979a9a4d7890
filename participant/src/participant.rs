//! A participant at work.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::builder::Builder;
use crate::engine::{Engine, Unanswered};
use crate::limits::SHUTDOWN_MAX;
use crate::retention;
use crate::router;
use crate::sweep::{self, Swept};

/// A service's part in transactions: it answers the coordinator's calls and ends what stays in
/// doubt by the coordinator's word.
///
/// Cloning gives another handle to the same participant.
#[derive(Clone)]
pub struct Participant {
    pub(crate) engine: Arc<Engine>,
}

/// A round of upkeep was not finished. The next one goes on.
#[derive(Debug, thiserror::Error)]
#[error("the round was not finished")]
pub struct RoundError {
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl From<Unanswered> for RoundError {
    fn from(cause: Unanswered) -> Self {
        Self { source: Box::new(cause) }
    }
}

impl Participant {
    /// Begins the wishes for a participant of this name, as registered with the coordinator.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    pub(crate) fn start(engine: Arc<Engine>, background: bool) -> Self {
        if background {
            engine.tasks.spawn(sweep_for_ever(Arc::clone(&engine)));
            engine.tasks.spawn(retain_for_ever(Arc::clone(&engine)));
        }
        Self { engine }
    }

    /// The participant contract, to be merged into the service's own router.
    ///
    /// Unless it was built with [`Builder::insecure`], it lets in only callers on the loopback
    /// interface, and must be served with `into_make_service_with_connect_info::<SocketAddr>()`
    /// to know who they are.
    pub fn router(&self) -> axum::Router {
        router::router(Arc::clone(&self.engine))
    }

    /// Serves the contract and nothing else, until [`Participant::shutdown`].
    ///
    /// # Errors
    /// If the listener is not on the loopback interface and the participant was not built with
    /// [`Builder::insecure`], or if the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        use axum::serve::ListenerExt as _;
        let address = listener.local_addr()?;
        if !self.engine.settings.insecure && !address.ip().is_loopback() {
            let reason = format!(
                "{address} can be reached from other machines, and calls are not authenticated \
                 yet; listen on 127.0.0.1, or build the participant with `insecure(true)`"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                warn!(%error, "a connection is slower than it could be");
            }
        });
        let service = self
            .router()
            .into_make_service_with_connect_info::<SocketAddr>();
        let closing = self.engine.closing.clone();
        axum::serve(listener, service)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
    }

    /// Takes no more calls, waits until branches at work have ended, half a minute at most, and
    /// closes the connections. What is still at work then is rolled back, and is not voted for.
    pub async fn shutdown(&self) {
        self.engine.closing.cancel();
        self.engine.tasks.close();
        if timeout(SHUTDOWN_MAX, self.engine.tasks.wait())
            .await
            .is_err()
        {
            warn!("branches are still at work at the end of the shutdown");
        }
        self.engine.work.close();
        self.engine.control.close();
    }

    /// One round of the sweep: lists own branches in doubt that are older than the grace period,
    /// asks the coordinator about each, and ends them by its word.
    ///
    /// # Errors
    /// If the database did not answer; nothing was concluded then.
    pub async fn sweep_once(&self) -> Result<Swept, RoundError> {
        Ok(sweep::round(&self.engine).await?)
    }

    /// One round of retention: raises the floors to the watermarks that were heard, and deletes
    /// markers and seals that nobody can ask for any more. Returns the number of deleted rows.
    ///
    /// # Errors
    /// If the database did not answer; the next round goes on.
    pub async fn retain_once(&self) -> Result<u64, RoundError> {
        Ok(retention::round(&self.engine).await?)
    }
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant")
            .field("name", &self.engine.name)
            .finish_non_exhaustive()
    }
}

async fn sweep_for_ever(engine: Arc<Engine>) {
    while !pause(&engine, engine.settings.sweep_every).await {
        match sweep::round(&engine).await {
            Ok(swept) if swept.found > 0 => info!(?swept, "looked for branches in doubt"),
            Ok(_) => {}
            Err(error) => warn!(%error, "could not look for branches in doubt"),
        }
    }
}

async fn retain_for_ever(engine: Arc<Engine>) {
    while !pause(&engine, engine.settings.retention_every).await {
        if let Err(error) = retention::round(&engine).await {
            warn!(%error, "could not delete what is not needed any more");
        }
    }
}

/// Waits for about so long; true if the participant closes meanwhile. Replicas that started
/// together spread out, by their process ids and the time.
async fn pause(engine: &Engine, about: Duration) -> bool {
    let seed = crate::clock::now().as_millis() ^ u64::from(std::process::id());
    let jitter = u32::try_from(seed % 251).unwrap_or(0);
    let longer = about / 1000 * jitter;
    tokio::select! {
        () = engine.closing.cancelled() => true,
        () = sleep(about + longer) => engine.closing.is_cancelled(),
    }
}
