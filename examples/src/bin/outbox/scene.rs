//! What happens between the club, the coordinator and the two who get letters.

use std::time::Duration;

use accordant_examples::stage::Stage;
use accordant_examples::timeline::Timeline;
use accordant_examples::verdict::Verdict;
use accordant_examples::{diary, http, mail, play};
use accordant_testbed::postgres::Postgres;
use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::club::{self, End, Form, Join};

/// Each service, the role in which it runs, and its tables. Each has a database of its own.
const CAST: [(&str, &str, &str); 3] = [
    ("club", "club", club::SCHEMA),
    ("member", "mail", mail::SCHEMA),
    ("treasurer", "mail", mail::SCHEMA),
];
/// How long what is away stays away.
const AWAY: Duration = Duration::from_millis(700);
/// How long each call waits at a service.
const WORK: Duration = Duration::from_millis(10);
/// How often it is looked whether all letters have come, and how often at most.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 600;

/// Who is away while somebody joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Nobody,
    Coordinator,
    Treasurer,
}

/// What is played, one after another: who joins, how, and who is away.
const ACTS: [(&str, Form, End, Away, &str); 9] = [
    (
        "ada",
        Form::Outbox,
        End::Commit,
        Away::Nobody,
        "nothing goes wrong",
    ),
    (
        "bob",
        Form::Outbox,
        End::Commit,
        Away::Coordinator,
        "the coordinator is away",
    ),
    (
        "cyd",
        Form::Outbox,
        End::Commit,
        Away::Treasurer,
        "a receiver is away",
    ),
    (
        "dan",
        Form::Outbox,
        End::RollBack,
        Away::Nobody,
        "the local transaction is rolled back",
    ),
    (
        "eve",
        Form::Outbox,
        End::DieBefore,
        Away::Nobody,
        "the club dies before its commit",
    ),
    (
        "fay",
        Form::Outbox,
        End::DieAfter,
        Away::Nobody,
        "the club dies after its commit",
    ),
    (
        "gil",
        Form::TwoPhase,
        End::Commit,
        Away::Nobody,
        HOW_IT_ASKS,
    ),
    (
        "hal",
        Form::TwoPhase,
        End::DieBefore,
        Away::Nobody,
        "the club dies before its commit",
    ),
    (
        "ivy",
        Form::TwoPhase,
        End::DieAfter,
        Away::Nobody,
        "the club dies after its commit",
    ),
];

/// With the wire's word for the coordinator's question.
const HOW_IT_ASKS: &str = "nothing goes wrong. By `abort` the coordinator asks the club: it has \
    committed, or is aborted now";

/// Everything that runs.
pub(crate) struct Scene {
    stage: Stage,
    server: Postgres,
}

impl Scene {
    pub(crate) async fn build() -> anyhow::Result<Self> {
        println!("starting a club, two mailboxes and a coordinator");
        let server = Postgres::builder().private().max_connections(200);
        let server = server.max_prepared_transactions(64);
        let server = CAST
            .iter()
            .fold(server, |server, (name, ..)| server.database(*name));
        let server = server.start().await.context("PostgreSQL did not start")?;
        println!("  {}", server.source());
        let mut stage = Stage::open(&CAST.map(|(name, ..)| name)).await?;
        for (name, role, schema) in CAST {
            let mut connection = PgConnection::connect(&server.url(name)).await?;
            connection.execute(sqlx::raw_sql(schema)).await?;
            connection.close().await?;
            stage.serve(role, name, &server.url(name), WORK).await?;
        }
        Ok(Self { stage, server })
    }

    /// Plays all acts, and counts.
    pub(crate) async fn play(&mut self) -> anyhow::Result<Verdict> {
        for (name, form, end, away, title) in ACTS {
            let form_text = if form == Form::Outbox {
                "outbox"
            } else {
                "two-phase"
            };
            println!("\n{name}: {form_text}, {title}");
            let join = Join { name: name.to_owned(), form, end };
            let mut timeline = Timeline::begin();
            self.act(&join, away, &mut timeline).await?;
            self.settle().await?;
            timeline.add_all(&diary::read(&self.stage.diaries())?);
            println!("{}", timeline.text().trim_end());
        }
        println!();
        self.count().await
    }

    async fn act(&mut self, join: &Join, away: Away, seen: &mut Timeline) -> anyhow::Result<()> {
        self.leave(away, seen)?;
        let told = http::post(self.stage.at("club")?, "/join", join).await;
        match &told {
            Ok((status, _)) => seen.note(&join.name, "told", status.to_string()),
            Err(error) => seen.note(&join.name, "told", format!("nothing: {error}")),
        }
        let dies = matches!(join.end, End::DieBefore | End::DieAfter);
        anyhow::ensure!(
            told.is_err() == dies,
            "the club was to die: {dies}; it said {told:?}"
        );
        if away != Away::Nobody || dies {
            tokio::time::sleep(AWAY).await;
        }
        self.come_back(away, dies, seen).await
    }

    fn leave(&mut self, away: Away, seen: &mut Timeline) -> anyhow::Result<()> {
        match away {
            Away::Nobody => {}
            Away::Coordinator => {
                self.stage.coordinator.kill()?;
                seen.note("coordinator", "KILLED", "");
            }
            Away::Treasurer => {
                let treasurer = self.stage.services.get_mut("treasurer");
                treasurer.context("there is no treasurer")?.kill()?;
                seen.note("treasurer", "KILLED", "");
            }
        }
        Ok(())
    }

    async fn come_back(
        &mut self,
        away: Away,
        dies: bool,
        seen: &mut Timeline,
    ) -> anyhow::Result<()> {
        if away == Away::Coordinator {
            self.stage.coordinator.start_again().await?;
            seen.note("coordinator", "serves again", "");
        }
        let dead = match away {
            Away::Treasurer => Some("treasurer"),
            Away::Nobody | Away::Coordinator => dies.then_some("club"),
        };
        if let Some(name) = dead {
            let process = self
                .stage
                .services
                .get_mut(name)
                .context("nobody has died")?;
            process.start_again().await?;
            seen.note(name, "serves again", "");
        }
        Ok(())
    }

    /// Waits until nothing is on its way any more.
    async fn settle(&self) -> anyhow::Result<()> {
        for _ in 0..LOOKS_MAX {
            let waiting = self
                .one("club", "select count(*) from accordant.outbox")
                .await?;
            if waiting == 0 && play::open(&self.stage).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        anyhow::bail!("there are still letters on their way")
    }

    /// Compares the members with the letters.
    async fn count(&self) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        let mut members = 0;
        for (name, _, end, ..) in ACTS {
            let committed = i64::from(matches!(end, End::Commit | End::DieAfter));
            members += committed;
            let questions = [
                (
                    "club",
                    format!("select count(*) from member where name = '{name}'"),
                ),
                (
                    "member",
                    format!("select count(*) from letter where about = '{name}'"),
                ),
                (
                    "treasurer",
                    format!("select count(*) from letter where about = '{name}'"),
                ),
            ];
            for (database, question) in questions {
                let found = self.one(database, &question).await?;
                if found != committed {
                    verdict.untrue(format!("{name} is {found} times at {database}"));
                }
            }
        }
        let letters = "select count(*) from letter";
        verdict.row("who wanted to join", ACTS.len());
        verdict.expect(
            "members",
            self.one("club", "select count(*) from member").await?,
            members,
        );
        verdict.expect(
            "letters to members",
            self.one("member", letters).await?,
            members,
        );
        verdict.expect(
            "letters to the treasurer",
            self.one("treasurer", letters).await?,
            members,
        );
        let waiting = self
            .one("club", "select count(*) from accordant.outbox")
            .await?;
        verdict.expect("messages left in the outbox", waiting, 0);
        verdict.expect("transactions left open", play::open(&self.stage).await?, 0);
        Ok(verdict)
    }

    async fn one(&self, database: &str, question: &str) -> anyhow::Result<i64> {
        let mut connection = PgConnection::connect(&self.server.url(database)).await?;
        let question = AssertSqlSafe(question);
        let (number,) = sqlx::query_as(question).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(number)
    }
}
