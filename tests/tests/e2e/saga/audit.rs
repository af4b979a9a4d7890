//! What must be so of every trip at rest, whatever was killed before.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::bank::Entry;
use crate::http;

use super::stage::Stage;
use super::trip::{CENTS, Trip, Where};

/// Entries by trip, of bank-a and of bank-b.
type Books = [BTreeMap<String, Vec<Entry>>; 2];

/// How the trips ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) happened: usize,
    pub(crate) made_good: usize,
    pub(crate) never_begun: usize,
}

impl Stage {
    /// Waits until everything has ended, then compares every trip with what it left behind.
    pub(crate) async fn audit(&self) -> anyhow::Result<Tally> {
        self.world.settle().await?;
        let books = self.books().await?;
        let trips = self.traveller.trips.lock();
        let trips = trips.unwrap_or_else(PoisonError::into_inner).clone();
        let mut tally = Tally::default();
        for trip in trips {
            let checked = self.check(&trip, &books, &mut tally).await;
            checked.with_context(|| {
                let calls = self.desk.calls(&trip.key);
                let log = self.world.logs();
                format!(
                    "{} {:?}: at the desk {calls:#?}\n{log}",
                    trip.key, trip.form
                )
            })?;
        }
        Ok(tally)
    }

    async fn books(&self) -> anyhow::Result<Books> {
        let mut books = Books::default();
        let mut sum = 0;
        for (book, bank) in books.iter_mut().zip(&self.world.banks) {
            let (ledger, balances) = bank.books().await?;
            sum += balances.iter().map(|(_, balance)| balance).sum::<i64>();
            for (key, entry) in ledger {
                book.entry(key).or_default().push(entry);
            }
        }
        // What was debited without a credit is in the books as such.
        let lone = books.iter().flat_map(|book| book.values().flatten());
        let moved: i64 = lone
            .filter(|entry| entry.account == 1)
            .map(|entry| entry.cents)
            .sum();
        ensure!(
            sum == 2 * crate::bank::ACCOUNTS * crate::bank::INITIAL + moved,
            "the balances do not match the ledgers"
        );
        Ok(books)
    }

    async fn check(&self, trip: &Trip, books: &Books, tally: &mut Tally) -> anyhow::Result<()> {
        let url = format!("{}/v1/transactions/by-key/{}", self.world.url(), trip.key);
        let reply = http::get(&url).await?;
        self.check_order(trip)?;
        if reply.status == 404 {
            tally.never_begun += 1;
            ensure!(
                self.desk.calls(&trip.key).is_empty(),
                "called, and not recorded"
            );
            let entered = books.iter().any(|book| book.contains_key(&trip.key));
            ensure!(!entered, "entered, and not recorded");
            return Ok(());
        }
        let status = reply.json()?;
        ensure!(status["state"] == "closed", "{status}");
        let happened = match status["outcome"].as_str() {
            Some("committed") => true,
            Some("aborted") => false,
            _ => anyhow::bail!("{status}"),
        };
        if happened {
            tally.happened += 1;
        } else {
            tally.made_good += 1;
        }
        ensure!(
            trip.form.may_happen() || !happened,
            "it happened although it must not: {status}"
        );
        for place in trip.places() {
            self.check_place(trip, place, happened, books)
                .with_context(|| format!("{place:?}, {status}"))?;
        }
        self.check_results(trip)
    }

    /// Nothing acts once something was made good, and nothing is made good once the pivot acted.
    fn check_order(&self, trip: &Trip) -> anyhow::Result<()> {
        let pivots: Vec<_> = trip
            .places()
            .into_iter()
            .filter_map(|place| match place {
                Where::Pivot(step) => Some(step),
                Where::Desk(_)
                | Where::Later(_)
                | Where::Bank(_)
                | Where::BankLater(_)
                | Where::Reserved(_)
                | Where::Paid
                | Where::Debited => None,
            })
            .collect();
        let (mut turned, mut passed) = (false, false);
        for call in self.desk.calls(&trip.key) {
            let acts = call.verb == "act";
            ensure!(!(acts && turned), "{} acts after a compensation", call.step);
            ensure!(acts || !passed, "made good after the pivot");
            turned |= !acts;
            passed |= call.executed && pivots.contains(&call.step.as_str());
        }
        Ok(())
    }

    fn check_place(
        &self,
        trip: &Trip,
        place: Where,
        happened: bool,
        books: &Books,
    ) -> anyhow::Result<()> {
        let key = &trip.key;
        let entries = |bank: usize, account: i64| {
            let found = books[bank].get(key).into_iter().flatten();
            let found = found.filter(|entry| entry.account == account);
            let mut cents: Vec<i64> = found.map(|entry| entry.cents).collect();
            cents.sort_unstable();
            cents
        };
        match place {
            Where::Desk(step) => {
                let acted = self.desk.executed(key, step, "act");
                let mended = self.desk.executed(key, step, "compensate");
                let expected = if happened { (1, 0) } else { (acted, acted) };
                ensure!(
                    (acted, mended) == expected,
                    "{acted} done, {mended} made good"
                );
                ensure!(acted <= 1, "done twice");
            }
            Where::Pivot(step) | Where::Later(step) => {
                let acted = self.desk.executed(key, step, "act");
                ensure!(acted == usize::from(happened), "{acted} done");
            }
            Where::Bank(number) => {
                let found = entries(0, number);
                let fits =
                    found == [1] && happened || !happened && (found.is_empty() || found == [-1, 1]);
                ensure!(fits, "entries of {number}: {found:?}");
            }
            Where::BankLater(number) => {
                let found = entries(0, number);
                ensure!(found.len() == usize::from(happened), "{number}: {found:?}");
            }
            Where::Reserved(number) => {
                let found = entries(1, number);
                let fits = found == [0, 1] && happened
                    || !happened && (found.is_empty() || found == [-1, 0]);
                ensure!(fits, "reservation {number}: {found:?}");
            }
            Where::Paid | Where::Debited => {
                let (debit, credit) = (entries(0, 1), entries(1, 1));
                let both = place == Where::Paid;
                let debited = if happened { vec![-CENTS] } else { Vec::new() };
                let credited = if happened && both {
                    vec![CENTS]
                } else {
                    Vec::new()
                };
                ensure!(debit == debited, "debit: {debit:?}");
                ensure!(credit == credited, "credit: {credit:?}");
            }
        }
        Ok(())
    }

    /// A step was called with what the first execution of the other returned, each time.
    fn check_results(&self, trip: &Trip) -> anyhow::Result<()> {
        let calls = self.desk.calls(&trip.key);
        let referring = calls.iter().filter_map(|call| call.body.get("first"));
        let mut seen: Vec<&Value> = referring.collect();
        seen.dedup();
        ensure!(seen.len() <= 1, "called with different results: {seen:?}");
        let gtids: std::collections::BTreeSet<_> = calls.iter().map(|call| &call.gtid).collect();
        ensure!(gtids.len() <= 1, "two transactions for one key: {gtids:?}");
        Ok(())
    }
}
