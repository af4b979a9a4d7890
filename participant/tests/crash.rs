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
    use accordant_participant::protocol::wire::api::{OutcomeReply, Verdict};
    use accordant_participant::protocol::wire::contract::{BranchEnd, Vote};
    use accordant_participant::{Participant, StartError};

    use crate::support::{
        Bank, COMMITTED, abort, bank, commit, debit_call, fresh, is_yes, prepare,
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
            .coordinator(coordinator().await)
            .connect()
            .await
            .unwrap();
        let cents = if script == "refuse" { 300 } else { 30 };
        let vote = prepare(&participant, &debit_call(gtid, cents)).await;
        match script.as_str() {
            "commit" => assert_eq!(commit(&participant, gtid).await, COMMITTED),
            "abort" => assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted),
            "sweep" => assert_eq!(participant.sweep_once().await.unwrap().committed, 1),
            _ => assert!(matches!(vote, Vote::No { .. })),
        }
    }

    /// A coordinator that has decided to commit everything.
    async fn coordinator() -> String {
        use axum::extract::Path;
        let outcome = async |Path(id): Path<String>| {
            let reply = OutcomeReply { id: id.parse().unwrap(), verdict: Verdict::Commit };
            serde_json::to_string(&reply).unwrap()
        };
        let router =
            axum::Router::new().route("/v1/transactions/{id}/outcome", axum::routing::get(outcome));
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
            for &point in POINTS {
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
            POINTS.iter().copied().collect(),
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
}
