//! The warehouse, the banks, the carrier, two people's mail, and what an order asks of them.

use std::time::Duration;

use accordant_client::{Action, Group, Message, Step, Transaction, result_of};
use accordant_examples::bank::{self, Posting};
use accordant_examples::stage::Stage;
use accordant_examples::{mail, play};
use accordant_testbed::postgres::Postgres;
use anyhow::Context as _;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::arguments::Fail;
use crate::{carrier, warehouse};

/// Each service, the role in which it runs, and its tables. Each has a database of its own.
const CAST: [(&str, &str, &str); 6] = [
    ("warehouse", "warehouse", warehouse::SCHEMA),
    ("north", "bank", bank::SCHEMA),
    ("south", "bank", bank::SCHEMA),
    ("carrier", "carrier", carrier::SCHEMA),
    ("buyer", "mail", mail::SCHEMA),
    ("seller", "mail", mail::SCHEMA),
];
/// What one teapot costs, in cents.
pub(crate) const PRICE: i64 = 2_500;
/// More than there are.
const TOO_MANY: i32 = 1_000_000;
/// So many buyers have money, and so many sellers an account: a prepared payment holds the locks of
/// both until it is decided.
const ACCOUNTS: usize = 100;
/// An account without money, and one that there is not.
const POOR: i32 = 0;
const CLOSED: i32 = -1;
/// How long each call waits at a service, where one looks on.
const WORK: Duration = Duration::from_millis(20);

/// Everything that runs, and what there was in the beginning.
pub(crate) struct Scene {
    pub stage: Stage,
    pub server: Postgres,
    /// Teapots.
    pub teapots: i32,
    /// Cents, in both banks.
    pub cents: i64,
}

impl Scene {
    pub(crate) async fn build(orders: usize) -> anyhow::Result<Self> {
        println!("starting a warehouse, two banks, a carrier, two mailboxes and a coordinator");
        let server = Postgres::builder()
            .private()
            .max_connections(400)
            .max_prepared_transactions(128);
        let server = CAST
            .iter()
            .fold(server, |server, (name, ..)| server.database(*name));
        let server = server.start().await.context("PostgreSQL did not start")?;
        println!("  {}", server.source());
        // Each order takes two on average: of many orders the last ones find nothing.
        let teapots = i32::try_from(orders * 19 / 10 + 8)?;
        // A buyer could pay for all the teapots.
        let each = i64::from(teapots) * PRICE;
        let cents = each * i64::try_from(ACCOUNTS)?;
        let names = CAST.map(|(name, ..)| name);
        let mut stage = Stage::open(&names).await?;
        let work = if play::is_shown(orders) {
            WORK
        } else {
            Duration::ZERO
        };
        for (name, role, schema) in CAST {
            let mut connection = PgConnection::connect(&server.url(name)).await?;
            connection.execute(sqlx::raw_sql(schema)).await?;
            let fill = match name {
                "warehouse" => format!("insert into item values ('teapot', {teapots})"),
                "north" => format!(
                    "insert into account values ({POOR}, 0);
                    insert into account select id, {each} from generate_series(1, {ACCOUNTS}) as id"
                ),
                "south" => format!(
                    "insert into account select id, 0 from generate_series(1, {ACCOUNTS}) as id"
                ),
                _ => String::new(),
            };
            connection
                .execute(sqlx::raw_sql(AssertSqlSafe(fill)))
                .await?;
            connection.close().await?;
            stage.serve(role, name, &server.url(name), work).await?;
        }
        Ok(Self { stage, server, teapots, cents })
    }
}

/// How many teapots an order is for.
pub(crate) fn count_of(nr: usize) -> i32 {
    i32::try_from(1 + nr % 3).unwrap_or(1)
}

/// One order: reserved and paid at once, or neither; then shipped; then told to both.
pub(crate) fn order(label: &str, nr: usize, fail: Option<Fail>) -> anyhow::Result<Transaction> {
    let fails = |it| fail == Some(it);
    let count = if fails(Fail::Stock) {
        TOO_MANY
    } else {
        count_of(nr)
    };
    let posting = |account| {
        let cents = i64::from(count) * PRICE;
        Posting { transfer: label.to_owned(), account, cents }
    };
    let account = i32::try_from(1 + nr % ACCOUNTS)?;
    let buyer = if fails(Fail::Debit) { POOR } else { account };
    let seller = if fails(Fail::Credit) { CLOSED } else { account };
    let stock = json!({"order": label, "item": "teapot", "count": count});
    let full = if fails(Fail::Ship) { 3 } else { 0 };
    let freight = json!({"order": label, "shelf": result_of("stock#/shelf"), "full": full});
    let letter = |says: &str| json!({"about": label, "says": says});

    let pay = Group::new()
        .tcc("stock", "warehouse", "reserve", &stock)?
        .branch("debit", "north", "debit", &posting(buyer))?
        .branch("credit", "south", "credit", &posting(seller))?;
    let ship = Action::operation("carrier", "ship", &freight)?;
    let to_buyer = Action::operation("buyer", "send", &letter("it is on its way"))?;
    let to_seller = Action::operation("seller", "send", &letter("it is paid"))?;
    Ok(Transaction::new()
        .step(Step::group("pay", pay))
        .step(Step::action("ship", ship).after("pay"))
        .step(Step::message("tell", Message::to(to_buyer).and_to(to_seller)).after("ship")))
}
