//! A model of the journal: what a store must do, and every way in which a write can go.

use std::collections::BTreeMap;
use std::fmt;

use accordant_protocol::effect::{Entry, Token};
use accordant_protocol::id::{Epoch, Gtid, Position};
use accordant_protocol::record::{Fate, Record};
use accordant_protocol::recovery::History;

use super::config::Config;
use super::rule::Rule;
use super::state::transaction_name;
use crate::fingerprint::Hashed;

/// The journal of one partition.
///
/// A write is in flight from the moment it is asked for. The writes of one process are flushed in
/// their order; a write whose process has died, or has given it up, lands at any later time or
/// never. That covers a crash before and after each write, a lost write, and a lost reply: a flush
/// that happened and was not confirmed is one that was given up and then landed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Journal {
    /// The present epoch of the partition.
    pub epoch: Epoch,
    /// What is durable.
    pub histories: BTreeMap<Gtid, Vec<Row>>,
    /// What is on its way, in the order in which it was asked for.
    pub pending: Vec<Pending>,
}

/// A durable record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The record, with the epoch under which it was asked for.
    pub entry: Hashed<Entry>,
    /// The present epoch at the time of the write.
    pub present: Epoch,
}

/// A record on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The process that waits for it, if one still does.
    pub writer: Option<(usize, Token)>,
    /// The record.
    pub entry: Hashed<Entry>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Durable,
    /// The key belongs to another transaction.
    KeyTaken(Gtid),
    /// The partition has a newer owner.
    Fenced,
    /// It contradicts what is stored.
    Refused,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable => f.write_str("durable"),
            Self::KeyTaken(by) => write!(f, "the key belongs to {}", transaction_name(*by)),
            Self::Fenced => f.write_str("fenced by a higher epoch"),
            Self::Refused => f.write_str("refused, it contradicts what is there"),
        }
    }
}

impl Journal {
    pub(super) const fn new() -> Self {
        Self {
            epoch: Epoch(0),
            histories: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// The records of a transaction.
    #[must_use]
    pub fn rows(&self, gtid: Gtid) -> &[Row] {
        self.histories.get(&gtid).map_or(&[], Vec::as_slice)
    }

    /// What is recorded of a transaction.
    pub fn records(&self, gtid: Gtid) -> impl Iterator<Item = &Record> {
        self.rows(gtid).iter().map(|row| &row.entry.record)
    }

    /// The decision about a transaction: the first, should there be two.
    #[must_use]
    pub fn fate(&self, gtid: Gtid) -> Option<Fate> {
        self.rows(gtid)
            .iter()
            .find_map(|row| row.entry.record.fate())
    }

    /// Whether a transaction is closed.
    #[must_use]
    pub fn is_closed(&self, gtid: Gtid) -> bool {
        let closes = |row: &Row| match &row.entry.record {
            Record::Closed(_) => true,
            record @ (Record::Begun(_) | Record::Committed(_) | Record::Aborted(_) | _) => {
                record.is_presumed()
            }
        };
        self.rows(gtid).iter().any(closes)
    }

    /// The history of a transaction, as recovery reads it. None if there is none or it is not legal.
    #[must_use]
    pub fn history(&self, gtid: Gtid) -> Option<History> {
        History::fold(self.rows(gtid).iter().map(|row| row.entry.record.clone())).ok()
    }

    /// Writes a record, if the rules of a store admit it.
    pub(super) fn write(&mut self, config: &Config, entry: &Hashed<Entry>) -> Written {
        if entry.epoch != self.epoch && config.keeps(Rule::Fence) {
            return Written::Fenced;
        }
        let place = usize::try_from(entry.position.0).unwrap_or(usize::MAX);
        let rows = self.rows(entry.gtid);
        if rows
            .get(place)
            .is_some_and(|row| row.entry.record == entry.record)
        {
            return Written::Durable;
        }
        if let Record::Begun(_) = &entry.record
            && rows.is_empty()
        {
            // One client with one key: whoever has begun has it.
            let begun = |rows: &Vec<Row>| matches!(rows.first(), Some(row) if matches!(row.entry.record, Record::Begun(_)));
            if let Some((by, _)) = self.histories.iter().find(|(_, rows)| begun(rows)) {
                return Written::KeyTaken(*by);
            }
        }
        let decides = entry.record.fate().is_some() && entry.position != Position(0);
        let legal = if decides && !config.keeps(Rule::OneFate) {
            !rows.is_empty()
        } else {
            let second = entry.record.fate().is_some() && self.fate(entry.gtid).is_some();
            rows.len() == place && !second
        };
        if !legal {
            return Written::Refused;
        }
        let row = Row { entry: entry.clone(), present: self.epoch };
        self.histories.entry(entry.gtid).or_default().push(row);
        Written::Durable
    }

    /// Raises the epoch. A write in flight of an earlier one can never land any more, so it is
    /// taken away at once, unless someone waits to hear that it was refused. Returns how many were.
    pub(super) fn raise(&mut self, config: &Config) -> usize {
        self.epoch = Epoch(self.epoch.0 + 1);
        let before = self.pending.len();
        if config.keeps(Rule::Fence) {
            self.pending.retain(|it| it.writer.is_some());
        }
        before - self.pending.len()
    }

    /// The first write that a process waits for.
    pub(super) fn head(&self, writer: usize) -> Option<usize> {
        self.pending
            .iter()
            .position(|it| it.writer.is_some_and(|(who, _)| who == writer))
    }

    /// A process has died, or gives up what it waits for.
    pub(super) fn orphan(&mut self, writer: usize) {
        for pending in &mut self.pending {
            if pending.writer.is_some_and(|(who, _)| who == writer) {
                pending.writer = None;
            }
        }
    }
}
