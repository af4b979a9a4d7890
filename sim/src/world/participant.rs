//! A model of one participant: its database as PostgreSQL would hold it, and the participant
//! library at work on it, statement by statement.
//!
//! What a call means is looked up in the real table, `protocol::branch::act`. Looking is one step
//! and acting another; in between, anyone else may act. A step is what the database does as one:
//!
//! | step | what the database does |
//! |---|---|
//! | begin | takes the advisory lock on the gid, or finds it taken, and looks |
//! | vote | inserts the marker and prepares (or commits): refused as a whole by a seal or marker |
//! | refuse | rolls the work back, then, as another step, inserts the seal |
//! | commit prepared | makes the marker visible, or finds no such prepared branch: look again |
//! | roll back prepared | as above, without a marker; then, as another step, the seal |
//! | seal | refused by a marker, blocked by an uncommitted one: look again |

use std::collections::{BTreeMap, BTreeSet};

use accordant_protocol::branch::{Act, Holding, act};
use accordant_protocol::effect::Answer;
use accordant_protocol::id::{Attempt, Gtid};
use accordant_protocol::wire::api::Verdict;
use accordant_protocol::wire::contract::{BranchEnd, Identity, Refusal, Vote};

use super::config::{Config, Voice, branch_name};
use super::log::{Log, Mark};
use super::network::{Order, Verb};
use super::rule::Rule;

/// One participant. It takes part with one branch, in each transaction that the client begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Participant {
    /// How often it has started.
    pub starts: u64,
    /// Its database, by transaction.
    pub branches: BTreeMap<Gtid, Branch>,
    /// Calls at work, in a fixed order.
    pub jobs: Vec<Job>,
    /// The transaction about which it has asked a coordinator, and not heard.
    pub asking: Option<(Gtid, usize)>,
    /// What it was told. Kept for the invariants.
    pub verdicts: BTreeSet<(Gtid, Verdict)>,
}

/// What the database holds of one branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Branch {
    /// It is in `pg_prepared_xacts`, its marker not yet visible.
    pub prepared: bool,
    /// The row that is visible.
    pub row: Option<Row>,
    /// How often the work took effect. Kept for the invariants.
    pub effects: u8,
    /// The latest attempt that found nothing to write, with its epoch. Kept for the invariants.
    pub read_only: Option<(accordant_protocol::id::Epoch, Attempt)>,
    /// It answered no or aborted. Kept for the invariants.
    pub denied: bool,
    /// A handler refused. Kept for the invariants.
    pub refused: bool,
    /// The sender's own local transaction has ended, if the branch is one.
    pub ended: bool,
}

/// A visible row of the participant's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// The branch has committed.
    Marker,
    /// The branch can never take effect.
    Seal,
}

/// A call at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    /// The call. The participant's own sweep works by orders of its own, which nobody waits for.
    pub order: Order,
    /// What comes next.
    pub stage: Stage,
}

/// The next statement of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The handler runs, under the lock; then the vote message.
    Working,
    /// The work of a handler that refused is rolled back: the seal.
    Refusing,
    /// `COMMIT PREPARED`.
    Committing,
    /// `ROLLBACK PREPARED`.
    RollingBack,
    /// The seal.
    Sealing,
}

impl Branch {
    fn holding(&self, active: bool) -> Holding {
        match (self.row, self.prepared, active) {
            (Some(Row::Marker), ..) => Holding::Committed,
            (Some(Row::Seal), ..) => Holding::Sealed,
            (None, true, _) => Holding::Prepared,
            (None, false, true) => Holding::Active,
            (None, false, false) => Holding::Nothing,
        }
    }
}

impl Participant {
    pub(super) const fn new() -> Self {
        Self {
            starts: 1,
            branches: BTreeMap::new(),
            jobs: Vec::new(),
            asking: None,
            verdicts: BTreeSet::new(),
        }
    }

    /// What the database holds for a transaction.
    #[must_use]
    pub fn branch(&self, gtid: Gtid) -> Branch {
        self.branches.get(&gtid).copied().unwrap_or_default()
    }

    /// Whether a branch is prepared.
    #[must_use]
    pub fn is_prepared(&self, gtid: Gtid) -> bool {
        self.branch(gtid).prepared
    }

    fn branch_mut(&mut self, gtid: Gtid) -> &mut Branch {
        self.branches.entry(gtid).or_default()
    }

    fn has_lock(&self, gtid: Gtid) -> bool {
        self.jobs
            .iter()
            .any(|job| job.order.gtid == gtid && job.stage == Stage::Working)
    }

    fn identity(&self, order: Order) -> Identity {
        let system = branch_name(order.branch).to_owned();
        Identity { system, timeline: 1, starts: self.starts }
    }

    fn vote(&self, order: Order, vote: Vote) -> Option<Answer> {
        Some(Answer::Vote { identity: self.identity(order), vote })
    }

    fn end(&mut self, order: Order, end: BranchEnd) -> Option<Answer> {
        self.branch_mut(order.gtid).denied |= end == BranchEnd::Aborted;
        Some(Answer::End { identity: self.identity(order), end })
    }

    fn no(&mut self, order: Order) -> Option<Answer> {
        self.branch_mut(order.gtid).denied = true;
        let refusal = Refusal::new("refused", "the handler refused");
        self.vote(order, Vote::No { refusal })
    }

    fn put(&mut self, job: Job) -> Option<Answer> {
        let place = self.jobs.partition_point(|it| *it <= job);
        self.jobs.insert(place, job);
        None
    }

    /// A call arrives, or looks again: what it means now. Gives the answer if nothing is to be done.
    pub(super) fn look(&mut self, config: &Config, order: Order, log: &mut Log) -> Option<Answer> {
        let gtid = order.gtid;
        let mut holding = self.branch(gtid).holding(self.has_lock(gtid));
        if holding == Holding::Committed && !config.keeps(Rule::MarkerRefuses) {
            holding = Holding::Nothing;
        }
        // An action is no branch: see `service.rs`.
        let act = act(order.verb.of_branch()?, holding);
        log.say(|| format!("{} holds {holding:?}: {act:?}", branch_name(order.branch)));
        match act {
            Act::Work => self.put(Job { order, stage: Stage::Working }),
            Act::CommitPrepared => self.put(Job { order, stage: Stage::Committing }),
            Act::RollBackPrepared => self.put(Job { order, stage: Stage::RollingBack }),
            Act::Seal => self.put(Job { order, stage: Stage::Sealing }),
            Act::VoteYes => self.vote(order, Vote::Yes { result: None }),
            Act::VoteCommitted => self.vote(order, Vote::Committed { result: None }),
            Act::VoteNo => self.no(order),
            Act::SayInProgress => {
                log.mark(Mark::InProgress);
                match order.verb {
                    Verb::Prepare | Verb::CommitOnePhase => self.vote(order, Vote::InProgress),
                    Verb::Commit | Verb::Abort | Verb::Act | Verb::Compensate => {
                        self.end(order, BranchEnd::InProgress)
                    }
                }
            }
            Act::SayCommitted => {
                if order.verb == Verb::Abort {
                    log.mark(Mark::RecallFoundMarker);
                }
                self.end(order, BranchEnd::Committed { result: None })
            }
            Act::SayAborted => self.end(order, BranchEnd::Aborted),
        }
    }

    /// The handler of a job ends, and its vote message or its rollback is executed.
    pub(super) fn vote_message(
        &mut self,
        config: &Config,
        place: usize,
        voice: Voice,
        log: &mut Log,
    ) -> Option<(Order, Option<Answer>)> {
        let job = self.take(place, Stage::Working)?;
        let order = job.order;
        let branch = self.branch_mut(order.gtid);
        let answer = match voice {
            Voice::ReadOnly => {
                branch.read_only = branch.read_only.max(Some((order.epoch, order.attempt)));
                log.mark(Mark::ReadOnlyVote);
                self.vote(order, Vote::ReadOnly { result: None })
            }
            Voice::No => {
                branch.refused = true;
                log.mark(Mark::HandlerRefused);
                if config.keeps(Rule::SealBeforeNo) {
                    self.put(Job { order, stage: Stage::Refusing })
                } else {
                    self.no(order)
                }
            }
            Voice::Yes | Voice::Later => {
                let refused = match branch.row {
                    Some(Row::Seal) => config.keeps(Rule::SealRefuses),
                    Some(Row::Marker) => config.keeps(Rule::MarkerRefuses),
                    None => false,
                };
                if refused {
                    log.mark(Mark::LatePrepareRefused);
                    log.say(|| "its row is there already, so the vote message is refused");
                    self.look(config, order, log)
                } else {
                    if branch.read_only.is_some() {
                        log.mark(Mark::ReadOnlyRevived);
                    }
                    self.take_effect(order)
                }
            }
        };
        Some((order, answer))
    }

    /// The vote message goes through.
    fn take_effect(&mut self, order: Order) -> Option<Answer> {
        let branch = self.branch_mut(order.gtid);
        if order.verb == Verb::CommitOnePhase {
            branch.row = Some(Row::Marker);
            branch.effects = branch.effects.saturating_add(1);
            self.vote(order, Vote::Committed { result: None })
        } else {
            branch.prepared = true;
            self.vote(order, Vote::Yes { result: None })
        }
    }

    /// The sender's own local transaction ends, with the marker in it.
    pub(super) fn end_local(&mut self, config: &Config, order: Order, voice: Voice, log: &mut Log) {
        let branch = self.branch_mut(order.gtid);
        branch.ended = true;
        if voice == Voice::No {
            branch.refused = true;
        } else if branch.row == Some(Row::Seal) && config.keeps(Rule::SealRefuses) {
            log.mark(Mark::LocalSealed);
            log.say(|| "the seal is there already, so it is rolled back");
        } else {
            log.mark(Mark::LocalCommitted);
            let _vote = self.take_effect(order);
        }
    }

    /// Carries a job's next statement out.
    pub(super) fn advance(
        &mut self,
        config: &Config,
        place: usize,
        log: &mut Log,
    ) -> Option<(Order, Option<Answer>)> {
        let stage = self.jobs.get(place)?.stage;
        let Job { order, .. } = self.take(place, stage)?;
        let branch = self.branch_mut(order.gtid);
        let answer = match stage {
            // See `vote_message`.
            Stage::Working => return None,
            Stage::Committing if branch.prepared => {
                branch.prepared = false;
                branch.row = Some(Row::Marker);
                branch.effects = branch.effects.saturating_add(1);
                self.end(order, BranchEnd::Committed { result: None })
            }
            Stage::Committing => {
                log.mark(Mark::FinishRaced);
                log.say(|| "it is not prepared any more: look again");
                self.look(config, order, log)
            }
            Stage::RollingBack => {
                if !branch.prepared {
                    log.mark(Mark::FinishRaced);
                }
                branch.prepared = false;
                if config.keeps(Rule::SealBeforeNo) {
                    self.put(Job { order, stage: Stage::Sealing })
                } else {
                    self.end(order, BranchEnd::Aborted)
                }
            }
            Stage::Sealing | Stage::Refusing => self.seal(config, order, stage, log),
        };
        Some((order, answer))
    }

    fn seal(
        &mut self,
        config: &Config,
        order: Order,
        stage: Stage,
        log: &mut Log,
    ) -> Option<Answer> {
        let branch = self.branch_mut(order.gtid);
        match (branch.row, branch.prepared) {
            (None, true) => {
                log.mark(Mark::SealMetMarker);
                log.say(|| "an uncommitted marker is in the way of the seal: look again");
                self.look(config, order, log)
            }
            (None, false) => {
                if config.keeps(Rule::SealBeforeNo) {
                    branch.row = Some(Row::Seal);
                }
                if stage == Stage::Refusing {
                    self.no(order)
                } else {
                    self.end(order, BranchEnd::Aborted)
                }
            }
            (Some(_), _) => self.look(config, order, log),
        }
    }

    /// It dies and starts again: what it was doing is gone, and what is durable stays.
    pub(super) fn restart(&mut self) {
        self.starts += 1;
        self.jobs.clear();
        self.asking = None;
    }

    fn take(&mut self, place: usize, stage: Stage) -> Option<Job> {
        let there = self.jobs.get(place).is_some_and(|job| job.stage == stage);
        there.then(|| self.jobs.remove(place))
    }
}
