//! A club that writes down its members. Whoever joins is welcomed by two letters: the member and
//! the message are one fact, or none.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use accordant_examples::mail::Letter;
use accordant_examples::service::{self, ServiceArguments};
use accordant_participant::{Message, Participant, SendError};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

/// Without a unique key: it would refuse a member that is written down twice, and hide it from the
/// audit.
pub(crate) const SCHEMA: &str = "create table member (name text not null)";

/// When the coordinator asks what has become of a message of which it was not told.
const ASKED_AFTER: Duration = Duration::from_secs(2);

/// Somebody wants to join.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Join {
    pub name: String,
    pub form: Form,
    pub end: End,
}

/// How the message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// As one more row of the local transaction.
    Outbox,
    /// Known to the coordinator before the local transaction begins.
    TwoPhase,
}

/// What becomes of the local transaction, and of the club.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// It commits.
    Commit,
    /// It is rolled back.
    RollBack,
    /// The club dies just before the commit.
    DieBefore,
    /// The club dies just after the commit, before it has told anybody.
    DieAfter,
}

struct Club {
    participant: Participant,
    pool: PgPool,
}

impl Club {
    /// The member and the message in one local transaction.
    async fn by_outbox(&self, join: &Join) -> anyhow::Result<StatusCode> {
        let outbox = self.participant.outbox();
        let mut local = self.pool.begin().await?;
        write_down(&mut local, &join.name).await?;
        outbox.send(&mut local, welcome(&join.name)?).await?;
        match join.end {
            End::RollBack => local.rollback().await?,
            End::DieBefore => std::process::abort(),
            End::Commit | End::DieAfter => local.commit().await?,
        }
        if join.end == End::DieAfter {
            std::process::abort();
        }
        outbox.wake();
        Ok(status(join.end))
    }

    /// The coordinator has the message first, and the local transaction decides about it.
    async fn by_two_phases(&self, join: &Join) -> anyhow::Result<StatusCode> {
        let welcome = welcome(&join.name)?;
        let message = self
            .participant
            .local_message_within(welcome, ASKED_AFTER)
            .await?;
        let mut local = self.pool.begin().await?;
        write_down(&mut local, &join.name).await?;
        message.mark(&mut local).await?;
        match join.end {
            End::RollBack => {
                local.rollback().await?;
                message.abandon().await?;
            }
            End::DieBefore => std::process::abort(),
            End::DieAfter => {
                local.commit().await?;
                std::process::abort();
            }
            End::Commit => {
                local.commit().await?;
                message.submit().await?;
            }
        }
        Ok(status(join.end))
    }
}

async fn write_down(local: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let insert = sqlx::query("insert into member (name) values ($1)");
    insert.bind(name).execute(local).await.map(drop)
}

/// One letter to the member, one to the treasurer.
fn welcome(name: &str) -> Result<Message, SendError> {
    let letter = |says: &str| Letter { about: name.to_owned(), says: says.to_owned() };
    Message::new("member", "send", &letter("welcome"))?.and_to(
        "treasurer",
        "send",
        &letter("one more pays"),
    )
}

const fn status(end: End) -> StatusCode {
    match end {
        End::RollBack => StatusCode::CONFLICT,
        End::Commit | End::DieBefore | End::DieAfter => StatusCode::CREATED,
    }
}

async fn join(State(club): State<Arc<Club>>, Json(join): Json<Join>) -> Response {
    let done = match join.form {
        Form::Outbox => club.by_outbox(&join).await,
        Form::TwoPhase => club.by_two_phases(&join).await,
    };
    match done {
        Ok(status) => status.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")).into_response(),
    }
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: &ServiceArguments) -> ExitCode {
    let routes = |participant: &Participant| {
        let pool = PgPool::connect_lazy(&arguments.database)?;
        let club = Club { participant: participant.clone(), pool };
        Ok(Router::new()
            .route("/join", post(join))
            .with_state(Arc::new(club)))
    };
    service::run_with(arguments, |builder| builder, routes)
}
