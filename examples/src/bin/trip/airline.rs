//! The airline: seats by day, bookings, and the cards that pay for the tickets.

use std::process::ExitCode;

use accordant_examples::service::{self, ServiceArguments};
use accordant_participant::{Branch, Refusal};
use serde::{Deserialize, Serialize};

/// The bookings have no unique key: it would refuse one that is made twice, and hide from the audit
/// that somebody tried.
pub(crate) const SCHEMA: &str = "
    create table seat (day integer primary key, free integer not null check (free >= 0));
    create table card (holder text primary key, cents bigint not null check (cents >= 0));
    create table booking (
        id integer primary key generated always as identity,
        trip text not null,
        day integer not null references seat,
        state text not null check (state in ('pending', 'confirmed', 'cancelled'))
    )";

/// What a ticket costs.
pub(crate) const CENTS: i64 = 19_900;

#[derive(Debug, Deserialize, Serialize)]
struct Wish {
    trip: String,
    day: i32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Booking {
    booking: i32,
    seat: String,
    lands: String,
}

/// A booking is pending until its trip happens: others see it, and pass it by.
async fn book(branch: &mut Branch, wish: Wish) -> Result<Booking, Refusal> {
    let booked: Option<(i32, i32)> = sqlx::query_as(
        "with taken as (
            update seat set free = free - 1 where day = $2 and free > 0 returning free
        )
        insert into booking (trip, day, state) select $1, $2, 'pending' from taken
        returning id, (select free from taken)",
    )
    .bind(&wish.trip)
    .bind(wish.day)
    .fetch_optional(branch.connection())
    .await?;
    let full = || Refusal::new("full", format!("no seat is left on day {}", wish.day));
    let (booking, free) = booked.ok_or_else(full)?;
    let seat = format!("{}{}", 1 + free / 2, if free % 2 == 0 { 'A' } else { 'B' });
    Ok(Booking { booking, seat, lands: "14:05".to_owned() })
}

/// Gives the seat back.
async fn unbook(branch: &mut Branch, _: Wish, booked: Option<Booking>) -> Result<(), Refusal> {
    sqlx::query(
        "with given as (
            update booking set state = 'cancelled' where id = $1 and state = 'pending'
            returning day
        )
        update seat set free = free + 1 from given where seat.day = given.day",
    )
    .bind(booked.map(|booked| booked.booking))
    .execute(branch.connection())
    .await?;
    Ok(())
}

#[derive(Debug, Deserialize, Serialize)]
struct Purchase {
    booking: i32,
    card: String,
}

/// The card is charged and the ticket issued, and neither can be taken back.
async fn ticket(branch: &mut Branch, purchase: Purchase) -> Result<String, Refusal> {
    let paid = sqlx::query("update card set cents = cents - $2 where holder = $1 and cents >= $2")
        .bind(&purchase.card)
        .bind(CENTS)
        .execute(branch.connection())
        .await?;
    if paid.rows_affected() == 0 {
        return Err(Refusal::new("declined", "the card does not cover it"));
    }
    sqlx::query("update booking set state = 'confirmed' where id = $1 and state = 'pending'")
        .bind(purchase.booking)
        .execute(branch.connection())
        .await?;
    Ok(format!("ticket {}", purchase.booking))
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: &ServiceArguments) -> ExitCode {
    service::run(arguments, |builder| {
        builder.action("book", book, unbook).pivot("ticket", ticket)
    })
}
