//! How much of the journal's queue is taken: what bounds it without ever making anybody wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accordant_protocol::json::Json;
use accordant_protocol::plan::{Compensation, Endpoint, Plan, Task};
use accordant_protocol::record::{Done, Record, Resolution};

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

/// Names, numbers and punctuation of a record, or of a branch or action in it.
const FRAME: usize = 256;

/// About how many bytes a record takes, without encoding it.
pub(super) fn weight(record: &Record) -> usize {
    FRAME
        + match record {
            Record::Begun(begun) => weight_of_plan(&begun.plan),
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
            Record::Done(Done { result, .. }) => weight_of_result(result.as_ref()),
            Record::Resolved(resolved) => {
                let result = match &resolved.resolution {
                    Resolution::Done { result } => weight_of_result(result.as_ref()),
                    Resolution::Retry
                    | Resolution::NotDone
                    | Resolution::Skip
                    | Resolution::Abandon => 0,
                };
                resolved.by.len() + resolved.reason.len() + result
            }
            Record::Stuck(stuck) => stuck.error.len(),
            Record::Aborted(_) | Record::Started(_) | Record::Compensated(_) => FRAME,
            _ => FRAME,
        }
}

fn weight_of_result(result: Option<&Json>) -> usize {
    result.map_or(0, |result| result.text().len())
}

fn weight_of_plan(plan: &Plan) -> usize {
    let branches = plan.branches();
    let branches = branches.map(|branch| FRAME + branch.payload.text().text().len());
    let endpoint = |endpoint: &Endpoint| {
        let headers = endpoint.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.len());
        let body = endpoint.body.as_ref();
        let body = body.map_or(0, |body| body.text().text().len());
        endpoint.path.text().len() + headers.sum::<usize>() + body
    };
    let actions = plan.actions().map(|action| {
        let act = match &action.act {
            Task::Operation { payload, .. } => payload.text().text().len(),
            Task::Endpoint(act) => endpoint(act),
        };
        let compensation = match &action.compensation {
            Compensation::Endpoint(compensate) => endpoint(compensate),
            Compensation::Operation | Compensation::Nothing => 0,
        };
        FRAME + act + compensation
    });
    branches.chain(actions).sum()
}
