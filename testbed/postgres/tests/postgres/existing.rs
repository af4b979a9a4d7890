//! Databases on a server that somebody else runs.

use crate::support::{connect, number, prepare, prepared};
use accordant_testbed_postgres::{Builder, ControlError, Postgres, Source, StartError};

/// The server that somebody else runs.
async fn host(settings: impl FnOnce(Builder) -> Builder) -> Postgres {
    settings(Postgres::builder().private().durable(false))
        .start()
        .await
        .unwrap()
}

fn visitor(host: &Postgres) -> Builder {
    Postgres::builder()
        .sources([Source::Url])
        .server_url(host.url("postgres"))
}

#[tokio::test]
async fn two_visitors_have_databases_of_their_own() {
    let host = host(|builder| builder).await;
    let one = visitor(&host).database("bank").start().await.unwrap();
    let two = visitor(&host).database("bank").start().await.unwrap();
    for server in [&one, &two] {
        let mut connection = connect(&server.url("bank")).await;
        sqlx::query("create table account (id int)")
            .execute(&mut connection)
            .await
            .unwrap();
    }
    assert_ne!(one.url("bank"), two.url("bank"));
    assert_eq!(one.version(), host.version());
    assert!(
        one.source().contains("postgres@localhost"),
        "{}",
        one.source()
    );
    assert!(one.is_running() && !one.is_ours());
    assert_eq!((one.data_dir(), one.pid()), (None, None));
}

#[tokio::test]
async fn visitor_may_not_stop_the_server() {
    let host = host(|builder| builder).await;
    let server = visitor(&host).start().await.unwrap();
    for refused in [
        server.kill().await,
        server.stop().await,
        server.stop_immediate().await,
        server.start_again().await,
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, ControlError::NotOurs { .. }), "{error:?}");
        assert!(error.to_string().contains("not ours"), "{error}");
    }
    assert!(host.is_running());
}

#[tokio::test]
async fn dropped_visitor_leaves_no_database_and_no_prepared_transaction() {
    let host = host(|builder| builder).await;
    let server = visitor(&host)
        .database("a")
        .database("b")
        .start()
        .await
        .unwrap();
    prepare(&server.url("a"), "it's left", "create table held (id int)").await;
    let _open = connect(&server.url("b")).await;
    assert_eq!(prepared(&host.url("postgres")).await, ["it's left"]);

    drop(server);

    assert_eq!(prepared(&host.url("postgres")).await, [""; 0]);
    let mut connection = connect(&host.url("postgres")).await;
    let others =
        "select count(*) from pg_database where not datistemplate and datname <> 'postgres'";
    assert_eq!(number(&mut connection, others).await, 0);
}

#[tokio::test]
async fn server_without_prepared_transactions_is_refused_with_the_cure() {
    let host = host(|builder| builder.max_prepared_transactions(0)).await;
    let error = visitor(&host).database("bank").start().await.unwrap_err();
    assert!(matches!(error, StartError::Unsuitable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("alter system set max_prepared_transactions"),
        "{error}"
    );
}

#[tokio::test]
async fn user_without_the_right_is_refused_with_the_cure() {
    let host = host(|builder| builder).await;
    let mut connection = connect(&host.url("postgres")).await;
    sqlx::query("create role poor login")
        .execute(&mut connection)
        .await
        .unwrap();
    let url = host.url("postgres").replace("postgres@", "poor@");
    let error = Postgres::builder()
        .server_url(url)
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("createdb"), "{error}");
}

#[tokio::test]
async fn stopped_server_and_foreign_url_are_named_without_the_password() {
    let host = host(|builder| builder).await;
    host.stop().await.unwrap();
    let error = visitor(&host).start().await.unwrap_err();
    assert!(matches!(error, StartError::Unreachable { .. }), "{error:?}");

    let url = "mysql://me:secret@host/db";
    let error = Postgres::builder()
        .server_url(url)
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::BadChoice { .. }), "{error:?}");
    assert!(
        !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
}
