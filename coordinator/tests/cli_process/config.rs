//! Help, and the configuration by itself.

use accordant_coordinator::config::{FileLayer, Layer};

use super::support::run;

#[test]
fn help_lists_every_command_and_shows_no_value_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &["--help"]);
    assert_eq!(ran.code, Some(0));
    for command in ["serve", "transactions", "in-doubt", "status", "config"] {
        assert!(ran.out.contains(&format!("\n  {command} ")), "{}", ran.out);
    }
    let mut serve = super::support::accordant(folder.path());
    serve
        .args(["serve", "--help"])
        .env("ACCORDANT_JOURNAL", "postgres://u:hush@h/d");
    let help = String::from_utf8(serve.output().unwrap().stdout).unwrap();
    assert!(
        help.contains("--journal <URL>") && !help.contains("hush"),
        "{help}"
    );
}

#[test]
fn what_cannot_be_typed_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &[][..],
        &["sreve"],
        &["serve", "--colour"],
        &["config"],
        &["transactions", "show"],
        &["transactions", "list", "--open", "--closed"],
        &["transactions", "list", "--limit", "0"],
        &["status", "--url", "ftp://x"],
    ] {
        assert_eq!(run(folder.path(), arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn the_defaults_are_a_configuration_file_that_says_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &["config", "--show-defaults"]);
    assert_eq!(ran.code, Some(0));
    let path = folder.path().join("accordant.toml");
    std::fs::write(&path, &ran.out).unwrap();
    let file = FileLayer::read(&path).unwrap();
    assert_eq!(file.settings, Layer::defaults());
    assert!(file.participants.is_empty());
    let ran = run(
        folder.path(),
        &["config", "check", "--config", "accordant.toml"],
    );
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(
        ran.out
            .starts_with("accordant.toml: well; listen 127.0.0.1:7650"),
        "{}",
        ran.out
    );
}

#[test]
fn a_check_reports_every_fault_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = "shards = 1000\ncluster = \"x.y\"\n[participants]\nbank = \"https://b\"\n";
    std::fs::write(folder.path().join("c.toml"), text).unwrap();
    let ran = run(folder.path(), &["config", "check", "--config", "c.toml"]);
    assert_eq!(ran.code, Some(3));
    for fault in [
        "shards: 1000 is not between",
        "cluster: ",
        "participants.bank: ",
    ] {
        assert!(ran.err.contains(fault), "{}", ran.err);
    }
}
