//! Answers of the database that get lost on the way, and answers that must wait for a standby.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accordant_participant::protocol::wire::contract::{ActVerb, BranchEnd, Vote};
use accordant_testbed_postgres::Postgres;
use sqlx::Row as _;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::{
    Bank, COMMITTED, abort, act, bank, commit, debit_call, fresh, is_done, is_refused, is_yes,
    prepare, result_of, spend, start, until,
};

/// Stands between a participant and its server, and cuts the connection once the server has been
/// sent a certain text and has answered it: the answer is lost.
struct Cutter {
    port: u16,
    armed: Arc<AtomicBool>,
}

impl Cutter {
    async fn start(bank: &Bank, text: &'static str) -> Self {
        let options: PgConnectOptions = bank.url.parse().unwrap();
        let folder = options.get_socket().unwrap();
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let cutter = Self { port, armed: Arc::clone(&armed) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(carry(client, server, text, Arc::clone(&armed)));
            }
        });
        cutter
    }

    fn options(&self, bank: &Bank) -> PgConnectOptions {
        let options: PgConnectOptions = bank.url.parse().unwrap();
        let database = options.get_database().unwrap().to_owned();
        let ssl = sqlx::postgres::PgSslMode::Disable;
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("postgres")
            .database(&database)
            .ssl_mode(ssl)
    }
}

async fn carry(mut client: TcpStream, mut server: UnixStream, text: &str, armed: Arc<AtomicBool>) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    let mut cut = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(bytes @ 1..) = read else { return };
                let sent = &up[..bytes];
                cut = sent.windows(text.len()).any(|part| part == text.as_bytes())
                    && armed.swap(false, Ordering::SeqCst);
                server.write_all(sent).await.unwrap();
            }
            read = server.read(&mut down) => {
                let Ok(bytes @ 1..) = read else { return };
                if cut {
                    return;
                }
                client.write_all(&down[..bytes]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn lost_answer_to_the_vote_message_is_looked_up_and_is_a_yes() {
    let bank = bank().await;
    let cutter = Cutter::start(&bank, "prepare transaction").await;
    let builder = bank.builder().database_options(cutter.options(&bank));
    let participant = builder.connect().await.unwrap();
    cutter.armed.store(true, Ordering::SeqCst);
    let gtid = fresh();
    let vote = prepare(&participant, &debit_call(gtid, 30)).await;
    is_yes(&vote);
    assert_eq!(result_of(&vote), "70");
    assert!(
        !cutter.armed.load(Ordering::SeqCst),
        "the connection was not cut"
    );
    assert_eq!(commit(&participant, gtid).await, COMMITTED);
}

#[tokio::test]
async fn lost_answer_to_a_one_phase_commit_is_looked_up() {
    let bank = bank().await;
    let cutter = Cutter::start(&bank, "commit\0").await;
    let builder = bank.builder().database_options(cutter.options(&bank));
    let participant = builder.connect().await.unwrap();
    cutter.armed.store(true, Ordering::SeqCst);
    let mut call = debit_call(fresh(), 30);
    call.one_phase = true;
    let vote = prepare(&participant, &call).await;
    assert!(matches!(vote, Vote::Committed { .. }), "{vote:?}");
    assert_eq!(result_of(&vote), "70");
    assert!(
        !cutter.armed.load(Ordering::SeqCst),
        "the connection was not cut"
    );
}

#[tokio::test]
async fn lost_answer_to_commit_prepared_is_found_in_the_marker() {
    let bank = bank().await;
    let cutter = Cutter::start(&bank, "commit prepared").await;
    let builder = bank.builder().database_options(cutter.options(&bank));
    let participant = builder.connect().await.unwrap();
    let gtid = fresh();
    is_yes(&prepare(&participant, &debit_call(gtid, 30)).await);
    cutter.armed.store(true, Ordering::SeqCst);
    assert_eq!(commit(&participant, gtid).await, COMMITTED);
    assert!(
        !cutter.armed.load(Ordering::SeqCst),
        "the connection was not cut"
    );
}

#[tokio::test]
async fn lost_answer_to_rollback_prepared_or_to_a_seal_ends_sealed() {
    for text in ["rollback prepared", "'aborted'"] {
        let bank = bank().await;
        let cutter = Cutter::start(&bank, text).await;
        let builder = bank.builder().database_options(cutter.options(&bank));
        let participant = builder.connect().await.unwrap();
        let gtid = fresh();
        is_yes(&prepare(&participant, &debit_call(gtid, 30)).await);
        cutter.armed.store(true, Ordering::SeqCst);
        assert_eq!(
            abort(&participant, gtid).await,
            BranchEnd::Aborted,
            "{text}"
        );
        assert!(
            !cutter.armed.load(Ordering::SeqCst),
            "the connection was not cut"
        );
        assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"));
        assert!(bank.prepared().await.is_empty());
    }
}

#[tokio::test]
async fn lost_answer_to_the_seal_of_a_refusal_is_asked_for_again() {
    let bank = bank().await;
    let cutter = Cutter::start(&bank, "'aborted'").await;
    let builder = bank.builder().database_options(cutter.options(&bank));
    let participant = builder.connect().await.unwrap();
    cutter.armed.store(true, Ordering::SeqCst);
    let vote = prepare(&participant, &debit_call(fresh(), 300)).await;
    assert_eq!(crate::support::refusal_code(vote), "insufficient_funds");
    assert!(
        !cutter.armed.load(Ordering::SeqCst),
        "the connection was not cut"
    );
}

#[tokio::test]
async fn lost_answer_to_the_commit_of_an_act_or_a_compensation_is_looked_up() {
    let bank = bank().await;
    let cutter = Cutter::start(&bank, "unlisten *; commit\0").await;
    let builder = bank.builder().database_options(cutter.options(&bank));
    let participant = builder.connect().await.unwrap();
    let (gtid, never) = (fresh(), fresh());
    for (gtid, verb, result) in [
        (gtid, ActVerb::Act, Some("70")),
        (gtid, ActVerb::Compensate, Some("70")),
        (never, ActVerb::Compensate, None),
    ] {
        cutter.armed.store(true, Ordering::SeqCst);
        is_done(&act(&participant, &spend(gtid, verb, 30)).await, result);
        assert!(
            !cutter.armed.load(Ordering::SeqCst),
            "the connection was not cut"
        );
    }
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn lost_answer_to_the_seal_of_a_refused_act_is_asked_for_again() {
    let bank = bank().await;
    let cutter = Cutter::start(&bank, "'skipped'").await;
    let builder = bank.builder().database_options(cutter.options(&bank));
    let participant = builder.connect().await.unwrap();
    cutter.armed.store(true, Ordering::SeqCst);
    let answer = act(&participant, &spend(fresh(), ActVerb::Act, 300)).await;
    is_refused(&answer, "insufficient_funds");
    assert!(
        !cutter.armed.load(Ordering::SeqCst),
        "the connection was not cut"
    );
}

async fn waiting_for_a_standby(bank: &Bank) -> i64 {
    let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    sqlx::query(waits)
        .fetch_one(&mut bank.admin().await)
        .await
        .unwrap()
        .get(0)
}

/// From now on commits wait for a standby, and there is none.
///
/// That new sessions know the setting is not enough: a commit waits only once the checkpointer has read
/// it too. So one is tried until it waits, and let go then.
async fn make_commits_wait(bank: &Bank) {
    bank.run("alter system set synchronous_standby_names = 'nobody'")
        .await;
    bank.run("select pg_reload_conf()").await;
    until("a commit waits", || async {
        let mut probe = bank.admin().await;
        let pid = sqlx::query("select pg_backend_pid()");
        let pid: i32 = pid.fetch_one(&mut probe).await.unwrap().get(0);
        let commit = tokio::spawn(async move {
            let writes = "select pg_logical_emit_message(true, 'probe', '')";
            sqlx::query(writes).fetch_one(&mut probe).await.unwrap();
        });
        until("it waits, or has not", || async {
            commit.is_finished() || waiting_for_a_standby(bank).await == 1
        })
        .await;
        let waits = !commit.is_finished();
        let cancel = sqlx::query("select pg_cancel_backend($1)").bind(pid);
        cancel.execute(&mut bank.admin().await).await.unwrap();
        // Not the statement is cancelled by that, but the wait of its commit.
        commit.await.unwrap();
        waits
    })
    .await;
    assert_eq!(waiting_for_a_standby(bank).await, 0);
}

#[tokio::test]
async fn vote_that_is_only_read_waits_for_the_standby_too() {
    let server = start(Postgres::builder()).await;
    let bank = Bank::on(&server).await;
    let (one, two) = (bank.participant().await, bank.participant().await);
    make_commits_wait(&bank).await;
    let gtid = fresh();
    let first = tokio::spawn(async move { prepare(&one, &debit_call(gtid, 30)).await });
    // The branch is visible, but not where acknowledgements say that it is.
    until("prepared here", || bank.is_prepared(gtid)).await;
    until("the first waits", || async {
        waiting_for_a_standby(&bank).await == 1
    })
    .await;
    let second = tokio::spawn({
        let two = two.clone();
        async move { prepare(&two, &debit_call(gtid, 30)).await }
    });
    until("the second waits", || async {
        waiting_for_a_standby(&bank).await == 2
    })
    .await;
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(
        commit(&two, gtid).await,
        BranchEnd::InProgress,
        "its session still waits"
    );
    // Not by `run`, whose next connection reads the new setting anyway.
    bank.run("alter system reset synchronous_standby_names")
        .await;
    bank.run("select pg_reload_conf()").await;
    is_yes(&first.await.unwrap());
    is_yes(&second.await.unwrap());
    assert_eq!(commit(&two, gtid).await, COMMITTED);
}

#[tokio::test]
async fn done_that_is_only_read_waits_for_the_standby_too() {
    let server = start(Postgres::builder()).await;
    let bank = Bank::on(&server).await;
    // Two of them have no session yet that could remember the old setting.
    let (one, two) = (bank.participant().await, bank.participant().await);
    let early = bank.participant().await;
    let (done, kept_out) = (fresh(), fresh());
    is_done(
        &act(&early, &spend(done, ActVerb::Act, 30)).await,
        Some("70"),
    );
    make_commits_wait(&bank).await;
    let first = spend(kept_out, ActVerb::Compensate, 30);
    let first = tokio::spawn(async move { act(&one, &first).await });
    until("what was written waits", || async {
        waiting_for_a_standby(&bank).await == 1
    })
    .await;
    let second = spend(done, ActVerb::Act, 30);
    let second = tokio::spawn(async move { act(&two, &second).await });
    until("what was read waits", || async {
        waiting_for_a_standby(&bank).await == 2
    })
    .await;
    assert!(!first.is_finished() && !second.is_finished());
    bank.run("alter system reset synchronous_standby_names")
        .await;
    bank.run("select pg_reload_conf()").await;
    is_done(&first.await.unwrap(), None);
    is_done(&second.await.unwrap(), Some("70"));
}
