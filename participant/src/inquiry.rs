//! Asks the coordinator what became of a transaction.

use accordant_protocol::id::{Gid, ParticipantName};
use accordant_protocol::wire::api::{OutcomeReply, Verdict};
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::limits::{CONNECT_MAX, INQUIRIES_PARALLEL, INQUIRY_BYTES_MAX, INQUIRY_MAX};

/// Why there is no verdict. Nothing follows from it: ask again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InquiryError {
    /// The coordinator was not reached, or did not answer in time.
    #[error("the coordinator did not answer in time")]
    Timeout,
    /// The coordinator was not reached.
    #[error("the coordinator was not reached")]
    Connect(#[source] hyper_util::client::legacy::Error),
    /// It did not answer with a verdict.
    #[error("the coordinator answered with status {0}")]
    Status(u16),
    /// Its answer is not of the form.
    #[error("the coordinator's answer is not of the form: {0}")]
    Form(String),
}

/// A client of the coordinator.
pub(crate) struct Inquirer {
    client: Client<HttpConnector, Empty<Bytes>>,
    /// Without a slash at its end.
    base: String,
    name: ParticipantName,
}

impl Inquirer {
    /// `None` if `base` is not the address of a coordinator.
    pub(crate) fn new(base: &str, name: ParticipantName) -> Option<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().ok()?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return None;
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(INQUIRIES_PARALLEL)
            .build(connector);
        Some(Self { client, base, name })
    }

    pub(crate) async fn ask(&self, gid: &Gid) -> Result<Verdict, InquiryError> {
        timeout(INQUIRY_MAX, self.ask_unbounded(gid))
            .await
            .unwrap_or(Err(InquiryError::Timeout))
    }

    async fn ask_unbounded(&self, gid: &Gid) -> Result<Verdict, InquiryError> {
        let Self { base, name, .. } = self;
        let (gtid, branch) = (gid.gtid, gid.branch);
        let uri =
            format!("{base}/v1/transactions/{gtid}/outcome?participant={name}&branch={branch}");
        let uri: Uri = uri
            .parse()
            .map_err(|_| InquiryError::Form("no address".to_owned()))?;
        let reply = self.client.get(uri).await.map_err(InquiryError::Connect)?;
        if reply.status() != http::StatusCode::OK {
            return Err(InquiryError::Status(reply.status().as_u16()));
        }
        let body = Limited::new(reply.into_body(), INQUIRY_BYTES_MAX)
            .collect()
            .await;
        let body = body
            .map_err(|error| InquiryError::Form(error.to_string()))?
            .to_bytes();
        let reply: OutcomeReply =
            serde_json::from_slice(&body).map_err(|error| InquiryError::Form(error.to_string()))?;
        if reply.id != gid.gtid {
            return Err(InquiryError::Form(format!("it is about {}", reply.id)));
        }
        Ok(reply.verdict)
    }
}
