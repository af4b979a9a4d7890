//! A coordinator's address, and how it is called.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::{IdempotencyKey, TenantName};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::error::AddressError;
use crate::id::{self, RandomError};
use crate::limits::{PATIENCE, REQUEST_WAIT};
use crate::transport::{Call, TENANT, Transport};

/// Starts transactions at a coordinator and follows them. Clones are cheap and share connections.
///
/// Nothing is sent before the first call, and a client may be made while the coordinator is down.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) patience: Duration,
    pub(crate) request_timeout: Duration,
    tenant: Option<HeaderValue>,
}

/// How a coordinator is called.
#[derive(Clone, Debug)]
#[must_use = "call `build`"]
pub struct ClientBuilder {
    address: String,
    patience: Duration,
    request_timeout: Duration,
    tenant: Option<TenantName>,
}

impl Client {
    /// A client of the coordinator at this address, such as `http://127.0.0.1:7650`.
    ///
    /// # Errors
    /// [`AddressError`] if the text is not such an address. Whether somebody answers there shows at
    /// the first call.
    pub fn new(address: &str) -> Result<Self, AddressError> {
        Self::builder(address).build()
    }

    /// As [`Client::new`], with settings.
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder {
            address: address.to_owned(),
            patience: PATIENCE,
            request_timeout: REQUEST_WAIT,
            tenant: None,
        }
    }

    /// An idempotency key of 128 random bits.
    ///
    /// Store it before you submit, if you want to ask for the transaction after a crash of your
    /// own; or use a name that your business already has, such as the number of an order.
    ///
    /// # Errors
    /// [`RandomError`] if the system gives no random bits.
    pub fn fresh_key(&self) -> Result<IdempotencyKey, RandomError> {
        id::fresh_key()
    }

    /// A `GET` of a path and query.
    pub(crate) fn get(&self, target: String, timeout: Duration) -> Call {
        let headers = self.tenant_header().collect();
        Call {
            method: Method::GET,
            target,
            headers,
            body: Bytes::new(),
            timeout,
        }
    }

    pub(crate) fn tenant_header(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.shared
            .tenant
            .clone()
            .map(|tenant| (TENANT, tenant))
            .into_iter()
    }
}

impl ClientBuilder {
    /// For how long [`Client::submit`] repeats a request that was not answered: no attempt begins
    /// later. 30 seconds unless given; zero means that it never repeats one.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long one request waits for its reply. 65 seconds unless given, which is longer than a
    /// coordinator lets a request wait.
    pub const fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// On whose behalf the transactions run: `default` unless given. Keys are unique per tenant.
    pub fn tenant(mut self, tenant: TenantName) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`AddressError`] if the address is none of a coordinator.
    pub fn build(self) -> Result<Client, AddressError> {
        // A tenant's name is made of letters, digits and a few signs: always a header value.
        let tenant = self
            .tenant
            .and_then(|name| HeaderValue::from_str(name.as_str()).ok());
        let shared = Shared {
            transport: Transport::new(&self.address)?,
            patience: self.patience,
            request_timeout: self.request_timeout,
            tenant,
        };
        Ok(Client { shared: Arc::new(shared) })
    }
}
