//! Starting, refusing to start, and stopping.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::support::{Serving, accordant, poll, refused, silent_participant};

#[test]
fn serving_needs_no_configuration() {
    let serving = Serving::start(&[]);
    assert_eq!(serving.get("/livez").0, 200);
    assert_eq!(serving.get("/readyz"), (200, "{\"ready\":true}".to_owned()));
    assert!(
        serving
            .get("/metrics")
            .1
            .contains("accordant_open_transactions{")
    );
    let line = format!(
        "accordant {} listens on {}, journal sqlite:accordant.db, participants 0\n",
        env!("CARGO_PKG_VERSION"),
        serving.url()
    );
    assert_eq!(serving.out(), line);
    assert!(serving.folder.path().join("accordant.db").exists());
    assert!(
        serving.err().contains("no participants are registered"),
        "{}",
        serving.err()
    );
}

#[test]
fn a_second_coordinator_on_the_same_journal_is_refused_and_told_why() {
    let serving = Serving::start(&[]);
    let ran = refused(serving.folder.path(), &[]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(
        ran.err.contains("in use by another coordinator (process "),
        "{ran:?}"
    );
    assert_eq!(serving.get("/readyz").0, 200);
}

#[test]
fn a_signal_ends_it_with_0_and_the_next_start_serves() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Serving::start(&[]);
        serving.signal(signal);
        assert_eq!(serving.code(), Some(0), "{}", serving.err());
        assert!(!serving.folder.path().join("ready.json").exists());
        let folder = serving.crash();
        Serving::start_in(folder, &[]);
    }
}

#[test]
fn after_a_crash_the_next_start_finds_what_was_decided() {
    let bank = format!("bank={}", silent_participant());
    let shop = format!("shop={}", silent_participant());
    let arguments = [
        "--participant",
        bank.as_str(),
        "--participant",
        shop.as_str(),
    ];
    let serving = Serving::start(&arguments);
    let status = serving.submit("k1", &["bank", "shop"]);
    assert_eq!(status["outcome"], "committed");
    let serving = Serving::start_in(serving.crash(), &arguments);
    let found = serving
        .ask(&["transactions", "show", "--key", "k1", "--json"])
        .json();
    assert_eq!(
        (&found["id"], &found["outcome"]),
        (&status["id"], &"committed".into())
    );
}

#[test]
fn a_shutdown_waits_for_open_transactions_and_a_second_signal_does_not() {
    let bank = format!("bank={}", silent_participant());
    let shop = format!("shop={}", silent_participant());
    let participants = ["--participant", &bank, "--participant", &shop];
    let arguments = [&participants[..], &["--drain-max-ms", "600000"]].concat();
    let mut serving = Serving::start(&arguments);
    let status = serving.submit("k1", &["bank", "shop"]);
    serving.signal(Signal::TERM);
    let draining = poll(|| {
        let (status, body) = serving.get("/readyz");
        (status == 503).then_some(body)
    });
    assert!(draining.unwrap().contains("shutting down"));
    // Participants and clients still get their answers.
    let id = status["id"].as_str().unwrap();
    assert_eq!(serving.get(&format!("/v1/transactions/{id}")).0, 200);
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(), Some(130));

    let arguments = [&participants[..], &["--drain-max-ms", "100"]].concat();
    let mut serving = Serving::start_in(serving.crash(), &arguments);
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(), Some(0), "{}", serving.err());
    assert!(
        serving.err().contains("stopping with open transactions"),
        "{}",
        serving.err()
    );
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
    for (arguments, words) in [
        (
            &["--config", "c.toml"][..],
            "lisen: there is no such key; did you mean listen?",
        ),
        (&["--config", "absent.toml"], "absent.toml cannot be read"),
        (
            &["--participant", "bank=bank.example"],
            "participants.bank: the address",
        ),
        (
            &["--participant", "b a=http://b"],
            "participants.b a: the name has ' '",
        ),
        (&["--cluster", "Prod"], "cluster: a cluster's name"),
        (
            &["--journal", "accordant.db"],
            "journal: must be sqlite:PATH",
        ),
        (
            &["--lease-ms", "1"],
            "lease_ms: 1 is not between 300 and 600000",
        ),
    ] {
        let ran = refused(folder.path(), arguments);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.err.contains(words), "{ran:?}");
    }
    assert!(!folder.path().join("accordant.db").exists());
}

#[test]
fn what_is_not_safe_is_refused_unless_it_is_asked_for_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let ran = refused(folder.path(), &["--listen", "0.0.0.0:0"]);
    assert_eq!(
        ran.code,
        Some(2),
        "a flag given twice is a mistake: {ran:?}"
    );
    let mut command = accordant(folder.path());
    let open = ["serve", "--unsafe-test-build", "--listen", "0.0.0.0:0"];
    let output = command.args(open).stdout(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--insecure"));
    let ran = refused(folder.path(), &["--journal", "memory:"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.err.contains("--volatile"), "{ran:?}");
    assert!(!folder.path().join("accordant.db").exists());

    let serving = Serving::start(&["--journal", "memory:", "--volatile"]);
    assert!(
        serving.err().contains("the journal is in memory"),
        "{}",
        serving.err()
    );
    let folder = tempfile::tempdir().unwrap();
    let mut command = accordant(folder.path());
    command.args(["serve", "--listen", "0.0.0.0:0", "--insecure"]);
    let serving = Serving::spawn(folder, command);
    assert!(
        serving.err().contains("without authentication and TLS"),
        "{}",
        serving.err()
    );
}

#[test]
fn a_build_with_crash_points_serves_only_if_told_to() {
    let folder = tempfile::tempdir().unwrap();
    if accordant_coordinator::crash::COMPILED_IN {
        let output = accordant(folder.path()).arg("serve").output().unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--unsafe-test-build"));
    }
}

#[test]
fn a_journal_that_cannot_be_opened_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    for (journal, words) in [
        (
            "postgres://me:hush@127.0.0.1:1/db?password=hush",
            "is PostgreSQL running there",
        ),
        ("sqlite:no/such/folder/a.db", "no/such/folder"),
    ] {
        let ran = refused(folder.path(), &["--journal", journal]);
        assert_eq!(ran.code, Some(5), "{ran:?}");
        assert!(ran.err.contains(words), "{ran:?}");
        assert!(
            !ran.err.contains("hush") && !ran.out.contains("hush"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let serving = Serving::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = accordant(folder.path());
    command.args([
        "serve",
        "--unsafe-test-build",
        "--listen",
        &serving.address.to_string(),
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another port with --listen"));
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = "listen = \"127.0.0.1:1\"\njournal = \"sqlite:file.db\"\nlog_format = \"json\"\n\
                [participants]\nbank = \"http://file\"\nshop = \"http://file\"\n";
    std::fs::write(folder.path().join("c.toml"), file).unwrap();
    let mut command = accordant(folder.path());
    command.args(["serve", "--config", "c.toml", "--journal", "sqlite:flag.db"]);
    command.env("ACCORDANT_LISTEN", "127.0.0.1:0");
    command.env("ACCORDANT_JOURNAL", "sqlite:environment.db");
    command.env(
        "ACCORDANT_PARTICIPANTS",
        "bank=http://environment,inn=http://environment",
    );
    let serving = Serving::spawn(folder, command);
    assert!(serving.folder.path().join("flag.db").exists());
    let status = serving.ask(&["status", "--json"]).json();
    let participants = status["participants"].as_array().unwrap();
    let addresses: Vec<_> = participants
        .iter()
        .map(|it| it["address"].as_str().unwrap())
        .collect();
    assert_eq!(
        addresses,
        ["http://environment/", "http://environment/", "http://file/"]
    );
    for line in serving.err().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
