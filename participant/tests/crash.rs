//! Kills a participant's process at each named point, and lets another one end the branch.
//!
//! Run with `cargo test -p accordant-participant --features crash-points --test crash`.

#[cfg(test)]
#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "it/support.rs"]
mod support;

#[cfg(test)]
mod points {
    use std::collections::BTreeSet;
    use std::process::{ExitStatus, Stdio};
    use std::time::Duration;

    use accordant_participant::crash::{POINTS, VARIABLE};
    use accordant_participant::protocol::id::Gtid;
    use accordant_participant::protocol::plan::Mode;
    use accordant_participant::protocol::wire::api::{OutcomeReply, Verdict};
    use accordant_participant::protocol::wire::contract::{
        ActAnswer, ActVerb, BranchEnd, FinishOrder, FinishVerb, Vote, Work,
    };
    use accordant_participant::{Message, Participant, StartError};

    use crate::support::{
        Bank, COMMITTED, abort, act, bank, commit, debit_call, finish_many, fresh, is_done,
        is_refused, is_yes, order, prepare, spend,
    };

    /// What the process that is killed was to do, and how the transaction ends.
    const SCRIPTS: [&str; 4] = ["commit", "abort", "refuse", "sweep"];

    /// Runs this binary again, as the process that is killed.
    async fn run_child(bank: &Bank, script: &str, gtid: Gtid, point: &str) -> ExitStatus {
        tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "points::child", "--nocapture"])
            .env("CRASH_SCRIPT", script)
            .env("CRASH_GTID", gtid.to_string())
            .env("CRASH_URL", &bank.url)
            .env(VARIABLE, point)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await
            .unwrap()
    }

    /// Not a test: the process that is killed. Does nothing without its orders.
    #[tokio::test]
    async fn child() {
        let Ok(script) = std::env::var("CRASH_SCRIPT") else {
            return;
        };
        let gtid: Gtid = std::env::var("CRASH_GTID").unwrap().parse().unwrap();
        let bank = Bank { url: std::env::var("CRASH_URL").unwrap() };
        let participant = bank
            .builder()
            .coordinator(coordinator(gtid).await)
            .connect()
            .await
            .unwrap();
        if script.starts_with("act") || script.starts_with("try") {
            run_action(&participant, &script, gtid).await;
            return;
        }
        match script.as_str() {
            "outbox" => {
                let (outbox, mut local) = (participant.outbox(), bank.admin().await);
                let message = Message::new("mail", "welcome", &7).unwrap();
                outbox.send(&mut local, message).await.unwrap();
                assert_eq!(participant.push_once().await.unwrap().sent, 1);
                return;
            }
            "local" => {
                let message = Message::new("mail", "welcome", &7).unwrap();
                let message = participant.local_message(message).await.unwrap();
                message.mark(&mut bank.admin().await).await.unwrap();
                message.submit().await.unwrap();
                return;
            }
            _ => {}
        }
        let cents = if script == "refuse" { 300 } else { 30 };
        let vote = prepare(&participant, &debit_call(gtid, cents)).await;
        match script.as_str() {
            "commit" => assert_eq!(commit(&participant, gtid).await, COMMITTED),
            "abort" => assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted),
            "sweep" => assert_eq!(participant.sweep_once().await.unwrap().committed, 1),
            _ => assert!(matches!(vote, Vote::No { .. })),
        }
    }

    /// A coordinator that has decided to commit everything, and calls what it begins by this id.
    async fn coordinator(gtid: Gtid) -> String {
        use axum::extract::Path;
        use axum::http::HeaderMap;
        let outcome = async |Path(id): Path<String>| {
            let reply = OutcomeReply { id: id.parse().unwrap(), verdict: Verdict::Commit };
            serde_json::to_string(&reply).unwrap()
        };
        let begin = async move |headers: HeaderMap| {
            let key = headers.get("idempotency-key");
            let key = key.map_or("", |key| key.to_str().unwrap());
            format!(r#"{{"id":"{gtid}","idempotency_key":"{key}"}}"#)
        };
        let router = axum::Router::new()
            .route("/v1/transactions/{id}/outcome", axum::routing::get(outcome))
            .route("/v1/transactions/{id}/commit", axum::routing::post(begin))
            .route("/v1/transactions", axum::routing::post(begin));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    /// Ends what the killed process has left, as a coordinator would.
    async fn heal(bank: &Bank, participant: &Participant, script: &str, gtid: Gtid) {
        match script {
            "commit" | "sweep" => {
                let mut vote = prepare(participant, &debit_call(gtid, 30)).await;
                // The killed process's session ends when the server notices.
                while vote == Vote::InProgress {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    vote = prepare(participant, &debit_call(gtid, 30)).await;
                }
                if !matches!(vote, Vote::Committed { .. }) {
                    is_yes(&vote);
                }
                assert_eq!(commit(participant, gtid).await, COMMITTED);
                assert_eq!(bank.cents().await, 70);
            }
            _ => {
                assert_eq!(abort(participant, gtid).await, BranchEnd::Aborted);
                let late = prepare(participant, &debit_call(gtid, 30)).await;
                assert!(matches!(late, Vote::No { .. }), "{late:?}");
                assert_eq!(bank.cents().await, 100);
            }
        }
        assert!(bank.prepared().await.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn process_that_is_killed_at_any_point_leaves_what_another_can_end() {
        let mut reached = BTreeSet::new();
        for script in SCRIPTS {
            for &point in two_phase_points() {
                let bank = bank().await;
                let participant = bank.participant().await;
                let gtid = fresh();
                let status = run_child(&bank, script, gtid, point).await;
                if !status.success() {
                    use std::os::unix::process::ExitStatusExt as _;
                    assert_eq!(status.signal(), Some(6), "{script} {point}: {status}");
                    reached.insert(point);
                }
                heal(&bank, &participant, script, gtid).await;
            }
        }
        assert_eq!(
            reached,
            two_phase_points().into_iter().copied().collect(),
            "every point was reached"
        );
    }

    fn two_phase_points() -> Vec<&'static &'static str> {
        let points = POINTS.iter();
        points
            .filter(|point| !action_points().contains(point) && !is_of_messages(point))
            .collect()
    }

    fn is_of_messages(point: &str) -> bool {
        point.starts_with("participant.outbox.") || point.starts_with("participant.local.")
    }

    fn action_points() -> Vec<&'static &'static str> {
        let points = POINTS.iter();
        points
            .filter(|point| point.starts_with("participant.act."))
            .collect()
    }

    /// Each is carried out by the process that is killed, and then by another one from its
    /// beginning.
    const ACTIONS: [&str; 6] = [
        "act",
        "act refuse",
        "act compensate",
        "act keep_out",
        "try confirm",
        "try cancel",
    ];

    /// Carries a script out, and says what account 1 must hold then.
    async fn run_action(participant: &Participant, script: &str, gtid: Gtid) -> i64 {
        let spend = |verb, cents| {
            let call = spend(gtid, verb, cents);
            async move {
                patiently(
                    async || act(participant, &call).await,
                    |answer| {
                        matches!(
                            answer,
                            ActAnswer::InProgress { .. } | ActAnswer::RetryLater { .. }
                        )
                    },
                )
                .await
            }
        };
        let mut reserve = debit_call(gtid, 30);
        reserve.mode = Mode::Tcc;
        match script {
            "act" => {
                is_done(&spend(ActVerb::Act, 30).await, Some("70"));
                return 70;
            }
            "act refuse" => is_refused(&spend(ActVerb::Act, 300).await, "insufficient_funds"),
            "act compensate" => {
                // What was compensated before is refused now, or was done and is told.
                spend(ActVerb::Act, 30).await;
                let undone = spend(ActVerb::Compensate, 30).await;
                assert!(matches!(undone, ActAnswer::Done { .. }), "{undone:?}");
            }
            "act keep_out" => {
                is_done(&spend(ActVerb::Compensate, 30).await, None);
                is_refused(&spend(ActVerb::Act, 30).await, "accordant.too_late");
            }
            _ => {
                let waits =
                    |vote: &Vote| matches!(vote, Vote::InProgress | Vote::RetryLater { .. });
                patiently(async || prepare(participant, &reserve).await, waits).await;
                let verb = match script {
                    "try confirm" => FinishVerb::Confirm,
                    _ => FinishVerb::Cancel,
                };
                let work = Work {
                    operation: reserve.operation.clone(),
                    payload: reserve.payload.clone(),
                };
                let order = FinishOrder { work: Some(work), ..order(gtid, verb) };
                let ask = async || {
                    let mut reply = finish_many(participant, vec![order.clone()]).await;
                    reply.answers.remove(0).end
                };
                let end = patiently(ask, |end| {
                    matches!(end, BranchEnd::InProgress | BranchEnd::RetryLater { .. })
                })
                .await;
                match script {
                    "try confirm" => {
                        assert_eq!(end, COMMITTED);
                        return 70;
                    }
                    _ => assert_eq!(end, BranchEnd::Aborted),
                }
            }
        }
        100
    }

    /// Asks again until there is an answer: the session of a killed process ends when the server
    /// notices.
    async fn patiently<T>(mut ask: impl AsyncFnMut() -> T, waits: impl Fn(&T) -> bool) -> T {
        let mut answer = ask().await;
        while waits(&answer) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            answer = ask().await;
        }
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn action_whose_process_is_killed_at_any_point_takes_effect_once() {
        let mut reached = BTreeSet::new();
        for script in ACTIONS {
            for point in action_points() {
                for hit in 1..=2 {
                    let bank = bank().await;
                    let participant = bank.participant().await;
                    let gtid = fresh();
                    let status = run_child(&bank, script, gtid, &format!("{point}:{hit}")).await;
                    if !status.success() {
                        use std::os::unix::process::ExitStatusExt as _;
                        assert_eq!(status.signal(), Some(6), "{script} {point}: {status}");
                        reached.insert(point);
                    }
                    for _ in 0..2 {
                        let left = run_action(&participant, script, gtid).await;
                        assert_eq!(bank.cents().await, left, "{script} {point}:{hit}");
                    }
                }
            }
        }
        assert_eq!(
            reached,
            action_points().into_iter().collect(),
            "every point was reached"
        );
    }

    #[tokio::test]
    async fn build_with_crash_points_refuses_to_start_unasked() {
        let bank = bank().await;
        let builder = Participant::builder("bank").database(&bank.url);
        let refused = builder
            .allow_unsafe_durability(true)
            .connect()
            .await
            .unwrap_err();
        assert!(matches!(refused, StartError::TestBuild), "{refused}");
    }

    #[tokio::test]
    async fn message_whose_sender_is_killed_is_sent_all_the_same() {
        let bank = bank().await;
        let (builder, gtid) = (bank.builder(), fresh());
        let builder = builder.coordinator(coordinator(gtid).await);
        let participant = builder.connect().await.unwrap();
        for (script, point) in [
            ("outbox", "participant.outbox.after_send"),
            ("local", "participant.local.before_submit"),
        ] {
            assert!(POINTS.contains(&point) && is_of_messages(point));
            let status = run_child(&bank, script, gtid, point).await;
            use std::os::unix::process::ExitStatusExt as _;
            assert_eq!(status.signal(), Some(6), "{point}: {status}");
        }
        // Sent before, and perhaps taken: again, under the same key, when the claim has run out.
        assert_eq!(participant.push_once().await.unwrap().sent, 0);
        bank.run("update accordant.outbox set next_at = now()")
            .await;
        assert_eq!(participant.push_once().await.unwrap().sent, 1);
        // The coordinator asks back.
        assert_eq!(abort(&participant, gtid).await, COMMITTED);
        assert_eq!(
            POINTS.iter().filter(|point| is_of_messages(point)).count(),
            2
        );
    }
}
