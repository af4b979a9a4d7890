//! What the databases hold, asked of themselves.

use std::collections::BTreeMap;

use accordant_client::Outcome;
use accordant_examples::play::{self, Played, Told};
use accordant_examples::verdict::Verdict;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::scene::{PRICE, Scene, count_of};

/// What is looked up for each order: where, what it is, and the question.
const TRACES: [(&str, &str, &str); 6] = [
    (
        "warehouse",
        "sold",
        "select for_order, count::bigint from reservation where state = 'sold'",
    ),
    ("north", "debited", "select transfer, -cents from ledger"),
    ("south", "credited", "select transfer, cents from ledger"),
    (
        "carrier",
        "shipped",
        "select for_order, 1::bigint from parcel",
    ),
    (
        "buyer",
        "told to the buyer",
        "select about, 1::bigint from letter",
    ),
    (
        "seller",
        "told to the seller",
        "select about, 1::bigint from letter",
    ),
];

/// Compares what was told with what the databases hold.
pub(crate) async fn count(scene: &Scene, played: &Played) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let committed = played.ended(Outcome::Committed);
    verdict.row("orders", played.told.len());
    verdict.row("carried out", committed);
    verdict.row("turned back", played.ended(Outcome::Aborted));
    for (database, what, question) in TRACES {
        let mut traces = traces(scene, database, question).await?;
        let all = traces.len();
        for told in &played.told {
            let found = traces.remove(&told.label).unwrap_or_default();
            if found != expected(told, what) {
                let Told { label, outcome, .. } = told;
                verdict.untrue(format!(
                    "{label} was told {outcome:?}, and is {what} {found:?}"
                ));
            }
        }
        for label in traces.keys() {
            verdict.untrue(format!("{label} is {what}, and nobody ordered it"));
        }
        verdict.expect(what, all, committed);
    }
    money(&mut verdict, scene).await?;
    stock(&mut verdict, scene).await?;
    let prepared = one(scene, "north", "select count(*) from pg_prepared_xacts").await?;
    verdict.expect("prepared transactions left", prepared, 0);
    verdict.expect("transactions left open", play::open(&scene.stage).await?, 0);
    played.count(&mut verdict);
    Ok(verdict)
}

/// Once for what happens, in its amount; never for what does not.
fn expected(told: &Told, what: &str) -> Vec<i64> {
    let nr = told.label.rsplit(' ').next().and_then(|nr| nr.parse().ok());
    let count = i64::from(count_of(nr.unwrap_or_default()));
    let amount = match what {
        "sold" => count,
        "debited" | "credited" => count * PRICE,
        _ => 1,
    };
    match told.outcome {
        Outcome::Committed => vec![amount],
        Outcome::Aborted | Outcome::Pending | Outcome::Heuristic | _ => Vec::new(),
    }
}

async fn money(verdict: &mut Verdict, scene: &Scene) -> anyhow::Result<()> {
    let sum = "select sum(cents)::bigint from account";
    let (north, south) = (
        one(scene, "north", sum).await?,
        one(scene, "south", sum).await?,
    );
    verdict.expect("cents in both banks", north + south, scene.cents);
    verdict.row("  of them with the sellers", south);
    Ok(())
}

async fn stock(verdict: &mut Verdict, scene: &Scene) -> anyhow::Result<()> {
    let all = "select (free + reserved + sold)::bigint from item";
    let all = one(scene, "warehouse", all).await?;
    verdict.expect("teapots, sold or not", all, i64::from(scene.teapots));
    let open = "select count(*) from reservation where state = 'reserved'";
    verdict.expect("reservations left", one(scene, "warehouse", open).await?, 0);
    let reserved = one(scene, "warehouse", "select reserved::bigint from item").await?;
    verdict.expect("teapots left reserved", reserved, 0);
    Ok(())
}

async fn traces(
    scene: &Scene,
    database: &str,
    question: &'static str,
) -> anyhow::Result<BTreeMap<String, Vec<i64>>> {
    let mut connection = PgConnection::connect(&scene.server.url(database)).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as(question).fetch_all(&mut connection).await?;
    let mut traces: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (order, amount) in rows {
        traces.entry(order).or_default().push(amount);
    }
    Ok(traces)
}

async fn one(scene: &Scene, database: &str, question: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(&scene.server.url(database)).await?;
    let question = AssertSqlSafe(question);
    let (number,) = sqlx::query_as(question).fetch_one(&mut connection).await?;
    Ok(number)
}
