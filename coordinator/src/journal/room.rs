//! How much of the journal's queue is taken: what bounds it without ever making anybody wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accordant_protocol::record::Record;

use super::limits::{ADMIT_PERCENT, QUEUE_BYTES_MAX, QUEUE_ENTRIES_MAX};

/// How much is on its way: accepted, and not yet taken back by its shard.
#[derive(Default)]
pub(super) struct Room {
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

impl Room {
    pub(super) fn admits(&self) -> bool {
        self.entries.load(Ordering::Relaxed) < QUEUE_ENTRIES_MAX / 100 * ADMIT_PERCENT
            && self.bytes.load(Ordering::Relaxed) < QUEUE_BYTES_MAX / 100 * ADMIT_PERCENT
    }
}

/// A part of the room; given back when it is dropped.
pub(super) struct Taken {
    pub(super) room: Arc<Room>,
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Taken {
    pub(super) fn new(room: &Arc<Room>, entries: usize, bytes: usize) -> Option<Self> {
        let before = room.entries.fetch_add(entries, Ordering::Relaxed);
        let bytes_before = room.bytes.fetch_add(bytes, Ordering::Relaxed);
        let taken = Self { room: Arc::clone(room), entries, bytes };
        // Dropped if it does not fit, and so given back.
        (before + entries <= QUEUE_ENTRIES_MAX && bytes_before + bytes <= QUEUE_BYTES_MAX)
            .then_some(taken)
    }

    /// Leaves the room taken, for another [`Taken`] to give back.
    pub(super) fn keep(mut self) {
        self.entries = 0;
        self.bytes = 0;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.entries.fetch_sub(self.entries, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// About how many bytes a record takes, without encoding it.
pub(super) fn weight(record: &Record) -> usize {
    /// Names, numbers and punctuation of a record or of a branch in it.
    const FRAME: usize = 256;
    FRAME
        + match record {
            Record::Begun(begun) => begun
                .plan
                .branches()
                .map(|branch| FRAME + branch.payload.text().len())
                .sum(),
            Record::Committed(committed) => committed
                .votes
                .iter()
                .map(|vote| FRAME + vote.result.as_ref().map_or(0, |result| result.text().len()))
                .sum(),
            Record::Closed(closed) => closed
                .results
                .iter()
                .map(|(_, result)| FRAME + result.text().len())
                .sum(),
            Record::Aborted(_) => FRAME,
            _ => FRAME,
        }
}
