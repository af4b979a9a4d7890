//! A coordinator and services inside the test's own process.

use std::net::SocketAddr;
use std::sync::Arc;

use accordant_coordinator::api::router;
use accordant_coordinator::delivery::{AddressError, Registry};
use accordant_coordinator::driver::{Coordinator, Settings, StartError};
use accordant_coordinator::journal::memory::MemoryStore;
use accordant_coordinator::journal::store::Store;
use accordant_protocol::id::{Cluster, Incarnation, NameError, ParticipantName};
use axum::Router;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::port::Place;

/// A coordinator inside this process. Dropping it is a crash: nothing is drained.
pub struct LocalCoordinator {
    coordinator: Arc<Coordinator>,
    server: LocalService,
}

/// Why a coordinator did not start inside this process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A participant's name is none.
    #[error("the participant's name {name:?}")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A participant's address is none.
    #[error("the address of participant {name}")]
    Address {
        /// Whose.
        name: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The coordinator refused.
    #[error("the coordinator did not start")]
    Start(#[from] StartError),
    /// No port could be bound.
    #[error("no port could be bound")]
    Port(#[from] std::io::Error),
}

type Change = Box<dyn FnOnce(&mut Settings) + Send>;

/// Says what to start.
#[derive(Default)]
pub struct LocalCoordinatorBuilder {
    participants: Vec<(String, String)>,
    store: Option<Arc<dyn Store>>,
    change: Option<Change>,
    place: Option<Place>,
}

impl LocalCoordinatorBuilder {
    /// Registers a participant.
    #[must_use]
    pub fn participant(mut self, name: &str, url: &str) -> Self {
        self.participants.push((name.to_owned(), url.to_owned()));
        self
    }

    /// Uses this store; one in memory otherwise. Give the same one to the next coordinator, and it
    /// recovers what this one leaves.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings) + Send + 'static) -> Self {
        self.change = Some(Box::new(change));
        self
    }

    /// Serves there; anywhere on loopback otherwise.
    #[must_use]
    pub const fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Starts it, and waits until it owns every partition.
    ///
    /// # Errors
    /// [`LocalError`]; nothing runs then.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<LocalCoordinator, LocalError> {
        let mut registry = Registry::default();
        for (name, url) in &self.participants {
            let checked = ParticipantName::new(name)
                .map_err(|source| LocalError::Name { name: name.clone(), source })?;
            registry
                .register(checked, url)
                .map_err(|source| LocalError::Address { name: name.clone(), source })?;
        }
        let mut settings = Settings::new(registry, format!("local-{}", std::process::id()));
        if let Some(change) = self.change {
            change(&mut settings);
        }
        let store = self.store.unwrap_or_else(memory);
        let coordinator = Arc::new(Coordinator::start(store, settings)?);
        coordinator.owned_all().await;
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let router = router(Arc::clone(&coordinator), metrics);
        let server = match self.place {
            Some(place) => LocalService::start(place, router).await?,
            None => LocalService::anywhere(router).await?,
        };
        Ok(LocalCoordinator { coordinator, server })
    }
}

/// A journal in memory, for coordinators that follow one another in one test.
#[must_use]
pub fn memory() -> Arc<dyn Store> {
    let name = Cluster::new("test").unwrap_or_else(|_| unreachable!("it is of its form"));
    Arc::new(MemoryStore::new(name, Incarnation(1), 8))
}

impl LocalCoordinator {
    /// Says what to start.
    #[must_use]
    pub fn builder() -> LocalCoordinatorBuilder {
        LocalCoordinatorBuilder::default()
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The coordinator itself.
    #[must_use]
    pub const fn coordinator(&self) -> &Arc<Coordinator> {
        &self.coordinator
    }
}

/// A router served inside this process. Dropping it closes the port and cuts every connection.
#[derive(Debug)]
pub struct LocalService {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl LocalService {
    /// Serves a router at a place that was reserved.
    ///
    /// # Errors
    /// If the port cannot be bound.
    pub async fn start(place: Place, router: Router) -> std::io::Result<Self> {
        Self::listen(TcpListener::bind(place.address()).await?, router)
    }

    /// Serves a router on any loopback port.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn anywhere(router: Router) -> std::io::Result<Self> {
        Self::listen(TcpListener::bind("127.0.0.1:0").await?, router)
    }

    fn listen(listener: TcpListener, router: Router) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        // A participant's router lets loopback in, and must be told who calls.
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "a service inside the test has ended");
            }
        });
        Ok(Self { address, server })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for LocalService {
    fn drop(&mut self) {
        self.server.abort();
    }
}
