//! A participant at work.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::plan::PlanRequest;
use accordant_protocol::wire::contract::{ActAnswer, ActVerb};
use sqlx::PgConnection;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::builder::Builder;
use crate::engine::{Engine, Unanswered};
use crate::limits::SHUTDOWN_MAX;
use crate::local::{LocalError, LocalMessage};
use crate::outbox::Outbox;
use crate::push::{self, Pushed};
use crate::retention;
use crate::router;
use crate::settle::{self, CallBackError, SettleError};
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
            engine.tasks.spawn(push_for_ever(Arc::clone(&engine)));
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

    /// The outbox: messages that are sent if the service's own transaction commits.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox { engine: Arc::clone(&self.engine) }
    }

    /// One round of the outbox: sends what is due to the coordinator, and forgets what that has
    /// taken.
    ///
    /// # Errors
    /// If the database did not answer; the next round goes on.
    pub async fn push_once(&self) -> Result<Pushed, RoundError> {
        Ok(push::round(&self.engine).await?)
    }

    /// Begins a message in its two-phase form: the coordinator knows of it before the service's own
    /// transaction begins, and asks what became of that if it is not told. It saves the outbox's
    /// row and its pushing, and costs a request to the coordinator up front.
    ///
    /// The plan has messages and retriable steps only, as for an outbox; a step that waits for none
    /// waits for the sender's own transaction.
    ///
    /// # Durability
    /// On return the coordinator has the plan, durably.
    ///
    /// # Cancel safety
    /// Dropping the future, or what it returns, gives the message up after a while.
    ///
    /// # Errors
    /// [`LocalError`]: there is nothing to mark.
    ///
    /// # Examples
    /// ```no_run
    /// # use accordant_participant::{Message, Participant};
    /// # async fn f(participant: Participant, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let message = participant.local_message(Message::new("mail", "welcome", "ada")?).await?;
    /// let mut local = pool.begin().await?;
    /// sqlx::query("insert into member (name) values ('ada')").execute(&mut *local).await?;
    /// message.mark(&mut local).await?;
    /// local.commit().await?;
    /// message.submit().await.ok();
    /// # Ok(()) }
    /// ```
    pub async fn local_message(
        &self,
        plan: impl Into<PlanRequest>,
    ) -> Result<LocalMessage, LocalError> {
        LocalMessage::begin(&self.engine, plan.into(), None).await
    }

    /// The same, where the coordinator asks after this time if it is not told; after 30 seconds
    /// otherwise. What is not marked by then is given up.
    ///
    /// # Errors
    /// As for [`Participant::local_message`].
    pub async fn local_message_within(
        &self,
        plan: impl Into<PlanRequest>,
        within: Duration,
    ) -> Result<LocalMessage, LocalError> {
        LocalMessage::begin(&self.engine, plan.into(), Some(within)).await
    }

    /// Writes what an action came to that went on elsewhere (see [`Refusal::in_progress`]) in the
    /// service's own transaction on this connection, to the participant's database. Once that has
    /// committed, the coordinator hears of it when it asks the next time, or at once by
    /// [`Participant::call_back`].
    ///
    /// [`Refusal::in_progress`]: crate::Refusal::in_progress
    ///
    /// # Durability
    /// None of its own: it is as durable as the transaction.
    ///
    /// # Errors
    /// [`SettleError`]. *Otherwise* is the one to heed: a compensation has come first, so nobody else
    /// will make good what was done.
    pub async fn settle(
        &self,
        connection: &mut PgConnection,
        gtid: Gtid,
        branch: BranchIndex,
        verb: ActVerb,
        answer: &ActAnswer,
    ) -> Result<(), SettleError> {
        settle::settle(connection, gtid, branch, verb, answer).await
    }

    /// Tells what an action came to that went on elsewhere: first to the participant's own table,
    /// as [`Participant::settle`] does, so that a compensation finds it, and then to the
    /// coordinator. Call it until it succeeds, or says that it never will.
    ///
    /// It takes one of the connections for branches, and waits for an attempt that is at work no
    /// longer than any call does.
    ///
    /// # Durability
    /// On return the end is durable here, and known to the coordinator.
    ///
    /// # Idempotency
    /// A repeat tells the same again.
    ///
    /// # Errors
    /// [`CallBackError`] says which are worth a repeat.
    pub async fn call_back(
        &self,
        gtid: Gtid,
        branch: BranchIndex,
        verb: ActVerb,
        answer: &ActAnswer,
    ) -> Result<(), CallBackError> {
        settle::call_back(&self.engine, gtid, branch, verb, answer).await
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

async fn push_for_ever(engine: Arc<Engine>) {
    // Without a coordinator there is nobody to push to.
    while engine.coordinator.is_some() {
        tokio::select! {
            () = engine.closing.cancelled() => return,
            () = engine.outbox.notified() => {}
            () = sleep(engine.settings.outbox_every) => {}
        }
        match push::round(&engine).await {
            Ok(pushed) if pushed != Pushed::default() => info!(?pushed, "pushed messages"),
            Ok(_) => {}
            Err(error) => warn!(%error, "could not look for messages"),
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
