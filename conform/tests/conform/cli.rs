//! `accordant conform`, as the binary calls it.

use accordant_conform::{Arguments, ConformError, Ending, OptionsError, conform};
use clap::Parser;

use crate::stub::{Bug, router};
use crate::support::serve;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    arguments: Arguments,
}

async fn typed(words: &[&str]) -> Result<Ending, ConformError> {
    let words = ["accordant conform"].iter().chain(words);
    conform(Typed::try_parse_from(words).unwrap().arguments).await
}

async fn on(bug: Bug, words: &[&str]) -> Result<Ending, ConformError> {
    let url = format!("http://{}", serve(router(bug)).await);
    let fixed = [
        "--participant",
        &url,
        "--name",
        "bank",
        "--payload",
        r#"{"cents":3}"#,
    ];
    typed(&[&fixed, words].concat()).await
}

#[tokio::test]
async fn it_ends_by_what_was_found() {
    let act = ["--act", "debit", "--seed", "5"];
    assert_eq!(on(Bug::None, &act).await.unwrap(), Ending::Holds);
    assert_eq!(on(Bug::RunsRepeats, &act).await.unwrap(), Ending::Broken);
    let others = [&act[..], &["--only", "act.done", "--json"]].concat();
    assert_eq!(on(Bug::RunsRepeats, &others).await.unwrap(), Ending::Holds);
}

#[tokio::test]
async fn what_should_hold_counts_only_if_strict() {
    let words = ["--act", "debit", "--only", "act.unknown_operation_again"];
    assert_eq!(
        on(Bug::KnowsEveryOperation, &words).await.unwrap(),
        Ending::Broken
    );
    let with = [&words[..], &["--only", "act.done"]].concat();
    assert_eq!(
        on(Bug::KnowsEveryOperation, &with).await.unwrap(),
        Ending::Holds
    );
    let strict = [&with[..], &["--strict"]].concat();
    assert_eq!(
        on(Bug::KnowsEveryOperation, &strict).await.unwrap(),
        Ending::Broken
    );
}

#[tokio::test]
async fn a_wrong_command_line_calls_nobody() {
    let url = ["--participant", "http://127.0.0.1:1"];
    let nothing = typed(&url).await;
    assert!(matches!(
        nothing,
        Err(ConformError::Options(OptionsError::Nothing))
    ));
    let payload = typed(&[&url[..], &["--act", "book", "--payload", "{"]].concat()).await;
    assert!(matches!(
        payload,
        Err(ConformError::Json { flag: "--payload", .. })
    ));
    let file = typed(&[&url[..], &["--act", "book", "--payload", "@/no/such/file"]].concat()).await;
    assert!(matches!(file, Err(ConformError::File { .. })));
    let only = typed(&[&url[..], &["--act", "book", "--only", "nothing"]].concat()).await;
    assert!(matches!(
        only,
        Err(ConformError::Options(OptionsError::Only(_)))
    ));
    let plain = typed(&[&url[..], &["--plain", "{}"]].concat()).await;
    assert!(matches!(
        plain,
        Err(ConformError::Options(OptionsError::Plain(_)))
    ));
    let https = typed(&["--participant", "https://127.0.0.1:1", "--act", "book"]).await;
    assert!(matches!(
        https,
        Err(ConformError::Options(OptionsError::Base))
    ));
    let nobody = typed(&[&url[..], &["--act", "book"]].concat()).await;
    assert!(matches!(nobody, Err(ConformError::Unreachable(_))));
    assert!(Typed::try_parse_from(["accordant conform"]).is_err());
    assert_eq!(typed(&["--list"]).await.unwrap(), Ending::Holds);
}
