//! A server of our own: databases, crashes, restarts, and nothing left behind.

use std::time::Duration;

use crate::support::{connect, number, prepare, prepared};
use accordant_testbed_postgres::{ControlError, DatabaseError, LaunchError, Postgres, StartError};

/// Always ours, whatever the environment names; fast rather than durable.
fn builder() -> accordant_testbed_postgres::Builder {
    Postgres::builder().private().durable(false)
}

#[tokio::test]
async fn databases_exist_and_the_settings_hold() {
    let server = builder()
        .database("bank_a")
        .database("Bank \"B\" / ?")
        .max_prepared_transactions(7)
        .max_connections(21)
        .setting("application_name", "it's us")
        .start()
        .await
        .unwrap();
    server.create_database("late").await.unwrap();
    for name in ["bank_a", "Bank \"B\" / ?", "late"] {
        let mut connection = connect(&server.url(name)).await;
        let row: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(row, name);
    }
    let mut connection = connect(&server.url("bank_a")).await;
    for (setting, value) in [
        ("max_prepared_transactions", "7"),
        ("max_connections", "21"),
        ("application_name", "it's us"),
        ("listen_addresses", ""),
        ("fsync", "off"),
        ("synchronous_commit", "on"),
    ] {
        let found: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(found, value, "{setting}");
    }
    let (major, minor) = server.version();
    assert!(
        server
            .source()
            .starts_with(&format!("PostgreSQL {major}.{minor} from /"))
    );
    assert!(server.data_dir().unwrap().join("PG_VERSION").exists());
    assert!(matches!(
        server.create_database("bank_a").await,
        Err(DatabaseError::Refused { .. })
    ));
}

#[tokio::test]
async fn prepared_transaction_survives_every_stop_and_start() {
    let server = builder().database("bank").start().await.unwrap();
    let url = server.url("bank");
    let mut connection = connect(&url).await;
    sqlx::query("create table account (id int)")
        .execute(&mut connection)
        .await
        .unwrap();
    drop(connection);

    for (count, stop) in ["kill", "stop_immediate", "stop"].into_iter().enumerate() {
        prepare(&url, stop, "insert into account values (1)").await;
        let pid = server.pid().unwrap();
        match stop {
            "kill" => server.kill().await.unwrap(),
            "stop_immediate" => server.stop_immediate().await.unwrap(),
            _ => server.stop().await.unwrap(),
        }
        assert!(!server.is_running() && server.pid().is_none(), "{stop}");
        server.start_again().await.unwrap();
        assert!(server.is_running() && server.pid() != Some(pid), "{stop}");
        assert_eq!(server.url("bank"), url);
        assert_eq!(prepared(&url).await.len(), count + 1, "{stop}");
    }
    let mut connection = connect(&url).await;
    sqlx::raw_sql("commit prepared 'kill'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(
        number(&mut connection, "select count(*) from account").await,
        1
    );
}

#[tokio::test]
async fn stopping_and_starting_twice_does_nothing_more() {
    let server = builder().start().await.unwrap();
    let pid = server.pid();
    server.start_again().await.unwrap();
    assert_eq!(server.pid(), pid);
    server.kill().await.unwrap();
    server.kill().await.unwrap();
    server.stop().await.unwrap();
    assert!(matches!(
        server.create_database("x").await,
        Err(DatabaseError::Refused { .. })
    ));
}

#[tokio::test]
async fn restart_waits_for_a_backend_that_outlives_the_server() {
    let server = builder().database("bank").start().await.unwrap();
    let mut connection = connect(&server.url("bank")).await;
    // Busy in the processor: it does not notice that the server is gone until the loop ends.
    let busy = tokio::spawn(async move {
        let statement = "do $$ declare until timestamptz := clock_timestamp() + '2 s'; begin
             while clock_timestamp() < until loop end loop; end $$";
        drop(sqlx::raw_sql(statement).execute(&mut connection).await);
    });
    let mut watcher = connect(&server.url("postgres")).await;
    let active =
        "select count(*) from pg_stat_activity where state = 'active' and query like 'do %'";
    while number(&mut watcher, active).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill().await.unwrap();
    server.start_again().await.unwrap();
    let log = std::fs::read_to_string(server.log_file().unwrap()).unwrap();
    assert!(log.contains("pre-existing shared memory block"), "{log}");
    busy.await.unwrap();
}

#[tokio::test]
async fn two_servers_live_side_by_side() {
    let (one, two) = tokio::join!(
        builder().database("bank").start(),
        builder().database("bank").durable(true).start(),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url("bank"), two.url("bank"));
    // A gid is unique per server, so the same one shows that these are two.
    for server in [&one, &two] {
        prepare(&server.url("bank"), "same", "select 1").await;
    }
    one.kill().await.unwrap();
    assert_eq!(prepared(&two.url("bank")).await, ["same"]);
}

#[tokio::test]
async fn dropped_server_leaves_no_process_and_no_folder() {
    for killed in [false, true] {
        let server = builder().database("bank").start().await.unwrap();
        let _open = connect(&server.url("bank")).await;
        let (pid, data) = (server.pid().unwrap(), server.data_dir().unwrap());
        if killed {
            server.kill().await.unwrap();
        }
        drop(server);
        assert!(!data.parent().unwrap().exists(), "killed: {killed}");
        assert!(!crate::support::is_process(pid), "killed: {killed}");
        for _ in 0..200 {
            if crate::support::processes_in(&data).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            crate::support::processes_in(&data),
            [0; 0],
            "killed: {killed}"
        );
    }
}

#[tokio::test]
async fn server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(builder().database("bank").start())
            .unwrap()
    })
    .join()
    .unwrap();
    // The death signal, if it came, would come at once; the server would then be gone within this
    // time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.is_running());
    connect(&server.url("bank")).await;
}

#[tokio::test]
async fn refused_setting_shows_the_log_of_the_server() {
    let error = builder()
        .setting("no_such_setting", "1")
        .start()
        .await
        .unwrap_err();
    let StartError::Launch { source: LaunchError::Ended { log, .. }, .. } = error else {
        panic!("{error:?}");
    };
    assert!(log.contains("no_such_setting"), "{log}");

    let error = builder().setting("port", "1").start().await.unwrap_err();
    assert!(matches!(error, StartError::Setting { .. }), "{error:?}");
}

#[tokio::test]
async fn failed_restart_leaves_the_data_and_says_why() {
    let server = builder().database("bank").start().await.unwrap();
    server.stop().await.unwrap();
    let conf = server.data_dir().unwrap().join("postgresql.auto.conf");
    std::fs::write(&conf, "no_such_setting = 1\n").unwrap();
    let error = server.start_again().await.unwrap_err();
    let ControlError::Launch(LaunchError::Ended { log, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(log.contains("no_such_setting"), "{log}");
    std::fs::write(&conf, "").unwrap();
    server.start_again().await.unwrap();
    connect(&server.url("bank")).await;
}
