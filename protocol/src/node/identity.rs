//! From which database a participant answers.
//!
//! A database that was restored from an older copy, or a service that was pointed at another one,
//! may honestly say what is not so at the one that voted. Its answers are not believed (the group
//! sees to that), and its participant gets no new transaction from this node.

use std::sync::Arc;

use crate::effect::Answer;
use crate::id::{Attempt, BranchIndex, Gtid, ParticipantName};
use crate::wire::contract::{Identity, Kinship};

use super::machine::Node;

/// What the node knows of a participant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Participant {
    /// Branches that have not ended.
    pub(super) open: usize,
    /// The database from which it answered last.
    pub(super) identity: Option<Arc<Identity>>,
    /// It answered from another or an older database: no new transaction is taken for it.
    pub(super) halted: Option<Kinship>,
}

impl Node {
    /// Remembers from which database a participant answers. The answer is judged against what was
    /// known when its call went out, since an answer may be overtaken by a later one, and against
    /// the database that voted, which after a restart is all that is known.
    pub(super) fn note_identity(
        &mut self,
        gtid: Gtid,
        branch: BranchIndex,
        attempt: Attempt,
        answer: &Answer,
    ) {
        let identity = match answer {
            Answer::Vote { identity, .. }
            | Answer::End { identity, .. }
            | Answer::Acted { identity: Some(identity), .. } => identity,
            Answer::Acted { identity: None, .. }
            | Answer::Unanswered { .. }
            | Answer::Unsent { .. } => {
                return;
            }
        };
        let Some(transaction) = self.transactions.get(&gtid) else {
            return;
        };
        let Some(name) = transaction.begun.plan.participant(branch) else {
            return;
        };
        let (course, name) = (&transaction.course, name.clone());
        let Some(calls) = course.calls(branch).filter(|it| it.listens_to(attempt)) else {
            return;
        };
        let progress = course.branches().find(|it| it.index == branch);
        let vote = progress.and_then(|progress| progress.vote.as_ref());
        let voted = vote.map(|vote| &vote.identity);
        let mut known = calls.floor.as_deref().into_iter().chain(voted);
        let other = known.find_map(|known| match known.judge(identity) {
            Kinship::Same => None,
            kinship @ (Kinship::Older | Kinship::Foreign) => Some(kinship),
        });
        match other {
            Some(kinship) => self.participants.entry(name).or_default().halted = Some(kinship),
            None => self.identified(name, identity),
        }
    }

    /// Takes note of a database that was heard of, here or by another node. The news may be
    /// overtaken by what is known, so an older state says nothing; but a database that is another
    /// altogether speaks against the participant in any order.
    pub(super) fn identified(&mut self, name: ParticipantName, identity: &Identity) {
        let participant = self.participants.entry(name).or_default();
        let known = participant.identity.as_deref();
        match known.map_or(Kinship::Same, |known| known.judge(identity)) {
            Kinship::Same if known == Some(identity) => {}
            Kinship::Same => participant.identity = Some(Arc::new(identity.clone())),
            Kinship::Foreign => participant.halted = Some(Kinship::Foreign),
            Kinship::Older => {}
        }
    }

    /// Keeps with a branch what is known of its participant's database as a call goes out.
    pub(super) fn note_floor(&mut self, gtid: Gtid, index: BranchIndex) {
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        let Some(name) = transaction.begun.plan.participant(index) else {
            return;
        };
        let known = self.participants.get(name);
        let floor = known.and_then(|known| known.identity.clone());
        if let Some(calls) = transaction.course.calls_mut(index) {
            calls.floor = floor;
        }
    }
}
