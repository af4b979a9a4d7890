//! The hotel: rooms by day, and bookings.

use std::process::ExitCode;

use accordant_examples::service::{self, ServiceArguments};
use accordant_participant::{Branch, Refusal};
use serde::{Deserialize, Serialize};

/// Without a unique key on the trip, as at the airline.
pub(crate) const SCHEMA: &str = "
    create table room (day integer primary key, free integer not null check (free >= 0));
    create table booking (
        id integer primary key generated always as identity,
        trip text not null,
        day integer not null references room,
        state text not null check (state in ('pending', 'confirmed', 'cancelled'))
    )";

#[derive(Debug, Deserialize, Serialize)]
struct Wish {
    trip: String,
    day: i32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Booking {
    booking: i32,
    street: String,
}

/// A booking is pending until its trip happens.
async fn book(branch: &mut Branch, wish: Wish) -> Result<Booking, Refusal> {
    let booked: Option<(i32,)> = sqlx::query_as(
        "with taken as (
            update room set free = free - 1 where day = $2 and free > 0 returning day
        )
        insert into booking (trip, day, state) select $1, day, 'pending' from taken returning id",
    )
    .bind(&wish.trip)
    .bind(wish.day)
    .fetch_optional(branch.connection())
    .await?;
    let full = || Refusal::new("full", format!("no room is left on day {}", wish.day));
    let (booking,) = booked.ok_or_else(full)?;
    Ok(Booking { booking, street: "Via Roma 7".to_owned() })
}

/// Gives the room back.
async fn unbook(branch: &mut Branch, _: Wish, booked: Option<Booking>) -> Result<(), Refusal> {
    sqlx::query(
        "with given as (
            update booking set state = 'cancelled' where id = $1 and state = 'pending'
            returning day
        )
        update room set free = free + 1 from given where room.day = given.day",
    )
    .bind(booked.map(|booked| booked.booking))
    .execute(branch.connection())
    .await?;
    Ok(())
}

/// The trip happens: nothing is pending any more. It comes after the pivot, so it is never refused.
async fn confirm(branch: &mut Branch, booking: i32) -> Result<(), Refusal> {
    sqlx::query("update booking set state = 'confirmed' where id = $1 and state = 'pending'")
        .bind(booking)
        .execute(branch.connection())
        .await?;
    Ok(())
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: &ServiceArguments) -> ExitCode {
    service::run(arguments, |builder| {
        builder
            .action("book", book, unbook)
            .retriable("confirm", confirm)
    })
}
