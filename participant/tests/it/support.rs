//! What the tests share: a server, a database for each test with a bank in it, and calls to a
//! participant without a socket.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accordant_participant::protocol::id::{
    Attempt, BranchIndex, Epoch, Gid, Gtid, Incarnation, PartitionId,
};
use accordant_participant::protocol::time::Timestamp;
use accordant_participant::protocol::wire::contract::{
    ACT_PATH, ActAnswer, ActCall, ActReply, ActVerb, BranchEnd, FINISH_PATH, FinishCall,
    FinishOrder, FinishReply, FinishVerb, PREPARE_PATH, PrepareCall, PrepareReply, Vote,
};
use accordant_participant::{Branch, Builder, Participant, Refusal};
use accordant_testbed_postgres::Postgres;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, Row as _};
use tower::ServiceExt as _;

/// A database in it, with a table `account` in which account 1 holds 100.
pub(crate) struct Bank {
    pub(crate) url: String,
}

static COUNTER: AtomicU64 = AtomicU64::new(1);

pub(crate) fn now_ms() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test mints ids that look fresh"
    )]
    let now = std::time::SystemTime::now();
    u64::try_from(
        now.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

/// A gtid that no other test has.
pub(crate) fn fresh() -> Gtid {
    minted_at(now_ms())
}

pub(crate) fn minted_at(ms: u64) -> Gtid {
    let random =
        u128::from(std::process::id()) << 64 | u128::from(COUNTER.fetch_add(1, Ordering::Relaxed));
    let (cluster, partition) = ("test".parse().unwrap(), PartitionId(0));
    Gtid::mint(
        cluster,
        partition,
        Incarnation(1),
        Timestamp::from_millis(ms),
        random,
    )
    .unwrap()
}

pub(crate) fn gid(gtid: Gtid) -> Gid {
    Gid { gtid, branch: BranchIndex(0) }
}

/// The server that all tests share which do not stop it.
fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    // A thread of its own, since the runtime of a test ends with the test.
    SHARED.get_or_init(|| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(start(Postgres::builder()))
        })
        .join()
        .unwrap()
    })
}

/// A server of the test's own.
pub(crate) async fn start(builder: accordant_testbed_postgres::Builder) -> Postgres {
    builder
        .private()
        .durable(false)
        .max_connections(200)
        .start()
        .await
        .unwrap()
}

/// A bank on the shared server.
pub(crate) async fn bank() -> Bank {
    let server = tokio::task::spawn_blocking(shared).await.unwrap();
    Bank::on(server).await
}

impl Bank {
    pub(crate) async fn on(server: &Postgres) -> Self {
        let name = format!("bank_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name).await.unwrap();
        let bank = Self { url: server.url(&name) };
        let tables = "
            create table account (id int primary key, cents bigint not null check (cents >= 0));
            insert into account values (1, 100), (2, 100);
            create table owner (id int primary key);
            create table pet (owner int references owner deferrable initially deferred)";
        sqlx::raw_sql(tables)
            .execute(&mut bank.admin().await)
            .await
            .unwrap();
        bank
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Debit {
    pub(crate) account: i32,
    pub(crate) cents: i64,
}

pub(crate) async fn debit(branch: &mut Branch, order: Debit) -> Result<i64, Refusal> {
    let left: Option<(i64,)> = sqlx::query_as(
        "update account set cents = cents - $1 where id = $2 and cents >= $1 returning cents",
    )
    .bind(order.cents)
    .bind(order.account)
    .fetch_optional(branch.connection())
    .await?;
    match left {
        Some((left,)) => Ok(left),
        None => Err(Refusal::new(
            "insufficient_funds",
            "the account does not cover it",
        )),
    }
}

/// Gives back what was debited, and returns what it was told that the debit had left.
pub(crate) async fn refund(
    branch: &mut Branch,
    order: Debit,
    left: Option<i64>,
) -> Result<Option<i64>, Refusal> {
    sqlx::query("update account set cents = cents + $1 where id = $2")
        .bind(order.cents)
        .bind(order.account)
        .execute(branch.connection())
        .await?;
    Ok(left)
}

/// Moves what was debited to account 2.
pub(crate) async fn pass_on(
    branch: &mut Branch,
    order: Debit,
    left: Option<i64>,
) -> Result<Option<i64>, Refusal> {
    sqlx::query("update account set cents = cents + $1 where id = 2")
        .bind(order.cents)
        .execute(branch.connection())
        .await?;
    Ok(left)
}

pub(crate) async fn nothing_after_sql(
    _: &mut Branch,
    _: String,
    _: Option<()>,
) -> Result<(), Refusal> {
    Ok(())
}

/// Runs the text of the payload as SQL: a handler for whatever a test needs.
pub(crate) async fn run_sql(branch: &mut Branch, text: String) -> Result<(), Refusal> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(text))
        .execute(branch.connection())
        .await?;
    Ok(())
}

/// The same, passing over every error.
pub(crate) async fn run_sql_blindly(branch: &mut Branch, text: String) -> Result<(), Refusal> {
    drop(
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(branch.connection())
            .await,
    );
    Ok(())
}

impl Bank {
    /// A connection beside the participant's.
    pub(crate) async fn admin(&self) -> PgConnection {
        let mut admin = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql("set lock_timeout = '5s'")
            .execute(&mut admin)
            .await
            .unwrap();
        admin
    }

    pub(crate) fn builder(&self) -> Builder {
        Participant::builder("bank")
            .database(&self.url)
            .allow_unsafe_durability(true)
            .unsafe_test_build(true)
            .no_background()
            .sweep(Duration::from_millis(20), Duration::ZERO)
            .operation("debit", debit)
            .action("debit", debit, refund)
            .tcc("debit", debit, pass_on, refund)
            .action("sql", run_sql, nothing_after_sql)
            .operation("sql", run_sql)
            .operation("sql_blindly", run_sql_blindly)
    }

    pub(crate) async fn participant(&self) -> Participant {
        self.builder().connect().await.unwrap()
    }

    pub(crate) async fn cents(&self) -> i64 {
        let row = sqlx::query("select cents from account where id = 1");
        row.fetch_one(&mut self.admin().await).await.unwrap().get(0)
    }

    pub(crate) async fn state(&self, gtid: Gtid) -> Option<String> {
        let row = sqlx::query("select state from accordant.branch where gtid = $1 and branch = 0");
        let row = row
            .bind(gtid.to_string())
            .fetch_optional(&mut self.admin().await)
            .await
            .unwrap();
        row.map(|row| row.get(0))
    }

    /// The rows of branch 0, as in `act done`, by operation.
    pub(crate) async fn rows(&self, gtid: Gtid) -> Vec<String> {
        let rows = "select op || ' ' || state from accordant.branch where gtid = $1 order by op";
        let rows = sqlx::query(rows).bind(gtid.to_string());
        let rows = rows.fetch_all(&mut self.admin().await).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn is_prepared(&self, gtid: Gtid) -> bool {
        self.prepared().await.contains(&gid(gtid).to_string())
    }

    pub(crate) async fn prepared(&self) -> Vec<String> {
        let rows =
            sqlx::query("select gid from pg_prepared_xacts where database = current_database()");
        let rows = rows.fetch_all(&mut self.admin().await).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Sessions that wait for a lock.
    pub(crate) async fn waiting_for_locks(&self) -> i64 {
        let count = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let row = sqlx::query(count);
        row.fetch_one(&mut self.admin().await).await.unwrap().get(0)
    }

    /// Sessions of participants that have a transaction open.
    pub(crate) async fn open_transactions(&self) -> i64 {
        let count = "select count(*) from pg_stat_activity where datname = current_database()
            and pid <> pg_backend_pid() and xact_start is not null";
        sqlx::query(count)
            .fetch_one(&mut self.admin().await)
            .await
            .unwrap()
            .get(0)
    }

    pub(crate) async fn run(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql)
            .execute(&mut self.admin().await)
            .await
            .unwrap();
    }
}

pub(crate) fn call(gtid: Gtid, operation: &str, payload: serde_json::Value) -> PrepareCall {
    let call = json!({
        "gtid": gtid, "branch": 0, "participant": "bank", "attempt": 1, "epoch": 1,
        "deadline": now_ms() + 20_000, "watermark": 0, "operation": operation, "payload": payload,
    });
    serde_json::from_str(&call.to_string()).unwrap()
}

pub(crate) fn debit_call(gtid: Gtid, cents: i64) -> PrepareCall {
    call(gtid, "debit", json!({"account": 1, "cents": cents}))
}

pub(crate) fn act_call(
    gtid: Gtid,
    verb: ActVerb,
    operation: &str,
    payload: serde_json::Value,
) -> ActCall {
    let call = json!({
        "gtid": gtid, "branch": 0, "participant": "bank", "verb": verb, "attempt": 1, "epoch": 1,
        "deadline": now_ms() + 20_000, "watermark": 0, "operation": operation, "payload": payload,
    });
    serde_json::from_str(&call.to_string()).unwrap()
}

/// The call to debit account 1, or to give back what was debited.
pub(crate) fn spend(gtid: Gtid, verb: ActVerb, cents: i64) -> ActCall {
    act_call(gtid, verb, "debit", json!({"account": 1, "cents": cents}))
}

/// A reply of any status to `act`, or the reply.
pub(crate) async fn try_act(
    participant: &Participant,
    call: &ActCall,
) -> Result<ActReply, (StatusCode, serde_json::Value)> {
    let (status, body) = post(participant, ACT_PATH, serde_json::to_string(call).unwrap()).await;
    if status == StatusCode::OK {
        Ok(serde_json::from_str(&body.to_string()).unwrap())
    } else {
        Err((status, body))
    }
}

pub(crate) async fn act(participant: &Participant, call: &ActCall) -> ActAnswer {
    try_act(participant, call).await.unwrap().answer
}

/// Done, with a result of this text.
#[track_caller]
pub(crate) fn is_done(answer: &ActAnswer, result: Option<&str>) {
    let ActAnswer::Done { result: found } = answer else {
        panic!("not done: {answer:?}")
    };
    let found = found
        .as_ref()
        .map(accordant_participant::protocol::json::Json::text);
    assert_eq!(found, result);
}

#[track_caller]
pub(crate) fn is_refused(answer: &ActAnswer, code: &str) {
    let ActAnswer::Refused { refusal } = answer else {
        panic!("not refused: {answer:?}")
    };
    assert_eq!(refusal.code, code);
}

#[track_caller]
pub(crate) fn is_later(answer: &ActAnswer, part: &str) {
    let ActAnswer::RetryLater { reason } = answer else {
        panic!("not later: {answer:?}")
    };
    assert!(reason.contains(part), "{reason}");
}

pub(crate) fn order(gtid: Gtid, verb: FinishVerb) -> FinishOrder {
    FinishOrder {
        gtid,
        branch: BranchIndex(0),
        verb,
        attempt: Attempt(1),
        epoch: Epoch(1),
        watermark: Timestamp::ZERO,
        want_result: false,
        work: None,
    }
}

/// A reply of any status.
pub(crate) async fn post(
    participant: &Participant,
    path: &str,
    body: impl Into<Body>,
) -> (StatusCode, serde_json::Value) {
    let caller: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let request = Request::post(path)
        .header("content-type", "application/json")
        .extension(ConnectInfo(caller))
        .body(body.into())
        .unwrap();
    let response = participant.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A reply of any status to `prepare`, or the vote.
pub(crate) async fn try_prepare(
    participant: &Participant,
    call: &PrepareCall,
) -> Result<PrepareReply, (StatusCode, serde_json::Value)> {
    let (status, body) = post(
        participant,
        PREPARE_PATH,
        serde_json::to_string(call).unwrap(),
    )
    .await;
    if status == StatusCode::OK {
        Ok(serde_json::from_str(&body.to_string()).unwrap())
    } else {
        Err((status, body))
    }
}

pub(crate) async fn prepare(participant: &Participant, call: &PrepareCall) -> Vote {
    try_prepare(participant, call).await.unwrap().vote
}

pub(crate) async fn finish_many(
    participant: &Participant,
    orders: Vec<FinishOrder>,
) -> FinishReply {
    let call = FinishCall { participant: "bank".parse().unwrap(), orders };
    let (status, body) = post(
        participant,
        FINISH_PATH,
        serde_json::to_string(&call).unwrap(),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body.to_string()).unwrap()
}

pub(crate) async fn finish(participant: &Participant, gtid: Gtid, verb: FinishVerb) -> BranchEnd {
    let mut reply = finish_many(participant, vec![order(gtid, verb)]).await;
    assert_eq!(reply.answers.len(), 1);
    reply.answers.remove(0).end
}

pub(crate) async fn commit(participant: &Participant, gtid: Gtid) -> BranchEnd {
    finish(participant, gtid, FinishVerb::Commit).await
}

pub(crate) async fn abort(participant: &Participant, gtid: Gtid) -> BranchEnd {
    finish(participant, gtid, FinishVerb::Abort).await
}

pub(crate) const COMMITTED: BranchEnd = BranchEnd::Committed { result: None };

#[track_caller]
pub(crate) fn refusal_code(vote: Vote) -> String {
    let Vote::No { refusal } = vote else {
        panic!("not a no: {vote:?}")
    };
    refusal.code
}

/// The result in a vote.
#[track_caller]
pub(crate) fn result_of(vote: &Vote) -> &str {
    match vote {
        Vote::Yes { result: Some(result) }
        | Vote::ReadOnly { result: Some(result) }
        | Vote::Committed { result: Some(result) } => result.text(),
        Vote::Yes { .. }
        | Vote::ReadOnly { .. }
        | Vote::Committed { .. }
        | Vote::No { .. }
        | Vote::InProgress
        | Vote::RetryLater { .. }
        | _ => panic!("no result: {vote:?}"),
    }
}

#[track_caller]
pub(crate) fn is_yes(vote: &Vote) {
    assert!(matches!(vote, Vote::Yes { .. }), "{vote:?}");
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}
