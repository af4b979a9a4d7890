//! One tracing span for each transaction, under which its branches' spans stand.

use std::collections::BTreeMap;

use accordant_protocol::effect::{Call, Entry, Message};
use accordant_protocol::id::Gtid;
use accordant_protocol::node::Node;
use accordant_protocol::record::Record;
use tracing::{Span, debug_span};

/// The spans of the open transactions. Empty while nobody listens at the level `debug`.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<Gtid, Span>);

impl Spans {
    /// Opens a span with the first record of a transaction, and closes it with the last.
    pub(super) fn note(&mut self, entry: &Entry) {
        let gtid = entry.gtid;
        match &entry.record {
            Record::Begun(begun) => {
                let trace = begun.traceparent.as_ref().map(tracing::field::display);
                let span = debug_span!(
                    "global_transaction", %gtid, branches = begun.plan.branches().count(),
                    actions = begun.plan.actions().count(), traceparent = trace, outcome = tracing::field::Empty,
                );
                if entry.record.fate().is_some() {
                    outcome(&span, "committed");
                }
                if !span.is_disabled() {
                    self.0.insert(gtid, span);
                }
            }
            Record::Committed(_) => self.of(gtid).map_or((), |span| outcome(span, "committed")),
            Record::Aborted(_) => self.of(gtid).map_or((), |span| outcome(span, "aborted")),
            Record::Closed(_) => {
                self.0.remove(&gtid);
            }
            Record::Started(_)
            | Record::Done(_)
            | Record::Compensated(_)
            | Record::Stuck(_)
            | Record::Resolved(_)
            | _ => {}
        }
    }

    /// The span of the transaction that a call belongs to. One that was recovered has none: its
    /// trace began in another process.
    pub(super) fn of_call(&self, call: &Call) -> Span {
        let gtid = match &call.message {
            Message::Prepare(call) => call.gtid,
            Message::Finish(order) => order.gtid,
            Message::Act(call) => call.gtid,
            Message::Endpoint(call) => call.gtid,
        };
        self.of(gtid).cloned().unwrap_or_else(Span::none)
    }

    /// Closes the spans of transactions that are not here any more.
    pub(super) fn sweep(&mut self, node: &Node) {
        self.0.retain(|gtid, _| node.transaction(gtid).is_some());
    }

    fn of(&self, gtid: Gtid) -> Option<&Span> {
        self.0.get(&gtid)
    }
}

fn outcome(span: &Span, outcome: &str) {
    span.record("outcome", outcome);
}
