//! The smallest whole thing: two warehouses, and orders that take from both or from neither.
//!
//! `cargo run --bin quickstart` starts a private PostgreSQL, a coordinator and both participants
//! inside this one process. In real life each is a process of its own: see `payments`.

mod stock;

use accordant_client::{Client, Transaction, Wait};
use accordant_testbed::postgres::Postgres;
use accordant_testbed::{LocalCoordinator, LocalService, port};
use sqlx::{Connection as _, Executor as _, PgConnection};

use stock::Take;

const NAMES: [&str; 2] = ["east", "west"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let server = Postgres::builder()
        .database(NAMES[0])
        .database(NAMES[1])
        .start()
        .await?;
    let places = [port::reserve()?, port::reserve()?];
    let mut coordinator = LocalCoordinator::builder();
    for (name, place) in NAMES.into_iter().zip(places) {
        coordinator = coordinator.participant(name, &place.url());
    }
    let coordinator = coordinator.start().await?;
    let mut services = Vec::new();
    for (name, place) in NAMES.into_iter().zip(places) {
        let url = server.url(name);
        fill(&url).await?;
        let participant = stock::participant(name, &url, &coordinator.url()).await?;
        services.push(LocalService::start(place, participant.router()).await?);
    }

    let client = Client::new(&coordinator.url())?;
    order(&client, "order-1", 3, 2).await?;
    order(&client, "order-2", 3, 200).await?;
    for name in NAMES {
        println!("{name}: {} apples left", left(&server.url(name)).await?);
    }
    Ok(())
}

/// Takes from both warehouses, or from neither.
async fn order(client: &Client, key: &str, east: i32, west: i32) -> anyhow::Result<()> {
    let take = |count| Take { item: "apple".to_owned(), count };
    let transaction = Transaction::new()
        .branch("from-east", "east", "take", &take(east))?
        .branch("from-west", "west", "take", &take(west))?
        .wait(Wait::Completed);
    let done = client.submit(&key.parse()?, &transaction).await?;
    match done.reason() {
        None => println!("{key}: {:?}", done.outcome),
        Some(reason) => println!("{key}: {:?}, since {reason:?}", done.outcome),
    }
    Ok(())
}

async fn fill(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    connection
        .execute(sqlx::raw_sql(
            "create table stock (item text primary key, count int check (count >= 0));
             insert into stock values ('apple', 10)",
        ))
        .await?;
    Ok(())
}

async fn left(url: &str) -> anyhow::Result<i32> {
    let mut connection = PgConnection::connect(url).await?;
    let (count,) = sqlx::query_as("select count from stock")
        .fetch_one(&mut connection)
        .await?;
    Ok(count)
}
