//! What the databases and the rental cars hold, asked of themselves.

use std::collections::BTreeMap;

use accordant_client::Outcome;
use accordant_examples::play::{self, Played, Told};
use accordant_examples::{http, verdict::Verdict};
use anyhow::Context as _;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::airline;
use crate::scene::Scene;

/// Trip, day and state of a booking.
type Booking = (String, i32, String);

/// What one service holds.
#[derive(Debug, Deserialize)]
struct Books {
    bookings: Vec<Booking>,
    free: Vec<(i32, i32)>,
}

/// Compares what was told with what the three hold.
pub(crate) async fn count(scene: &Scene, played: &Played) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let houses = [
        (
            "flights",
            scene.seats,
            database(scene, "flight", "seat").await?,
        ),
        (
            "rooms",
            scene.rooms,
            database(scene, "hotel", "room").await?,
        ),
        (
            "cars",
            scene.cars,
            http::get(scene.stage.at("car")?, "/bookings").await?,
        ),
    ];
    let told = &played.told;
    let booked = played.ended(Outcome::Committed);
    verdict.row("trips", told.len());
    verdict.row("booked", booked);
    verdict.row("turned back", played.ended(Outcome::Aborted));
    for (name, each, books) in &houses {
        let mut states = by_trip(books);
        let confirmed = states.values().flatten();
        let confirmed = confirmed.filter(|it| **it == "confirmed").count();
        verdict.expect(&format!("{name} booked"), confirmed, booked);
        compare(&mut verdict, name, told, &mut states);
        for wrong in unbalanced(books, *each) {
            verdict.untrue(format!(
                "{name}: on day {wrong} there are more or fewer than before"
            ));
        }
    }
    let pending = houses.iter().flat_map(|(_, _, books)| &books.bookings);
    let pending = pending.filter(|(_, _, state)| state == "pending").count();
    verdict.expect("bookings left pending", pending, 0);
    verdict.expect("transactions left open", play::open(&scene.stage).await?, 0);
    verdict.expect(
        "tickets paid",
        paid(scene, told.len()).await?,
        i64::try_from(booked)?,
    );
    played.count(&mut verdict);
    Ok(verdict)
}

/// What was told, against the bookings of one service.
fn compare(
    verdict: &mut Verdict,
    name: &str,
    told: &[Told],
    states: &mut BTreeMap<String, Vec<&str>>,
) {
    for told in told {
        let states = states.remove(&told.label).unwrap_or_default();
        if !fits(told, &states) {
            let Told { label, outcome, .. } = told;
            verdict.untrue(format!(
                "{label} was told {outcome:?}, and {name} has {states:?}"
            ));
        }
    }
    for (trip, states) in states.iter().filter(|(_, states)| !states.is_empty()) {
        verdict.untrue(format!(
            "{trip} is among the {name} as {states:?}; nobody asked for it"
        ));
    }
}

/// Booked once if the trip happens, not at all if not.
fn fits(told: &Told, states: &[&str]) -> bool {
    match told.outcome {
        Outcome::Committed => states == ["confirmed"],
        Outcome::Aborted => states.is_empty(),
        Outcome::Pending | Outcome::Heuristic | _ => false,
    }
}

/// The states of the bookings of each trip, but for the cancelled ones.
fn by_trip(books: &Books) -> BTreeMap<String, Vec<&str>> {
    let mut states: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (trip, _, state) in &books.bookings {
        let states = states.entry(trip.clone()).or_default();
        if state != "cancelled" {
            states.push(state);
        }
    }
    states
}

/// The days on which booked and free together are not what there was at first.
fn unbalanced(books: &Books, each: usize) -> Vec<i32> {
    let booked = |day| {
        let live = books
            .bookings
            .iter()
            .filter(|(_, _, state)| state != "cancelled");
        live.filter(|(_, of, _)| *of == day).count()
    };
    let wrong = |(day, free): &&(i32, i32)| {
        let all = usize::try_from(*free).unwrap_or_default() + booked(*day);
        all != each && all != 0
    };
    books
        .free
        .iter()
        .filter(wrong)
        .map(|(day, _)| *day)
        .collect()
}

async fn database(scene: &Scene, name: &str, what: &str) -> anyhow::Result<Books> {
    let mut connection = PgConnection::connect(&scene.server.url(name)).await?;
    let bookings = sqlx::query_as("select trip, day, state from booking")
        .fetch_all(&mut connection)
        .await
        .context("the bookings cannot be read")?;
    let free = format!("select day, free from {what}");
    let free = sqlx::query_as(AssertSqlSafe(free))
        .fetch_all(&mut connection)
        .await?;
    Ok(Books { bookings, free })
}

/// How many tickets the card has paid.
async fn paid(scene: &Scene, trips: usize) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(&scene.server.url("flight")).await?;
    let (cents,): (i64,) = sqlx::query_as("select sum(cents)::bigint from card")
        .fetch_one(&mut connection)
        .await?;
    Ok(i64::try_from(trips)? - cents / airline::CENTS)
}
