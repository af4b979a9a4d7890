//! What the writer has done, readable by code.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the writer has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Flushes that were confirmed; each is one forced write.
    pub flushes: u64,
    /// Entries in them.
    pub entries: u64,
    /// Entries that were fenced.
    pub fenced: u64,
    /// Entries that contradicted what is stored.
    pub refused: u64,
    /// Entries of unknown outcome, the refused ones not counted.
    pub unknown: u64,
    /// Flushes that were repeated because nothing was executed.
    pub retries: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    flushes: AtomicU64,
    entries: AtomicU64,
    pub(super) fenced: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) retries: AtomicU64,
}

impl Counters {
    pub(super) fn flushed(&self, entries: usize) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        Stats {
            flushes: self.flushes.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            fenced: self.fenced.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}
