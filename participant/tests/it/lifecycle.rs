//! A branch from its work to its end, and every call repeated.

use crate::support::{
    COMMITTED, abort, bank, commit, debit_call, finish_many, fresh, is_yes, order, prepare,
    refusal_code, result_of, try_prepare,
};
use accordant_participant::protocol::wire::contract::{BranchEnd, FinishVerb, Vote};
use serde_json::json;

#[tokio::test]
async fn prepared_and_committed_takes_effect_once() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    let reply = try_prepare(&participant, &debit_call(gtid, 30))
        .await
        .unwrap();
    is_yes(&reply.vote);
    assert_eq!(result_of(&reply.vote), "70");
    assert_eq!(reply.identity.starts, 1);
    assert_eq!(reply.identity.timeline, 1);
    assert!(bank.is_prepared(gtid).await);
    assert_eq!(bank.cents().await, 100);
    assert_eq!(
        prepare(&participant, &debit_call(gtid, 30)).await,
        Vote::Yes { result: None }
    );
    for _ in 0..2 {
        assert_eq!(commit(&participant, gtid).await, COMMITTED);
        assert_eq!(bank.cents().await, 70);
    }
    assert_eq!(
        abort(&participant, gtid).await,
        COMMITTED,
        "someone else committed it"
    );
    let vote = prepare(&participant, &debit_call(gtid, 30)).await;
    assert!(matches!(vote, Vote::Committed { .. }), "{vote:?}");
    assert_eq!(result_of(&vote), "70");
    assert_eq!(bank.cents().await, 70);
    assert_eq!(bank.open_transactions().await, 0);
}

#[tokio::test]
async fn prepared_and_aborted_leaves_nothing() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    is_yes(&prepare(&participant, &debit_call(gtid, 30)).await);
    for _ in 0..2 {
        assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
        assert!(!bank.is_prepared(gtid).await);
        assert_eq!(bank.cents().await, 100);
        assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"));
    }
    assert_eq!(commit(&participant, gtid).await, BranchEnd::Aborted);
    let vote = prepare(&participant, &debit_call(gtid, 30)).await;
    assert_eq!(refusal_code(vote), "accordant.sealed");
}

#[tokio::test]
async fn handler_that_refuses_is_sealed_and_says_the_same_again() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    for _ in 0..2 {
        let vote = prepare(&participant, &debit_call(gtid, 300)).await;
        assert_eq!(refusal_code(vote), "insufficient_funds");
        assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"));
    }
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    assert_eq!(bank.open_transactions().await, 0);
}

#[tokio::test]
async fn second_participant_votes_yes_without_a_result_and_commit_brings_it() {
    let bank = bank().await;
    let gtid = fresh();
    is_yes(&prepare(&bank.participant().await, &debit_call(gtid, 30)).await);
    let second = bank.participant().await;
    let reply = try_prepare(&second, &debit_call(gtid, 30)).await.unwrap();
    assert_eq!(reply.vote, Vote::Yes { result: None });
    assert_eq!(reply.identity.starts, 2);
    for _ in 0..2 {
        let mut wanted = order(gtid, FinishVerb::Commit);
        wanted.want_result = true;
        let reply = finish_many(&second, vec![wanted]).await;
        let BranchEnd::Committed { result: Some(result) } = &reply.answers[0].end else {
            panic!("{reply:?}")
        };
        assert_eq!(result.text(), "70");
    }
}

#[tokio::test]
async fn one_phase_commits_at_once_and_again_says_so() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let mut call = debit_call(fresh(), 30);
    call.one_phase = true;
    for _ in 0..2 {
        let vote = prepare(&participant, &call).await;
        assert!(matches!(vote, Vote::Committed { .. }), "{vote:?}");
        assert_eq!(result_of(&vote), "70");
        assert_eq!(bank.cents().await, 70);
        assert_eq!(bank.prepared().await, [""; 0]);
    }
    assert_eq!(commit(&participant, call.gtid).await, COMMITTED);
}

#[tokio::test]
async fn late_prepare_after_abort_is_refused_by_the_seal() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    let vote = prepare(&participant, &debit_call(gtid, 30)).await;
    assert_eq!(refusal_code(vote), "accordant.sealed");
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn many_orders_are_independent() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let (committed, aborted, never) = (fresh(), fresh(), fresh());
    is_yes(&prepare(&participant, &debit_call(committed, 1)).await);
    let other = crate::support::call(aborted, "debit", json!({"account": 2, "cents": 1}));
    is_yes(&prepare(&participant, &other).await);
    let orders = vec![
        order(committed, FinishVerb::Commit),
        order(aborted, FinishVerb::Abort),
        order(never, FinishVerb::Abort),
    ];
    let reply = finish_many(&participant, orders).await;
    let ends: Vec<_> = reply
        .answers
        .iter()
        .map(|answer| (answer.gtid, &answer.end))
        .collect();
    assert_eq!(
        ends,
        [
            (committed, &COMMITTED),
            (aborted, &BranchEnd::Aborted),
            (never, &BranchEnd::Aborted)
        ]
    );
    assert_eq!(
        finish_many(&participant, Vec::new()).await.identity,
        reply.identity
    );
}

#[tokio::test]
async fn tables_of_the_first_version_are_brought_up_to_date_and_keep_what_they_hold() {
    let bank = bank().await;
    let first = accordant_migrations::participant::POSTGRES[0].sql;
    bank.run(&format!(
        "create schema accordant; {first};
        create table accordant.migration (version integer primary key, name text not null,
            applied_at timestamptz not null default now());
        insert into accordant.migration (version, name) values (1, 'branch');
        insert into accordant.branch (gtid, branch, op, state) values ('old', 0, '2pc', 'aborted')"
    ))
    .await;
    let builder = bank.builder().migrate(false);
    let refused = builder.connect().await.unwrap_err().to_string();
    assert!(refused.contains("version 1"), "{refused}");
    let participant = bank.participant().await;
    let gtid = fresh();
    is_yes(&prepare(&participant, &debit_call(gtid, 30)).await);
    assert_eq!(commit(&participant, gtid).await, COMMITTED);
    bank.run("do $$ begin assert (select count(*) from accordant.branch) = 2; end $$")
        .await;
    bank.run("do $$ begin assert (select count(*) from accordant.outbox) = 0; end $$")
        .await;
}
