//! A thread that owns a connection, and carries out what it is sent.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

/// Something to be done on the thread.
type Call<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A thread with a value of its own. Dropping it ends the thread, after what was sent before, and
/// waits for that.
pub(super) struct Thread<T> {
    sender: Option<SyncSender<Call<T>>>,
    handle: Option<JoinHandle<()>>,
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing was done.
    #[error("too many calls wait for the journal's thread")]
    Busy,
    /// Nothing was done: the thread has ended.
    #[error("the journal's thread has ended")]
    Ended,
    /// The thread ended in the middle.
    #[error("the journal's thread ended during the call")]
    Lost,
}

impl<T: 'static> Thread<T> {
    /// Starts a thread; `make` runs on it, and so need not make something that can be sent. After
    /// `idle` without a call, `rest` is called once.
    pub(super) fn start<E: Send + 'static>(
        name: &str,
        calls_max: usize,
        idle: Duration,
        make: impl FnOnce() -> Result<T, E> + Send + 'static,
        rest: impl Fn(&mut T) + Send + 'static,
    ) -> Result<Self, StartError<E>> {
        let (sender, receiver) = sync_channel(calls_max);
        let (made, result) = sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let run = move || match make() {
            Ok(value) => {
                if made.send(Ok(())).is_ok() {
                    serve(value, &receiver, idle, &rest);
                }
            }
            // Whoever started us waits for it.
            Err(error) => drop(made.send(Err(error))),
        };
        let handle = thread.spawn(run).map_err(StartError::Spawn)?;
        let thread = Self { sender: Some(sender), handle: Some(handle) };
        match result.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(StartError::Make(error)),
            Err(_) => Err(StartError::Panicked),
        }
    }

    /// Runs `work` on the thread.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the work back.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, CallError> {
        let (reply, result) = oneshot::channel();
        let call: Call<T> = Box::new(move |value| {
            // Nobody may be waiting any more; the work is done all the same.
            drop(reply.send(work(value)));
        });
        let sender = self.sender.as_ref().ok_or(CallError::Ended)?;
        sender.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => CallError::Busy,
            TrySendError::Disconnected(_) => CallError::Ended,
        })?;
        result.await.map_err(|_| CallError::Lost)
    }
}

/// Why a thread was not started.
#[derive(Debug)]
pub(super) enum StartError<E> {
    /// The system gave none.
    Spawn(std::io::Error),
    /// Its value was not made.
    Make(E),
    /// It panicked while it made its value.
    Panicked,
}

fn serve<T>(mut value: T, calls: &Receiver<Call<T>>, idle: Duration, rest: &impl Fn(&mut T)) {
    loop {
        match calls.recv_timeout(idle) {
            Ok(call) => call(&mut value),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                rest(&mut value);
                match calls.recv() {
                    Ok(call) => call(&mut value),
                    Err(_) => return,
                }
            }
        }
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("a thread of the journal panicked");
        }
    }
}
