//! Whether the journal takes writes.

use std::sync::Arc;

use tokio::sync::watch;

use super::error::Cause;

/// Whether the journal takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// It does not at present, and tries again by itself.
    NotReady {
        /// Why, for the operator.
        reason: Arc<str>,
    },
    /// It never will again: the process must end.
    Fatal {
        /// Why, for the operator.
        reason: Arc<str>,
    },
}

/// The one place where health changes. Nothing follows a failure for good.
pub(super) struct HealthSender(watch::Sender<Health>);

impl HealthSender {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Health::Ready))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.0.borrow() == Health::Ready
    }

    pub(super) fn set_fatal(&self, source: &Cause) {
        let reason: Arc<str> = Arc::from(chain(source));
        tracing::error!(%reason, "the journal failed for good");
        self.0.send_replace(Health::Fatal { reason });
    }

    pub(super) fn set_ready(&self) {
        let changed = self.0.send_if_modified(|health| match health {
            Health::NotReady { .. } => {
                *health = Health::Ready;
                true
            }
            Health::Ready | Health::Fatal { .. } => false,
        });
        if changed {
            tracing::info!("the journal takes writes again");
        }
    }

    pub(super) fn set_not_ready(&self, source: &Cause) {
        let reason: Arc<str> = Arc::from(chain(source));
        let changed = self.0.send_if_modified(|health| match health {
            Health::Fatal { .. } => false,
            Health::NotReady { reason: known } if *known == reason => false,
            Health::Ready | Health::NotReady { .. } => {
                *health = Health::NotReady { reason: Arc::clone(&reason) };
                true
            }
        });
        if changed {
            tracing::warn!(%reason, "the journal takes no writes at present");
        }
    }
}

/// An error with all that lies behind it.
pub(super) fn chain(source: &Cause) -> String {
    let mut text = source.to_string();
    let mut next = source.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
