//! The partition changes hands: acquired, loaded page by page, lost.

use accordant_protocol::node::{Event, Found};
use accordant_protocol::record::Fate;
use accordant_protocol::time::Timestamp;

use super::config::{Bounded, Config};
use super::coordinator::Hold;
use super::driver::{PARTITION, process_name};
use super::journal::Journal;
use super::log::{Log, Mark};
use super::misread;
use super::rule::Rule;
use super::state::{World, transaction_name};
use crate::fingerprint::Hashed;

impl World {
    /// A process raises the epoch, for the first time, after a restart, after a flush of unknown
    /// outcome, or to take over.
    pub(super) fn acquire(&mut self, config: &Config, place: usize, log: &mut Log) {
        let owned = self.is_take_over(place);
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        let reloads = coordinator.hold == Hold::Reloading;
        if !coordinator.is_up() {
            coordinator.node = Some(Hashed::new(config.node()));
        }
        if !config.keeps(Rule::RaiseBeforeLook) && !reloads && coordinator.stale.is_none() {
            log.say(|| {
                format!(
                    "{} reads the open transactions, and no epoch is raised yet",
                    process_name(place)
                )
            });
            coordinator.stale = Some(Hashed::new(open(config, &self.journal)));
            return;
        }
        if owned && !reloads {
            self.budget.spend(Bounded::TakeOver);
            let decisions = self.journal.pending.iter();
            let mut decisions =
                decisions.filter(|it| it.writer.is_some_and(|(who, _)| who != place));
            if decisions.any(|it| it.entry.record.fate().is_some()) {
                log.mark(Mark::TakeOverInDecision);
            }
        }
        if config.keeps(Rule::RaiseBeforeReload) || !reloads {
            for _ in 0..self.journal.raise(config) {
                log.mark(Mark::ZombieWriteFenced);
            }
        }
        let epoch = self.journal.epoch;
        log.say(|| {
            format!(
                "{} owns the partition under epoch {epoch}",
                process_name(place)
            )
        });
        coordinator.epoch = epoch;
        coordinator.hold = Hold::Loading(None);
        coordinator.page = None;
        let stale = coordinator.stale.take();
        let horizon = Timestamp::ZERO;
        let event = Event::Acquired { partition: PARTITION, epoch, horizon };
        self.feed(config, place, self.now(), event, log);
        if let Some(stale) = stale {
            self.give_loaded(config, place, (*stale).clone(), true, log);
        }
    }

    /// A process reads the next page of open transactions, or gives the one it has read to its
    /// node. In between anything may happen, also to the transactions on that page.
    pub(super) fn load(&mut self, config: &Config, place: usize, log: &mut Log) {
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        let Hold::Loading(after) = coordinator.hold else {
            return;
        };
        if let Some(page) = coordinator.page.take() {
            log.say(|| format!("{} gives the page to its core", process_name(place)));
            return self.give_loaded(config, place, page.0.clone(), page.1, log);
        }
        let open = open(config, &self.journal).into_iter();
        let page = open
            .filter(|it| after.is_none_or(|after| it.gtid > after))
            .take(config.page);
        let page: Vec<Found> = page.collect();
        let last = page.len() < config.page;
        log.say(|| {
            let names = page.iter().map(|it| transaction_name(it.gtid));
            let names = names.collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() {
                "nothing".to_owned()
            } else {
                names
            };
            format!(
                "{} reads a page of open transactions: {names}",
                process_name(place)
            )
        });
        coordinator.page = Some(Hashed::new((page, last)));
    }

    fn give_loaded(
        &mut self,
        config: &Config,
        place: usize,
        found: Vec<Found>,
        last: bool,
        log: &mut Log,
    ) {
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        let after = found.last().map(|it| it.gtid);
        coordinator.hold = if last {
            Hold::Owner
        } else {
            Hold::Loading(after)
        };
        for found in &found {
            let atomic = config.plan.is_atomic();
            let fate = found.history.fate();
            log.mark(match fate {
                Some(_) => Mark::ResumedDecision,
                None => Mark::ResumedUndecided,
            });
            match fate {
                _ if atomic => {}
                None => log.mark(Mark::ResumedForward),
                Some(Fate::Abort) => log.mark(Mark::ResumedBack),
                Some(Fate::Commit) => log.mark(Mark::ResumedPassed),
            }
        }
        let (partition, epoch) = (PARTITION, coordinator.epoch);
        let event = Event::Loaded { partition, epoch, found, last };
        self.feed(config, place, self.now(), event, log);
    }

    pub(super) fn lose(&mut self, config: &Config, place: usize, log: &mut Log) {
        if let Some(coordinator) = self.coordinators.get_mut(place) {
            coordinator.hold = Hold::None;
            coordinator.page = None;
        }
        self.feed(
            config,
            place,
            self.now(),
            Event::Lost { partition: PARTITION },
            log,
        );
    }

    /// The first coordinator takes the partition, and reads what is there: nothing.
    pub(super) fn own(&mut self, config: &Config, log: &mut Log) {
        if let Some(coordinator) = self.coordinators.first_mut() {
            coordinator.stale =
                (!config.keeps(Rule::RaiseBeforeLook)).then(|| Hashed::new(Vec::new()));
        }
        self.acquire(config, 0, log);
        if config.loaded {
            self.load(config, 0, log);
            self.load(config, 0, log);
        }
    }
}

/// Open transactions as they stand in the journal.
fn open(config: &Config, journal: &Journal) -> Vec<Found> {
    let histories = journal.histories.keys();
    let found = histories.filter_map(|gtid| {
        let history = journal.history(*gtid)?;
        let history = misread::read(config, history);
        (!history.is_closed()).then_some(Found { gtid: *gtid, history })
    });
    found.collect()
}
