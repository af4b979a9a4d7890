//! Where a test may kill the process around a record.

use accordant_protocol::record::Record;

use crate::crash;

/// A kind of record that has crash points.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    Begun,
    Decision,
    Started,
    Done,
    Compensated,
    Stuck,
    Resolved,
    Closed,
    /// A kind that a later version added.
    Other,
}

impl Point {
    pub(super) const fn of(record: &Record) -> Self {
        match record {
            Record::Begun(_) => Self::Begun,
            Record::Committed(_) | Record::Aborted(_) => Self::Decision,
            Record::Started(_) => Self::Started,
            Record::Done(_) => Self::Done,
            Record::Compensated(_) => Self::Compensated,
            Record::Stuck(_) => Self::Stuck,
            Record::Resolved(_) => Self::Resolved,
            Record::Closed(_) => Self::Closed,
            _ => Self::Other,
        }
    }

    /// The record is on its way, and may or may not get there.
    pub(super) fn appended(self) {
        match self {
            Self::Begun => crash::reach("coordinator.begun.appended"),
            Self::Decision => crash::reach("coordinator.decision.appended"),
            Self::Started => crash::reach("coordinator.started.appended"),
            Self::Done => crash::reach("coordinator.done.appended"),
            Self::Compensated => crash::reach("coordinator.compensated.appended"),
            Self::Stuck => crash::reach("coordinator.stuck.appended"),
            Self::Resolved => crash::reach("coordinator.resolved.appended"),
            Self::Closed | Self::Other => {}
        }
    }

    /// The record is durable, and nobody has heard of it.
    pub(super) fn durable(self) {
        match self {
            Self::Begun => crash::reach("coordinator.begun.durable"),
            Self::Decision => crash::reach("coordinator.decision.durable"),
            Self::Started => crash::reach("coordinator.started.durable"),
            Self::Done => crash::reach("coordinator.done.durable"),
            Self::Compensated => crash::reach("coordinator.compensated.durable"),
            Self::Stuck => crash::reach("coordinator.stuck.durable"),
            Self::Resolved => crash::reach("coordinator.resolved.durable"),
            Self::Closed => crash::reach("coordinator.closed.durable"),
            Self::Other => {}
        }
    }
}
