//! From which database a participant answers.
//!
//! A database that was restored from an older copy, or a service that was pointed at another one,
//! may honestly say what is not so at the one that voted. Its answers are not believed (the group
//! sees to that), and its participant gets no new transaction from this node.

use std::sync::Arc;

use crate::group::Answer;
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
            Answer::Vote { identity, .. } | Answer::End { identity, .. } => identity,
            Answer::Unanswered { .. } => return,
        };
        let Some(transaction) = self.transactions.get(&gtid) else {
            return;
        };
        let Some(planned) = transaction.begun.plan.branch(branch) else {
            return;
        };
        let progress = transaction
            .group
            .branches()
            .iter()
            .find(|it| it.index == branch);
        let Some(progress) = progress.filter(|it| it.attempt == attempt && it.in_flight) else {
            return;
        };
        let voted = progress.vote.as_ref().map(|vote| &vote.identity);
        let mut known = progress.floor.as_deref().into_iter().chain(voted);
        let other = known.find_map(|known| match known.judge(identity) {
            Kinship::Same => None,
            kinship @ (Kinship::Older | Kinship::Foreign) => Some(kinship),
        });
        let name = planned.participant.clone();
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
        let Some(branch) = transaction.begun.plan.branch(index) else {
            return;
        };
        let known = self.participants.get(&branch.participant);
        let floor = known.and_then(|known| known.identity.clone());
        if let Some(progress) = transaction.group.branch_mut(index) {
            progress.floor = floor;
        }
    }
}
