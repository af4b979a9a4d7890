//! The warehouse: things that are free, reserved or sold.

use std::process::ExitCode;

use accordant_examples::service::{self, ServiceArguments};
use accordant_participant::{Branch, Refusal};
use serde::{Deserialize, Serialize};

/// A reservation is the warehouse's own: no lock of the database is held between the phases.
pub(crate) const SCHEMA: &str = "
    create table item (
        name text primary key,
        free integer not null check (free >= 0),
        reserved integer not null default 0 check (reserved >= 0),
        sold integer not null default 0 check (sold >= 0)
    );
    create table reservation (
        id integer primary key generated always as identity,
        for_order text not null,
        item text not null references item,
        count integer not null,
        state text not null check (state in ('reserved', 'sold', 'cancelled'))
    )";

#[derive(Debug, Deserialize, Serialize)]
struct Wish {
    order: String,
    item: String,
    count: i32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Reservation {
    reservation: i32,
    shelf: String,
}

/// Try: what is reserved is nobody else's, and not sold yet.
async fn reserve(branch: &mut Branch, wish: Wish) -> Result<Reservation, Refusal> {
    let reserved: Option<(i32,)> = sqlx::query_as(
        "with taken as (
            update item set free = free - $3, reserved = reserved + $3
            where name = $2 and free >= $3 returning name
        )
        insert into reservation (for_order, item, count, state)
        select $1, name, $3, 'reserved' from taken returning id",
    )
    .bind(&wish.order)
    .bind(&wish.item)
    .bind(wish.count)
    .fetch_optional(branch.connection())
    .await?;
    let little = || {
        Refusal::new(
            "out_of_stock",
            format!("not {} of {}", wish.count, wish.item),
        )
    };
    let (reservation,) = reserved.ok_or_else(little)?;
    Ok(Reservation { reservation, shelf: "C4".to_owned() })
}

/// The library sees to it that there is a reservation, and that this or `cancel` runs once.
async fn confirm(
    branch: &mut Branch,
    wish: Wish,
    reserved: Option<Reservation>,
) -> Result<(), Refusal> {
    sqlx::query(
        "with sold as (
            update reservation set state = 'sold' where id = $1 and state = 'reserved'
        )
        update item set reserved = reserved - $3, sold = sold + $3 where name = $2",
    )
    .bind(reserved.map(|it| it.reservation))
    .bind(wish.item)
    .bind(wish.count)
    .execute(branch.connection())
    .await?;
    Ok(())
}

async fn cancel(
    branch: &mut Branch,
    wish: Wish,
    reserved: Option<Reservation>,
) -> Result<(), Refusal> {
    sqlx::query(
        "with given as (
            update reservation set state = 'cancelled' where id = $1 and state = 'reserved'
        )
        update item set reserved = reserved - $3, free = free + $3 where name = $2",
    )
    .bind(reserved.map(|it| it.reservation))
    .bind(wish.item)
    .bind(wish.count)
    .execute(branch.connection())
    .await?;
    Ok(())
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: &ServiceArguments) -> ExitCode {
    service::run(arguments, |builder| {
        builder.tcc("reserve", reserve, confirm, cancel)
    })
}
