//! What must be so at rest, whatever was killed before.

use std::collections::{BTreeMap, BTreeSet};

use accordant_client::{IdempotencyKey, Listing, State, StatusError, Wait};
use anyhow::{Context as _, ensure};

use crate::bank::{ACCOUNTS, Entry, INITIAL};
use crate::oracle::{Case, Told};
use crate::teller::Form;
use crate::world::World;

/// What one bank's ledger holds, by transfer.
type Ledger = BTreeMap<String, Vec<Entry>>;

impl World {
    /// Settles every unknown answer, then compares the books with what was told.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub(crate) async fn audit(&self) -> anyhow::Result<()> {
        let audited = self.audit_all(&BTreeSet::new()).await;
        audited.with_context(|| self.logs())
    }

    /// As [`World::audit`], but for transfers that someone has ended by hand.
    pub(crate) async fn audit_but(&self, by_hand: &[&str]) -> anyhow::Result<()> {
        let by_hand = by_hand.iter().map(|&key| key.to_owned()).collect();
        let audited = self.audit_all(&by_hand).await;
        audited.with_context(|| self.logs())
    }

    async fn audit_all(&self, by_hand: &BTreeSet<String>) -> anyhow::Result<()> {
        let unrecorded = self.teller.resolve().await?;
        let ledgers = self.ledgers().await?;
        for key in &unrecorded {
            for ledger in &ledgers {
                ensure!(
                    !ledger.contains_key(key),
                    "{key} is in a ledger and not recorded"
                );
            }
        }
        // Whoever does not know asks for it again, under the same key.
        for key in &unrecorded {
            let case = self.teller.oracle.case(key)?;
            let told = self.teller.submit(&case.transfer, Wait::Completed).await?;
            let wanted = match case.transfer.form {
                Form::Refused => Told::Aborted,
                Form::Across | Form::AcrossAndRead | Form::Within => Told::Committed,
            };
            ensure!(
                told == wanted,
                "{key}, asked for again with everything up: {told:?}"
            );
        }
        self.settle().await?;
        self.teller.oracle.check()?;
        self.balances(by_hand).await?;
        let ledgers = self.ledgers().await?;
        let markers = self.markers().await?;
        let mut known = BTreeSet::new();
        for (key, case) in self.teller.oracle.all() {
            if by_hand.contains(&key) {
                known.insert(case.id.map(|id| id.to_string()).unwrap_or_default());
                continue;
            }
            entered(&key, &case, &ledgers)?;
            self.recorded(&key, &case).await?;
            let id = case.id.map(|id| id.to_string()).unwrap_or_default();
            marked(&key, &case, markers.get(&id))?;
            known.insert(id);
        }
        for ledger in &ledgers {
            for key in ledger.keys() {
                self.teller.oracle.case(key)?;
            }
        }
        for id in markers.keys() {
            ensure!(
                known.contains(id),
                "{id} has a marker or seal and nobody asked for it"
            );
        }
        self.listings(by_hand).await
    }

    async fn ledgers(&self) -> anyhow::Result<[Ledger; 2]> {
        let mut ledgers = [Ledger::new(), Ledger::new()];
        for (ledger, bank) in ledgers.iter_mut().zip(&self.banks) {
            for (key, entry) in bank.books().await?.0 {
                ledger.entry(key).or_default().push(entry);
            }
        }
        ledgers
            .iter_mut()
            .flat_map(Ledger::values_mut)
            .for_each(|it| it.sort());
        Ok(ledgers)
    }

    /// Money is neither made nor lost, and no account is overdrawn.
    async fn balances(&self, by_hand: &BTreeSet<String>) -> anyhow::Result<()> {
        let mut total = 0;
        for bank in &self.banks {
            let (ledger, balances) = bank.books().await?;
            for (account, balance) in balances {
                let entries = ledger.iter().filter(|(_, entry)| entry.account == account);
                let entered: i64 = entries.map(|(_, entry)| entry.cents).sum();
                let name = bank.name;
                ensure!(balance >= 0, "{name}: account {account} is overdrawn");
                ensure!(
                    balance == INITIAL + entered,
                    "{name}: account {account} holds {balance}, and its entries say otherwise"
                );
                total += balance;
            }
        }
        let expected = 2 * ACCOUNTS * INITIAL;
        ensure!(
            total == expected || !by_hand.is_empty(),
            "there is {total} in all, and should be {expected}"
        );
        Ok(())
    }

    /// All markers and seals of both banks, by transaction: which branch, and whether it committed.
    async fn markers(&self) -> anyhow::Result<BTreeMap<String, Vec<(i16, bool)>>> {
        let mut found: BTreeMap<String, Vec<(i16, bool)>> = BTreeMap::new();
        for bank in &self.banks {
            for row in bank.rows().await? {
                found
                    .entry(row.gtid)
                    .or_default()
                    .push((row.branch, row.committed));
            }
        }
        Ok(found)
    }

    /// The coordinator says the same by key and by id, and that it is over.
    async fn recorded(&self, key: &str, case: &Case) -> anyhow::Result<()> {
        let client = self.teller.client();
        let status = match client.status_by_key(&IdempotencyKey::new(key)?).await {
            Ok(status) => status,
            Err(StatusError::NotFound) if case.told == Told::NotBegun => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("{key}, by key")),
        };
        let id = case.id.with_context(|| format!("{key} has no id"))?;
        ensure!(
            status.id == id,
            "{key}: {} by key, and it was {id}",
            status.id
        );
        let by_id = client
            .status(&id)
            .await
            .with_context(|| format!("{key}, by id"))?;
        for status in [&status, &by_id] {
            ensure!(
                Told::from(status.outcome) == case.told && status.state == State::Closed,
                "{key}: {:?} and {:?}, and the client was told {:?}",
                status.outcome,
                status.state,
                case.told
            );
        }
        Ok(())
    }

    async fn listings(&self, by_hand: &BTreeSet<String>) -> anyhow::Result<()> {
        let client = self.teller.client();
        let open = client.list(&Listing::new().closed(false)).await?;
        ensure!(
            open.transactions.is_empty(),
            "listed as open: {:?}",
            open.transactions
        );
        let attention = client.list(&Listing::new().attention()).await?;
        for summary in attention.transactions {
            let key = summary.idempotency_key.as_ref().map(ToString::to_string);
            ensure!(
                key.is_some_and(|key| by_hand.contains(&key)),
                "listed for attention without a cause: {}",
                summary.id
            );
        }
        Ok(())
    }
}

/// Both ledgers hold it exactly once if it committed, and not at all if not.
fn entered(key: &str, case: &Case, ledgers: &[Ledger; 2]) -> anyhow::Result<()> {
    let transfer = &case.transfer;
    let mut wanted = [Vec::new(), Vec::new()];
    match case.told {
        Told::Committed => {
            let debit = Entry { account: transfer.debtor, cents: -transfer.cents };
            let credit = Entry { account: transfer.creditor, cents: transfer.cents };
            for (bank, entry) in [(transfer.from, debit), (transfer.to, credit)] {
                wanted
                    .get_mut(bank)
                    .context("there are two banks")?
                    .push(entry);
            }
        }
        Told::Aborted | Told::NotBegun => {}
        Told::Unknown | Told::Heuristic => {
            anyhow::bail!("{key} is {:?} at rest", case.told);
        }
    }
    wanted.iter_mut().for_each(|entries| entries.sort());
    for (bank, (ledger, wanted)) in ledgers.iter().zip(&wanted).enumerate() {
        let found = ledger.get(key).cloned().unwrap_or_default();
        ensure!(
            found == *wanted,
            "{key} was told {:?}; bank {bank} has {found:?} and should have {wanted:?}",
            case.told
        );
    }
    Ok(())
}

/// Markers for what committed, and none for what did not. Only a branch that reads has neither.
fn marked(key: &str, case: &Case, rows: Option<&Vec<(i16, bool)>>) -> anyhow::Result<()> {
    let rows = rows.map(Vec::as_slice).unwrap_or_default();
    let committed = case.told == Told::Committed;
    let looks = i16::from(case.transfer.form == Form::AcrossAndRead) * 2;
    for (branch, marker) in rows {
        ensure!(
            *marker == committed || (looks > 0 && *branch == looks && !marker),
            "{key} was told {:?}; branch {branch} is {}",
            case.told,
            if *marker { "committed" } else { "sealed" }
        );
    }
    let writers: i16 = if case.transfer.form == Form::Within {
        1
    } else {
        2
    };
    for branch in (0..writers).filter(|_| committed) {
        let count = rows.iter().filter(|(of, _)| *of == branch).count();
        ensure!(
            count == 1,
            "{key} committed; branch {branch} has {count} markers"
        );
    }
    Ok(())
}
