//! The rental cars once more, for machines without Python: `car.py` in Rust. A plain HTTP service
//! that knows nothing of Accordant.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accordant_examples::diary::{Diary, Entry};
use accordant_examples::verdict::finish;
use accordant_testbed::process::{end_with_parent, tell_ready};
use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use clap::Args;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};

/// The same as `car.py` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct CarArguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    database: PathBuf,
    #[arg(long)]
    ready_file: PathBuf,
    #[arg(long)]
    diary: PathBuf,
    #[arg(long)]
    days: i64,
    #[arg(long)]
    cars: i64,
    #[arg(long, default_value_t = 0)]
    work_ms: u64,
}

const SCHEMA: &str = "
    pragma journal_mode = wal;
    pragma synchronous = full;
    create table if not exists car (day integer primary key, free integer not null);
    create table if not exists booking (id integer primary key, trip text, day integer, state text);
    create table if not exists answer (key text primary key, status integer, body text);";

struct Desk {
    database: Mutex<Connection>,
    diary: Diary,
    work: Duration,
}

/// What a request comes to.
type Answer = rusqlite::Result<(StatusCode, Value)>;

fn book(work: &Transaction<'_>, wish: &Value) -> Answer {
    let day = wish.get("day").and_then(Value::as_i64).unwrap_or_default();
    let taken = "update car set free = free - 1 where day = ? and free > 0";
    if work.execute(taken, [day])? == 0 {
        let detail = format!("no car is left on day {day}");
        return Ok((
            StatusCode::CONFLICT,
            json!({"code": "full", "detail": detail}),
        ));
    }
    let trip = wish.get("trip").and_then(Value::as_str);
    let insert = "insert into booking (trip, day, state) values (?, ?, 'pending')";
    work.execute(insert, params![trip, day])?;
    let booking = json!({"id": work.last_insert_rowid(), "bring_to": wish.get("bring_to")});
    Ok((StatusCode::CREATED, booking))
}

fn confirm(work: &Transaction<'_>, number: i64) -> Answer {
    let update = "update booking set state = 'confirmed' where id = ? and state = 'pending'";
    work.execute(update, [number])?;
    Ok((StatusCode::OK, Value::Null))
}

fn cancel(work: &Transaction<'_>, number: i64) -> Answer {
    let pending = "select day from booking where id = ? and state = 'pending'";
    let day: Option<i64> = work
        .query_row(pending, [number], |row| row.get(0))
        .optional()?;
    if let Some(day) = day {
        work.execute(
            "update booking set state = 'cancelled' where id = ?",
            [number],
        )?;
        work.execute("update car set free = free + 1 where day = ?", [day])?;
    }
    Ok((StatusCode::OK, Value::Null))
}

impl Desk {
    async fn work(
        self: Arc<Self>,
        headers: HeaderMap,
        work: impl FnOnce(&Transaction<'_>) -> Answer + Send + 'static,
    ) -> Response {
        // A task of its own: what is begun is ended although the caller may be dead by then.
        let task = tokio::spawn(async move {
            self.note(&headers, "", "");
            tokio::time::sleep(self.work).await;
            match self.once(&headers, work) {
                Ok((status, body)) => {
                    let said = if status == StatusCode::CONFLICT {
                        "refused"
                    } else {
                        "done"
                    };
                    self.note(&headers, said, &body);
                    (status, body).into_response()
                }
                Err(error) => {
                    let text = error.to_string();
                    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
                }
            }
        });
        task.await
            .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }

    /// Does it, or says again what was said when it was done.
    fn once(
        &self,
        headers: &HeaderMap,
        work: impl FnOnce(&Transaction<'_>) -> Answer,
    ) -> anyhow::Result<(StatusCode, String)> {
        let key = text(headers, "idempotency-key");
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stored = "select status, body from answer where key = ?";
        let known: Option<(u16, String)> = transaction
            .query_row(stored, [key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let known = match known {
            Some(known) => known,
            None => {
                let (status, body) = work(&transaction)?;
                let (status, body) = (status.as_u16(), body.to_string());
                let insert = "insert into answer values (?, ?, ?)";
                transaction.execute(insert, params![key, status, body])?;
                (status, body)
            }
        };
        transaction.commit()?;
        Ok((StatusCode::from_u16(known.0)?, known.1))
    }

    fn note(&self, headers: &HeaderMap, said: &str, more: &str) {
        self.diary.write(Entry {
            gtid: text(headers, "accordant-transaction").to_owned(),
            operation: text(headers, "accordant-step").to_owned(),
            verb: text(headers, "accordant-verb").to_owned(),
            attempt: text(headers, "accordant-attempt").parse().unwrap_or(1),
            said: said.to_owned(),
            more: if more == "null" {
                String::new()
            } else {
                more.to_owned()
            },
            ..Entry::default()
        });
    }

    fn listing(&self) -> rusqlite::Result<Value> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bookings = database.prepare("select trip, day, state from booking")?;
        let bookings = bookings.query_map([], |row| {
            let (trip, day, state): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(json!([trip, day, state]))
        })?;
        let bookings = bookings.collect::<Result<Vec<_>, _>>()?;
        let mut free = database.prepare("select day, free from car")?;
        let free = free.query_map([], |row| {
            let (day, free): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(json!([day, free]))
        })?;
        let free = free.collect::<Result<Vec<_>, _>>()?;
        Ok(json!({"bookings": bookings, "free": free}))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

async fn list(State(desk): State<Arc<Desk>>) -> Response {
    match desk.listing() {
        Ok(listing) => Json(listing).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: &CarArguments) -> ExitCode {
    end_with_parent();
    finish(serve(arguments).map(|()| true))
}

fn serve(arguments: &CarArguments) -> anyhow::Result<()> {
    let database = Connection::open(&arguments.database)?;
    database.execute_batch(SCHEMA)?;
    for day in 0..arguments.days {
        let cars = if day > 0 { arguments.cars } else { 0 };
        database.execute("insert or ignore into car values (?, ?)", [day, cars])?;
    }
    let desk = Arc::new(Desk {
        database: Mutex::new(database),
        diary: Diary::open("car", &arguments.diary)?,
        work: Duration::from_millis(arguments.work_ms),
    });
    let post =
        async |State(desk): State<Arc<Desk>>, headers: HeaderMap, Json(wish): Json<Value>| {
            desk.work(headers, move |work| book(work, &wish)).await
        };
    let confirm = async |State(desk): State<Arc<Desk>>, Path(number), headers: HeaderMap| {
        desk.work(headers, move |work| confirm(work, number)).await
    };
    let cancel = async |State(desk): State<Arc<Desk>>, Path(number), headers: HeaderMap| {
        desk.work(headers, move |work| cancel(work, number)).await
    };
    let router = Router::new()
        .route("/bookings", get(list).post(post))
        .route("/bookings/{number}", put(confirm).delete(cancel))
        .with_state(desk);
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
        tell_ready(&arguments.ready_file, &arguments.listen.to_string())?;
        axum::serve(listener, router)
            .await
            .context("the desk has closed")
    })
}
