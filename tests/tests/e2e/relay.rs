//! A relay in front of a bank that repeats calls, or answers rubbish in the bank's place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accordant_testbed::LocalService;
use axum::Router;
use axum::http::{StatusCode, Uri};
use tokio::sync::watch;

use crate::http;

/// What the relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes every call.
    Pass,
    /// Passes every call twice at the same time.
    Twice,
    /// Answers by itself.
    Rubbish(u16, &'static str),
}

/// A relay in front of one bank.
pub(crate) struct Relay {
    service: LocalService,
    mode: watch::Sender<Mode>,
    doubled: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) async fn start(target: String) -> anyhow::Result<Self> {
        let mode = watch::Sender::new(Mode::Pass);
        let modes = mode.subscribe();
        let doubled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&doubled);
        let router = Router::new().fallback(move |uri: Uri, body: String| {
            let (mode, url) = (*modes.borrow(), format!("{target}{}", uri.path()));
            let counter = Arc::clone(&counter);
            async move { relay(mode, &url, body, &counter).await }
        });
        let service = LocalService::anywhere(router).await?;
        Ok(Self { service, mode, doubled })
    }

    pub(crate) fn url(&self) -> String {
        self.service.url()
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many calls were passed twice.
    pub(crate) fn doubled(&self) -> usize {
        self.doubled.load(Ordering::Relaxed)
    }
}

async fn relay(mode: Mode, url: &str, body: String, doubled: &AtomicUsize) -> (StatusCode, String) {
    let reply = match mode {
        Mode::Rubbish(status, text) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            return (status, text.to_owned());
        }
        Mode::Pass => http::post(url, body).await,
        Mode::Twice => {
            // The answers change places each time: the coordinator hears now one, now the other.
            let number = doubled.fetch_add(1, Ordering::Relaxed);
            let (one, other) = tokio::join!(http::post(url, body.clone()), http::post(url, body));
            if number.is_multiple_of(2) { one } else { other }
        }
    };
    match reply {
        Ok(reply) => {
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, reply.text)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")),
    }
}
