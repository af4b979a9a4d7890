//! A client that moves money and remembers what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accordant_client::{Client, IdempotencyKey, StatusError, SubmitError, Transaction, Wait};
use anyhow::Context as _;

use crate::bank::ACCOUNTS;
use crate::oracle::{Oracle, Told};

/// Which branches a transfer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A debit at one bank, a credit at the other.
    Across,
    /// The same, and a branch that only reads.
    AcrossAndRead,
    /// One branch alone, which commits in one phase.
    Within,
    /// A debit at one bank, and a branch that refuses at the other after a while.
    Refused,
}

/// Money on its way. `from` and `to` are banks, by index; within a bank they are the same.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) key: String,
    pub(crate) form: Form,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) debtor: i64,
    pub(crate) creditor: i64,
    pub(crate) cents: i64,
    /// How long the second branch works.
    pub(crate) hold_ms: i64,
    pub(crate) timeout: Duration,
}

/// The names of the banks.
pub(crate) const BANKS: [&str; 2] = ["bank-a", "bank-b"];

impl Transfer {
    pub(crate) fn transaction(&self, wait: Wait) -> anyhow::Result<Transaction> {
        let order = |account: i64, hold_ms: i64, to: Option<i64>| {
            serde_json::json!({
                "transfer": self.key, "account": account, "cents": self.cents,
                "hold_ms": hold_ms, "to": to,
            })
        };
        let name = |bank: usize| BANKS.get(bank).copied().context("there are two banks");
        let (from, to) = (name(self.from)?, name(self.to)?);
        let plan = Transaction::new().timeout(self.timeout).wait(wait);
        let debit = order(self.debtor, 0, None);
        let credit = order(self.creditor, self.hold_ms, None);
        Ok(match self.form {
            Form::Across => plan
                .branch("debit", from, "debit", &debit)?
                .branch("credit", to, "credit", &credit)?,
            Form::AcrossAndRead => plan
                .branch("debit", from, "debit", &debit)?
                .branch("credit", to, "credit", &credit)?
                .branch("look", to, "read", &order(ACCOUNTS, 0, None))?,
            Form::Within => {
                let order = order(self.debtor, self.hold_ms, Some(self.creditor));
                plan.branch("move", from, "move", &order)?
            }
            Form::Refused => plan
                .branch("debit", from, "debit", &debit)?
                .branch("credit", to, "refuse", &credit)?,
        })
    }
}

/// Moves money, one transfer after another. Clones share the oracle and the numbers.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    client: Client,
    pub(crate) oracle: Oracle,
    number: Arc<AtomicU64>,
}

impl Teller {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        // No repeats: every single answer is to be seen.
        let client = Client::builder(url)
            .patience(Duration::ZERO)
            .request_timeout(Duration::from_secs(12))
            .build()?;
        Ok(Self { client, oracle: Oracle::default(), number: Arc::default() })
    }

    /// The same books, at another coordinator.
    pub(crate) fn at(&self, url: &str) -> anyhow::Result<Self> {
        let client = Self::new(url)?.client;
        Ok(Self { client, ..self.clone() })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// The next transfer: alternately from each bank, over all accounts.
    pub(crate) fn next(&self, form: Form) -> Transfer {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let from = usize::from(number % 2 == 1);
        let accounts = ACCOUNTS - 1;
        let debtor = 1 + number % accounts;
        Transfer {
            key: format!("transfer-{number}"),
            form,
            from,
            to: if form == Form::Within { from } else { 1 - from },
            debtor,
            creditor: 1 + (number + 7) % accounts,
            cents: 1 + number % 97,
            hold_ms: if form == Form::Refused { 200 } else { 0 },
            timeout: Duration::from_secs(10),
        }
    }

    /// Submits a transfer once, and notes the answer.
    pub(crate) async fn submit(&self, transfer: &Transfer, wait: Wait) -> anyhow::Result<Told> {
        self.oracle.asked(transfer);
        let key = IdempotencyKey::new(&transfer.key)?;
        let answer = self.client.submit(&key, &transfer.transaction(wait)?).await;
        let (told, id) = match answer {
            Ok(submitted) => (Told::from(submitted.outcome), Some(submitted.id)),
            Err(SubmitError::Unknown { .. }) => (Told::Unknown, None),
            Err(SubmitError::Busy { .. } | SubmitError::Unreachable { .. }) => {
                (Told::NotBegun, None)
            }
            Err(error) => return Err(error).context(transfer.key.clone()),
        };
        self.oracle.told(&transfer.key, told, id);
        Ok(told)
    }

    pub(crate) async fn transfer(&self, form: Form) -> anyhow::Result<Told> {
        self.submit(&self.next(form), Wait::Decided).await
    }

    /// Some transfers of all forms at once.
    pub(crate) async fn some(&self) -> anyhow::Result<()> {
        let forms = [
            Form::Across,
            Form::Across,
            Form::AcrossAndRead,
            Form::Within,
            Form::Refused,
            Form::Refused,
        ];
        let transfers = forms.map(|form| self.transfer(form));
        let mut refused = false;
        for told in futures_util::future::join_all(transfers).await {
            refused |= told? == Told::NotBegun;
        }
        if refused {
            // As a client would: not at once again.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Learns what became of every transfer that is unknown: by its key, or, where nothing is
    /// recorded of it, by submitting it again. Returns the keys of which nothing was recorded.
    pub(crate) async fn resolve(&self) -> anyhow::Result<Vec<String>> {
        let mut again = Vec::new();
        for (name, case) in self.oracle.all() {
            if !matches!(case.told, Told::Unknown | Told::NotBegun) {
                continue;
            }
            let key = IdempotencyKey::new(&name)?;
            match self.client.status_by_key(&key).await {
                Ok(status) => {
                    anyhow::ensure!(
                        case.told == Told::Unknown,
                        "{name}: the client was told that nothing was begun, and it is recorded"
                    );
                    let within = Duration::from_secs(10);
                    let status = self
                        .client
                        .wait(&status.id, Wait::Completed, within)
                        .await
                        .with_context(|| format!("{name} does not end"))?;
                    self.oracle
                        .told(&name, Told::from(status.outcome), Some(status.id));
                }
                Err(StatusError::NotFound) => again.push(name),
                Err(error) => return Err(error).context(name),
            }
        }
        Ok(again)
    }
}
