//! Whether what leaves is true, and stays so.

use super::World;
use crate::effect::{Call, Message, Reply, RequestId};
use crate::id::{BranchIndex, Gtid};
use crate::record::{Fate, Record};
use crate::wire::api::{Outcome, TransactionStatus, Verdict};
use crate::wire::contract::FinishVerb;

impl World {
    pub(super) fn fate(&self, gtid: &Gtid) -> Option<Fate> {
        let records = self.journal.get(gtid)?;
        records.iter().find_map(Record::fate)
    }

    pub(super) fn check_call(&self, call: &Call) {
        match &call.message {
            Message::Act(_) | Message::Endpoint(_) => {}
            Message::Prepare(it) => assert!(self.journal.contains_key(&it.gtid), "not begun"),
            Message::Finish(it) => match it.verb {
                FinishVerb::Commit | FinishVerb::Confirm => {
                    assert_eq!(self.fate(&it.gtid), Some(Fate::Commit))
                }
                FinishVerb::Abort | FinishVerb::Cancel => {
                    assert_ne!(self.fate(&it.gtid), Some(Fate::Commit))
                }
            },
        }
    }

    pub(super) fn check_reply(
        &mut self,
        request: RequestId,
        about: Option<(Gtid, BranchIndex)>,
        reply: &Reply,
    ) {
        match reply {
            Reply::Status(status) => self.check_status(status),
            Reply::KeyReused { by } | Reply::KeyTaken { by } => {
                assert!(
                    self.journal.contains_key(by),
                    "{by} was named and is not durable"
                );
            }
            Reply::NotInMemory => {
                if let Some((gtid, _)) = about {
                    self.open.insert(request, about);
                    self.look_ups.push((request, gtid));
                }
            }
            Reply::Verdict(verdict) => self.check_verdict(about.unwrap(), *verdict),
            Reply::Refused(_) => {}
        }
    }

    fn check_status(&mut self, status: &TransactionStatus) {
        assert!(
            self.journal.contains_key(&status.id),
            "{} was named, not durable",
            status.id
        );
        let fate = match status.outcome {
            Outcome::Pending => return,
            Outcome::Committed => Fate::Commit,
            Outcome::Aborted => Fate::Abort,
            Outcome::Heuristic => self.fate(&status.id).unwrap(),
        };
        assert_eq!(
            self.fate(&status.id),
            Some(fate),
            "told before it was durable"
        );
        self.tell(status.id, fate);
    }

    fn check_verdict(&mut self, (gtid, branch): (Gtid, BranchIndex), verdict: Verdict) {
        match verdict {
            Verdict::Commit => {
                assert_eq!(self.fate(&gtid), Some(Fate::Commit));
                self.tell(gtid, Fate::Commit);
            }
            Verdict::Abort => {
                let votes = self.journal.get(&gtid).into_iter().flatten();
                let passed_by = votes.clone().any(|record| match record {
                    Record::Committed(it) => it
                        .votes
                        .iter()
                        .any(|vote| vote.branch == branch && vote.ended),
                    Record::Begun(_)
                    | Record::Aborted(_)
                    | Record::Closed(_)
                    | Record::Started(_)
                    | Record::Done(_)
                    | Record::Compensated(_)
                    | Record::Stuck(_)
                    | Record::Resolved(_) => false,
                });
                if !passed_by {
                    self.tell(gtid, Fate::Abort);
                }
            }
            Verdict::Pending | Verdict::Unknown => {}
        }
    }

    /// What was said once holds for ever.
    fn tell(&mut self, gtid: Gtid, fate: Fate) {
        assert_eq!(*self.told.entry(gtid).or_insert(fate), fate, "{gtid}");
    }
}
