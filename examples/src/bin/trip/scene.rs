//! The airline, the hotel, the rental cars, and what a trip asks of them.

use std::path::PathBuf;
use std::time::Duration;

use accordant_client::{Action, Endpoint, Step, Transaction, result_of};
use accordant_examples::play;
use accordant_examples::stage::Stage;
use accordant_testbed::postgres::Postgres;
use accordant_testbed::process::Role;
use anyhow::Context as _;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::arguments::Fail;
use crate::{airline, hotel};

/// Days on which one of the three has nothing to give.
const DAY_WITHOUT_CARS: usize = 0;
const DAY_WITHOUT_SEATS: usize = 1;
const DAY_WITHOUT_ROOMS: usize = 2;
/// The first day, and how many there are, on which all three have something.
const DAY_FIRST: usize = 3;
const DAYS: usize = 7;
/// How long each call waits at a service, where one looks on.
const WORK: Duration = Duration::from_millis(20);

/// Everything that runs, and what there was in the beginning.
pub(crate) struct Scene {
    pub stage: Stage,
    /// Seats, rooms and cars, by day.
    pub server: Postgres,
    /// On each day that has any.
    pub seats: usize,
    pub rooms: usize,
    pub cars: usize,
}

impl Scene {
    pub(crate) async fn build(trips: usize) -> anyhow::Result<Self> {
        println!("starting an airline, a hotel, rental cars and a coordinator");
        let server = Postgres::builder()
            .private()
            .database("flight")
            .database("hotel")
            .max_connections(150)
            .max_prepared_transactions(64);
        let server = server.start().await.context("PostgreSQL did not start")?;
        println!("  {}", server.source());
        // Where there are many trips, some find nothing left: cars are scarce.
        let (seats, rooms, cars) = (trips / DAYS + 5, trips / DAYS + 3, trips / (DAYS + 1) + 2);
        fill(
            &server.url("flight"),
            airline::SCHEMA,
            "seat",
            DAY_WITHOUT_SEATS,
            seats,
        )
        .await?;
        fill(
            &server.url("hotel"),
            hotel::SCHEMA,
            "room",
            DAY_WITHOUT_ROOMS,
            rooms,
        )
        .await?;
        cards(&server.url("flight"), trips).await?;
        let mut stage = Stage::open(&["flight", "hotel", "car"]).await?;
        let work = if play::is_shown(trips) {
            WORK
        } else {
            Duration::ZERO
        };
        for name in ["flight", "hotel"] {
            stage.serve(name, name, &server.url(name), work).await?;
        }
        let role = car_role(&stage, cars, work)?;
        stage.start("car", role).await?;
        Ok(Self { stage, server, seats, rooms, cars })
    }
}

async fn fill(url: &str, schema: &str, what: &str, none: usize, free: usize) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(schema)))
        .await?;
    let insert = format!(
        "insert into {what}
        select day, case when day = $1 then 0 else $2 end from generate_series(0, $3) as day"
    );
    sqlx::query(sqlx::AssertSqlSafe(insert))
        .bind(i32::try_from(none)?)
        .bind(i32::try_from(free)?)
        .bind(i32::try_from(DAY_FIRST + DAYS - 1)?)
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

async fn cards(url: &str, trips: usize) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("insert into card values ('ada', $1), ('nobody', 0)")
        .bind(i64::try_from(trips)? * airline::CENTS)
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// The rental cars: in Python, or in Rust where that is missing.
fn car_role(stage: &Stage, cars: usize, work: Duration) -> anyhow::Result<Role> {
    let directory = stage.directory();
    let python = ["--version"];
    let python = std::process::Command::new("python3").args(python).output();
    let has_sqlite = |_| {
        let probe = std::process::Command::new("python3")
            .args(["-c", "import sqlite3"])
            .output();
        probe.is_ok_and(|probe| probe.status.success())
    };
    let role = if python.is_ok_and(has_sqlite) {
        let script = directory.join("car.py");
        std::fs::write(&script, include_str!("car.py"))?;
        println!("  the cars are rented out by a Python program, car.py");
        Role::new("car", PathBuf::from("python3"), directory).arguments([script])
    } else {
        println!("  there is no python3 with sqlite3 here: the cars are rented out in Rust, too");
        Role::new("car", std::env::current_exe()?, directory).arguments(["car"])
    };
    let ready_file = role.ready_file.clone();
    let role = role.arguments(["--listen", &stage.at("car")?.address().to_string()]);
    let role = role.arguments(["--days", &(DAY_FIRST + DAYS).to_string()]);
    let role = role.arguments(["--cars", &cars.to_string()]);
    let role = role.arguments(["--work-ms", &work.as_millis().to_string()]);
    let role = role.arguments(["--ready-file".into(), ready_file.into_os_string()]);
    let diary = stage.diary_of("car").into_os_string();
    let database = directory.join("car.db").into_os_string();
    Ok(role.arguments(["--diary".into(), diary, "--database".into(), database]))
}

/// One trip. Flight and room are booked side by side; the car is to be where the flight lands and
/// to go to the hotel's street; then the ticket is paid, and what was pending is confirmed.
pub(crate) fn trip(label: &str, nr: usize, fail: Option<Fail>) -> anyhow::Result<Transaction> {
    let day = match fail {
        Some(Fail::Car) => DAY_WITHOUT_CARS,
        Some(Fail::Flight) => DAY_WITHOUT_SEATS,
        Some(Fail::Hotel) => DAY_WITHOUT_ROOMS,
        Some(Fail::Ticket) | None => DAY_FIRST + nr % DAYS,
    };
    let card = if fail == Some(Fail::Ticket) {
        "nobody"
    } else {
        "ada"
    };
    let wish = json!({"trip": label, "day": day});
    let car = Endpoint::post("/bookings").body(&json!({
        "trip": label,
        "day": day,
        "pick_up": result_of("flight#/lands"),
        "bring_to": result_of("hotel#/street"),
    }))?;
    let no_car = Endpoint::delete("/bookings/{car#/id}");
    let ticket = json!({"booking": result_of("flight#/booking"), "card": card});
    let keep_room = result_of("hotel#/booking");
    let keep_car = Endpoint::put("/bookings/{car#/id}").body(&json!({"state": "confirmed"}))?;

    let flight = Action::operation("flight", "book", &wish)?;
    let hotel = Action::operation("hotel", "book", &wish)?;
    let car = Action::plain("car", car).compensate(no_car);
    let ticket = Action::operation("flight", "ticket", &ticket)?;
    let keep_room = Action::operation("hotel", "confirm", &keep_room)?;
    let keep_car = Action::plain("car", keep_car);
    Ok(Transaction::new()
        .step(Step::action("flight", flight))
        .step(Step::action("hotel", hotel))
        .step(Step::action("car", car).after("flight").after("hotel"))
        .step(Step::action("ticket", ticket).after("car").pivot())
        .step(Step::action("keep-room", keep_room).after("ticket"))
        .step(Step::action("keep-car", keep_car).after("ticket")))
}
