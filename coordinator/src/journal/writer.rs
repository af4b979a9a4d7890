//! The one task that writes the journal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accordant_protocol::effect::{Appended, Entry, Token, Urgency};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::error::FlushError;
use super::group_commit::{Completion, Delivery, Queued, ShardIndex, Shared};
use super::health::chain;
use super::limits::{
    BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, LAZY_WAIT, RETRY_WAIT_MAX, RETRY_WAIT_MIN, STALL_WAIT,
};
use super::room::{Taken, weight};
use super::store::Flushed;

pub(super) struct WriterTask {
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<Queued>,
    shards: Vec<mpsc::Sender<Delivery>>,
    pending: VecDeque<Pending>,
}

impl Drop for WriterTask {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(&"the journal's writer panicked".into());
        }
    }
}

struct Pending {
    waiting: Waiting,
    entry: Entry,
    urgency: Urgency,
}

impl Pending {
    fn split(self) -> (Waiting, Entry) {
        (self.waiting, self.entry)
    }
}

/// Who waits for an entry.
struct Waiting {
    shard: ShardIndex,
    token: Token,
    bytes: usize,
}

impl WriterTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        incoming: mpsc::Receiver<Queued>,
        shards: Vec<mpsc::Sender<Delivery>>,
    ) -> Self {
        Self { shared, incoming, shards, pending: VecDeque::new() }
    }

    /// Until there is nothing left to write, and never will be.
    pub(super) async fn run(mut self) {
        while self.collect().await {
            let batch = self.take_batch();
            self.write(batch).await;
            self.heal().await;
        }
        // Whoever appended at the moment of closing gets an answer too.
        self.incoming.close();
        while let Ok(queued) = self.incoming.try_recv() {
            self.push(queued);
        }
        while !self.pending.is_empty() {
            let batch = self.take_batch();
            self.write(batch).await;
        }
    }

    /// Waits until there is something to write; false when there never will be.
    async fn collect(&mut self) -> bool {
        if self.pending.is_empty() {
            tokio::select! {
                biased;
                queued = self.incoming.recv() => match queued {
                    Some(queued) => self.push(queued),
                    None => return false,
                },
                () = self.shared.closing.cancelled() => return false,
            }
        }
        self.push_waiting();
        let until = Instant::now() + LAZY_WAIT;
        while self.pending.len() < BATCH_ENTRIES_MAX && self.only_lazy() {
            tokio::select! {
                biased;
                queued = self.incoming.recv() => match queued {
                    Some(queued) => self.push(queued),
                    None => break,
                },
                () = self.shared.closing.cancelled() => break,
                () = tokio::time::sleep_until(until) => break,
            }
        }
        self.push_waiting();
        true
    }

    fn push_waiting(&mut self) {
        while let Ok(queued) = self.incoming.try_recv() {
            self.push(queued);
        }
    }

    fn push(&mut self, queued: Queued) {
        let shard = queued.shard;
        self.pending
            .extend(queued.appends.into_iter().map(|append| {
                let bytes = weight(&append.entry.record);
                let waiting = Waiting { shard, token: append.token, bytes };
                Pending { waiting, entry: append.entry, urgency: append.urgency }
            }));
    }

    fn only_lazy(&self) -> bool {
        self.pending
            .iter()
            .all(|pending| pending.urgency == Urgency::Lazy)
    }

    fn take_batch(&mut self) -> Vec<Pending> {
        let mut bytes = 0;
        let fits = self
            .pending
            .iter()
            .take(BATCH_ENTRIES_MAX)
            .take_while(|pending| {
                let first = bytes == 0;
                bytes += pending.waiting.bytes;
                first || bytes <= BATCH_BYTES_MAX
            });
        let count = fits.count();
        self.pending.drain(..count).collect()
    }

    async fn write(&self, batch: Vec<Pending>) {
        let (waiting, entries): (Vec<_>, Vec<_>) = batch.into_iter().map(Pending::split).unzip();
        let outcomes = self.flush(&entries).await;
        self.deliver(&waiting, outcomes.as_deref());
    }

    /// Flushes until the outcome is known or cannot be; none means unknown, for all of them.
    async fn flush(&self, entries: &[Entry]) -> Option<Vec<Appended>> {
        let counters = &self.shared.counters;
        let mut wait = RETRY_WAIT_MIN;
        loop {
            if self.shared.abandoned.is_cancelled() {
                return None;
            }
            let started = Instant::now();
            match self.flush_once(entries).await {
                Ok(flushed) if flushed.len() == entries.len() => {
                    metrics::histogram!("accordant_log_flush_seconds")
                        .record(started.elapsed().as_secs_f64());
                    metrics::histogram!("accordant_log_batch_size")
                        .record(f64::from(u32::try_from(entries.len()).unwrap_or(u32::MAX)));
                    counters.flushed(entries.len());
                    self.shared.health.set_ready();
                    return Some(self.examine(entries, &flushed));
                }
                Ok(_) => {
                    tracing::error!("a store of the journal answered for too few or too many");
                    return None;
                }
                Err(FlushError::Unavailable { source }) => {
                    counters.retries.fetch_add(1, Ordering::Relaxed);
                    self.shared.health.set_not_ready(&source);
                    self.pause(&mut wait).await;
                }
                Err(FlushError::Unknown { source }) => {
                    tracing::warn!(error = %chain(&source), entries = entries.len(),
                        "a flush of the journal has an unknown outcome");
                    self.shared.health.set_not_ready(&source);
                    return None;
                }
                Err(FlushError::Fatal { source }) => {
                    self.shared.fail(&source);
                    return None;
                }
            }
        }
    }

    /// Says so if the store takes long, and goes on waiting: only the store knows when to give up.
    async fn flush_once(&self, entries: &[Entry]) -> Result<Vec<Flushed>, FlushError> {
        let mut flush = self.shared.store.flush(entries);
        tokio::select! {
            biased;
            flushed = &mut flush => return flushed,
            () = tokio::time::sleep(STALL_WAIT) => {}
        }
        let text = format!("a flush has not ended within {} s", STALL_WAIT.as_secs());
        self.shared.health.set_not_ready(&text.into());
        flush.await
    }

    /// After an unknown outcome, writes nothing until the store takes writes again: a queue that
    /// waits is better than many more records of unknown outcome.
    async fn heal(&self) {
        let mut wait = RETRY_WAIT_MIN;
        while !self.shared.health.is_ready() && !self.shared.abandoned.is_cancelled() {
            match self.shared.store.probe().await {
                Ok(()) => self.shared.health.set_ready(),
                Err(FlushError::Fatal { source }) => self.shared.fail(&source),
                Err(FlushError::Unavailable { source } | FlushError::Unknown { source }) => {
                    self.shared.health.set_not_ready(&source);
                    self.pause(&mut wait).await;
                }
            }
        }
    }

    fn examine(&self, entries: &[Entry], flushed: &[Flushed]) -> Vec<Appended> {
        for (entry, flushed) in entries.iter().zip(flushed) {
            match flushed {
                Flushed::Durable | Flushed::KeyTaken { .. } => {}
                Flushed::Fenced => {
                    self.shared.counters.fenced.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("accordant_fenced_writes_total").increment(1);
                }
                Flushed::Refused(refusal) => {
                    self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("accordant_refused_writes_total").increment(1);
                    tracing::error!(gtid = %entry.gtid, position = %entry.position,
                        epoch = %entry.epoch, %refusal, "a record contradicts the journal");
                }
            }
        }
        flushed.iter().map(|&flushed| flushed.into()).collect()
    }

    async fn pause(&self, wait: &mut Duration) {
        tokio::select! {
            () = self.shared.abandoned.cancelled() => {}
            () = tokio::time::sleep(*wait) => {}
        }
        *wait = (*wait * 2).min(RETRY_WAIT_MAX);
    }

    fn deliver(&self, batch: &[Waiting], outcomes: Option<&[Appended]>) {
        if outcomes.is_none() {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            self.shared
                .counters
                .unknown
                .fetch_add(count, Ordering::Relaxed);
        }
        let mut deliveries: Vec<(Vec<Completion>, usize)> = Vec::new();
        deliveries.resize_with(self.shards.len(), Default::default);
        for (at, waiting) in batch.iter().enumerate() {
            let outcome = outcomes.and_then(|outcomes| outcomes.get(at)).copied();
            let outcome = outcome.unwrap_or(Appended::Unknown);
            if let Some((completions, bytes)) = deliveries.get_mut(waiting.shard.0) {
                completions.push(Completion { token: waiting.token, outcome });
                *bytes += waiting.bytes;
            }
        }
        for (shard, (completions, bytes)) in self.shards.iter().zip(deliveries) {
            if completions.is_empty() {
                continue;
            }
            let entries = completions.len();
            let room = Arc::clone(&self.shared.room);
            let delivery = Delivery { completions, _taken: Taken { room, entries, bytes } };
            // It has room for all that was accepted, so it can only fail because the shard is gone.
            if shard.try_send(delivery).is_err() {
                tracing::debug!("a shard has ended before its records were durable");
            }
        }
    }
}
