//! Notices a task that panics: what it owes would never come, and nothing else would say so.

use std::sync::Arc;

use tokio::sync::watch;

/// Goes off when a task panics that runs under it. Clones are one alarm.
#[derive(Clone, Debug)]
pub(crate) struct Alarm(Arc<watch::Sender<Option<&'static str>>>);

impl Default for Alarm {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Alarm {
    /// Does the work, and goes off if it panics.
    pub(crate) async fn over<F: Future>(self, name: &'static str, work: F) -> F::Output {
        let _guard = Guard { alarm: self, name };
        work.await
    }

    /// Which task has panicked, if any.
    pub(crate) fn gone_off(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    /// Returns when it goes off, with the task.
    pub(crate) async fn goes_off(&self) -> &'static str {
        let mut watch = self.0.subscribe();
        loop {
            if let Some(name) = *watch.borrow_and_update() {
                return name;
            }
            // The sender lives as long as we do.
            let _open = watch.changed().await;
        }
    }
}

struct Guard {
    alarm: Alarm,
    name: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked: this process must end");
            self.alarm.0.send_replace(Some(self.name));
        }
    }
}
