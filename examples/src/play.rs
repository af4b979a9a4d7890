//! Transactions from their submission to their end, and kills of the coordinator in between.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use accordant_client::{Client, Gtid, IdempotencyKey, Listing, Outcome, Status, Transaction, Wait};
use anyhow::Context as _;
use futures_util::future::{join_all, try_join};
use indicatif::{ProgressBar, ProgressStyle};

use crate::diary::{self, Entry};
use crate::stage::Stage;
use crate::timeline::Timeline;
use crate::verdict::Verdict;

/// How long a transaction may take from its submission to its end.
const END_MAX: Duration = Duration::from_secs(60);
/// How long the coordinator stays dead.
const DEAD: Duration = Duration::from_millis(300);
/// Up to so many transactions are shown one by one.
const SHOWN_MAX: usize = 8;
/// How often the coordinator is killed among many.
const KILLS: u64 = 3;
/// How many clients there are in a crowd.
const CLIENTS: usize = 8;

/// What `--crash` kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Victim {
    /// The coordinator.
    Coordinator,
}

/// One transaction to be played.
#[derive(Clone, Debug)]
pub struct Play {
    /// For the screen, and as its idempotency key.
    pub label: String,
    /// What is to happen.
    pub transaction: Transaction,
    /// When the coordinator is to be killed.
    pub kill: Option<Moment>,
}

/// What is wished for on the command line.
#[derive(Clone, Debug)]
pub struct Wish<F> {
    /// What the transactions are called.
    pub label: &'static str,
    /// How many; if not said, one, or one for each kill.
    pub count: Option<u16>,
    /// What is to fail.
    pub fail: F,
    /// Whether the coordinator is to be killed.
    pub crash: bool,
    /// When, in transactions of their own, and what is to fail in each.
    pub moments: Vec<(Moment, F)>,
}

impl<F: Copy> Wish<F> {
    /// The transactions, made of a label, a number from 1, and what is to fail.
    ///
    /// # Errors
    /// If one cannot be made.
    pub fn plays(
        &self,
        make: impl Fn(&str, usize, F) -> anyhow::Result<Transaction>,
    ) -> anyhow::Result<Vec<Play>> {
        let unasked = if self.crash { self.moments.len() } else { 1 };
        let count = self.count.map_or(unasked, usize::from);
        let play = |nr: usize| {
            let killed = self.crash && count <= SHOWN_MAX;
            let moment = self.moments.get(nr - 1).filter(|_| killed);
            let fail = moment.map_or(self.fail, |(_, fail)| *fail);
            let label = format!("{} {nr}", self.label);
            let transaction = make(&label, nr, fail)?;
            Ok(Play { label, transaction, kill: moment.map(|(moment, _)| *moment) })
        };
        (1..=count).map(play).collect()
    }
}

/// Whether so many transactions are shown one by one.
#[must_use]
pub const fn is_shown(count: usize) -> bool {
    count <= SHOWN_MAX
}

/// A moment in the course of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has been accepted.
    Accepted,
    /// This service is asked for this, and has not answered.
    Asked {
        /// The service.
        who: &'static str,
        /// The verb.
        verb: &'static str,
        /// The operation, where one service has several.
        operation: &'static str,
    },
    /// Any service is asked for this.
    AnyAsked {
        /// The verb.
        verb: &'static str,
    },
}

impl Moment {
    /// For the screen.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Accepted => "just accepted".to_owned(),
            Self::Asked { who, verb, operation } => format!("{who} at work: {operation} {verb}"),
            Self::AnyAsked { verb } => format!("somebody at work: {verb}"),
        }
    }

    fn is(self, entry: &Entry) -> bool {
        match self {
            Self::Accepted => true,
            Self::Asked { who, verb, operation } => {
                let of = entry.operation.is_empty() || entry.operation == operation;
                entry.who == who && entry.verb == verb && of
            }
            Self::AnyAsked { verb } => entry.verb == verb,
        }
    }
}

/// How a transaction has ended.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whose.
    pub label: String,
    /// Its id.
    pub id: Gtid,
    /// What the client was told first, once it was decided.
    pub decided: Outcome,
    /// What it was told in the end.
    pub outcome: Outcome,
    /// Why it did not happen.
    pub reason: Option<String>,
    /// Whether the coordinator was killed on the way.
    pub killed: bool,
    /// What was seen on the way.
    pub timeline: Timeline,
}

/// How all have ended, and the kills on the way.
#[derive(Clone, Debug)]
pub struct Played {
    /// Each of them.
    pub told: Vec<Told>,
    /// How many kills there were to be.
    wished: usize,
    /// After how many transactions each was.
    kills: Vec<u64>,
}

impl Played {
    /// How many have ended so.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> usize {
        let told = self.told.iter();
        told.filter(|told| told.outcome == outcome).count()
    }

    /// Adds what every demo counts: the kills, why what did not happen did not, and whether what
    /// was told has stayed true.
    pub fn count(&self, verdict: &mut Verdict) {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for Told { label, decided, outcome, reason, .. } in &self.told {
            if decided != outcome {
                verdict.untrue(format!(
                    "{label} was told {decided:?}, and later {outcome:?}"
                ));
            }
            if let Some(reason) = reason {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        for (reason, count) in reasons {
            verdict.row(&format!("  {reason}"), count);
        }
        if !self.kills.is_empty() {
            let kills: Vec<String> = self.kills.iter().map(u64::to_string).collect();
            verdict.row("coordinator killed after", kills.join(", "));
        }
        if self.kills.len() != self.wished {
            let (kills, wished) = (self.kills.len(), self.wished);
            verdict.untrue(format!(
                "the coordinator was killed {kills} times instead of {wished}"
            ));
        }
    }
}

/// Plays few transactions one after another, shows each, and kills the coordinator when each wishes
/// it; many at the same time, with some kills in between.
///
/// # Errors
/// If one is not accepted, or does not end in time.
pub async fn all(stage: &mut Stage, plays: Vec<Play>, crash: bool) -> anyhow::Result<Played> {
    if !is_shown(plays.len()) {
        let wished = if crash { KILLS } else { 0 };
        let (told, kills) = crowd(stage, plays, wished).await?;
        let wished = usize::try_from(wished)?;
        return Ok(Played { told, wished, kills });
    }
    let mut played = Played { told: Vec::new(), wished: 0, kills: Vec::new() };
    for play in plays {
        let told = follow(stage, &play).await?;
        println!("\n{}", told.timeline.text().trim_end());
        played.wished += usize::from(play.kill.is_some());
        if told.killed {
            played.kills.push(u64::try_from(played.told.len())?);
        }
        played.told.push(told);
    }
    println!();
    Ok(played)
}

/// Plays one transaction, with a kill if that is wished, and looks on closely.
async fn follow(stage: &mut Stage, play: &Play) -> anyhow::Result<Told> {
    let client = stage.client()?;
    let mut timeline = Timeline::begin();
    let id = submit(&client, play).await?;
    timeline.note(&play.label, "accepted", id.to_string());
    let diaries = stage.diaries();
    let watch = watch(&client, play, id, timeline);
    let (mut told, kill) = match play.kill {
        None => (watch.await?, None),
        Some(moment) => {
            let kill = kill_at(moment, stage, &diaries, id);
            let (told, kill) = try_join(watch, kill).await?;
            (told, kill)
        }
    };
    told.killed = kill.is_some();
    if let Some(kill) = kill {
        told.timeline.merge(kill);
    }
    told.timeline.add(&diary::read(&diaries)?, &id.to_string());
    Ok(told)
}

async fn submit(client: &Client, play: &Play) -> anyhow::Result<Gtid> {
    let key = IdempotencyKey::new(&play.label.replace(' ', "-"))?;
    let transaction = play.transaction.clone().wait(Wait::Accepted);
    let submitted = client.submit(&key, &transaction).await;
    Ok(submitted
        .with_context(|| format!("{} was not taken", play.label))?
        .id)
}

async fn watch(
    client: &Client,
    play: &Play,
    id: Gtid,
    mut timeline: Timeline,
) -> anyhow::Result<Told> {
    let label = &play.label;
    let late = || format!("{label} has not ended");
    let decided = client
        .wait(&id, Wait::Decided, END_MAX)
        .await
        .with_context(late)?;
    let why = match decided.refusal() {
        Some((step, refusal)) => Some(format!("{step} refused: {}", refusal.detail)),
        None => reason(&decided),
    };
    let word = match decided.outcome {
        Outcome::Committed => "it happens",
        Outcome::Aborted => "turned back",
        Outcome::Pending | Outcome::Heuristic | _ => "unclear",
    };
    timeline.note(label, word, why.unwrap_or_default());
    let ended = client
        .wait(&id, Wait::Completed, END_MAX)
        .await
        .with_context(late)?;
    timeline.note(
        label,
        "ended",
        format!("{:?}", ended.outcome).to_lowercase(),
    );
    Ok(Told {
        label: label.clone(),
        id,
        decided: decided.outcome,
        outcome: ended.outcome,
        reason: reason(&ended),
        killed: false,
        timeline,
    })
}

/// In short, for counting.
fn reason(status: &Status) -> Option<String> {
    if let Some((step, refusal)) = status.refusal() {
        return Some(format!("{step} refused: {}", refusal.code));
    }
    status.reason().map(|reason| format!("{reason:?}"))
}

/// Kills the coordinator at a moment, and starts it again. None if the moment has not come.
async fn kill_at(
    moment: Moment,
    stage: &mut Stage,
    diaries: &[PathBuf],
    id: Gtid,
) -> anyhow::Result<Option<Timeline>> {
    let id = id.to_string();
    let mut tries = 0;
    while moment != Moment::Accepted
        && !diary::read(diaries)?
            .iter()
            .any(|it| it.gtid == id && moment.is(it))
    {
        tries += 1;
        if tries > 4000 {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut seen = Timeline::begin();
    kill(stage, &mut seen, &moment.text()).await?;
    Ok(Some(seen))
}

async fn kill(stage: &mut Stage, seen: &mut Timeline, when: &str) -> anyhow::Result<()> {
    seen.note("coordinator", "KILLED", when);
    stage.coordinator.kill()?;
    tokio::time::sleep(DEAD).await;
    stage.coordinator.start_again().await?;
    seen.note("coordinator", "serves again", "");
    Ok(())
}

/// Plays many transactions at the same time, and kills the coordinator so many times in between.
/// Also returns after how many transactions that was.
async fn crowd(
    stage: &mut Stage,
    plays: Vec<Play>,
    kills: u64,
) -> anyhow::Result<(Vec<Told>, Vec<u64>)> {
    let client = stage.client()?;
    let bar = ProgressBar::new(u64::try_from(plays.len())?);
    let style = "{bar:40} {pos}/{len}  {per_sec}  {elapsed}";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let told = act_all(&client, plays, &bar);
    let all = try_join(told, kill_some(stage, &bar, kills)).await?;
    bar.finish();
    Ok(all)
}

async fn act_all(
    client: &Client,
    plays: Vec<Play>,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Told>> {
    let (plays, next) = (Arc::new(plays), Arc::new(AtomicUsize::new(0)));
    let clients = (0..CLIENTS).map(|_| {
        let (client, bar) = (client.clone(), bar.clone());
        let (plays, next) = (Arc::clone(&plays), Arc::clone(&next));
        tokio::spawn(async move {
            let mut told = Vec::new();
            while let Some(play) = plays.get(next.fetch_add(1, Ordering::Relaxed)) {
                let timeline = Timeline::begin();
                let id = submit(&client, play).await?;
                told.push(watch(&client, play, id, timeline).await?);
                bar.inc(1);
            }
            anyhow::Ok(told)
        })
    });
    let mut all = Vec::new();
    for told in join_all(clients).await {
        all.extend(told.context("a client ended badly")??);
    }
    Ok(all)
}

async fn kill_some(stage: &mut Stage, bar: &ProgressBar, kills: u64) -> anyhow::Result<Vec<u64>> {
    let all = bar.length().unwrap_or_default();
    let mut moments = Vec::new();
    for nr in 1..=kills {
        while bar.position() < all * nr / (kills + 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let after = bar.position();
        kill(stage, &mut Timeline::begin(), "").await?;
        bar.println(format!(
            "  coordinator killed after {after} of {all}, and started again"
        ));
        moments.push(after);
    }
    Ok(moments)
}

/// How many transactions the coordinator holds that have not ended.
///
/// # Errors
/// If it cannot be asked.
pub async fn open(stage: &Stage) -> anyhow::Result<usize> {
    let page = stage.client()?.list(&Listing::new().closed(false)).await?;
    Ok(page.transactions.len())
}
