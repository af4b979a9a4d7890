//! Looking at a coordinator: tables for people, JSON for programs, exit codes for scripts.

use super::support::{Serving, run, server, silent_participant};

fn serving() -> Serving {
    let bank = format!("bank={}", silent_participant());
    let shop = format!("shop={}", silent_participant());
    Serving::start(&["--participant", &bank, "--participant", &shop])
}

fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn transactions_are_listed_as_a_table_and_as_json() {
    let serving = serving();
    let ran = serving.ask(&["transactions", "list"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "no such transactions\n")
    );
    let ids: Vec<String> = (0..3)
        .map(|n| serving.submit(&format!("k{n}"), &["bank", "shop"]))
        .map(|status| status["id"].as_str().unwrap().to_owned())
        .collect();

    let ran = serving.ask(&["transactions", "list"]);
    let lines: Vec<_> = ran.out.lines().map(columns).collect();
    assert_eq!(lines[0], ["ID", "OUTCOME", "CLOSED", "BEGUN", "AGE", "KEY"]);
    assert_eq!(lines.len(), 4, "{}", ran.out);
    assert_eq!(
        (lines[1][0], lines[1][1], lines[1][2]),
        (ids[2].as_str(), "committed", "no")
    );
    assert_eq!(lines[1][5], "k2");

    let json = serving
        .ask(&["transactions", "list", "--open", "--json"])
        .json();
    let listed: Vec<_> = json["transactions"].as_array().unwrap().iter().collect();
    let listed: Vec<_> = listed.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(listed, [&ids[2], &ids[1], &ids[0]]);
    for (filter, count) in [
        (&["--closed"][..], 0),
        (&["--outcome", "committed"], 3),
        (&["--outcome", "aborted"], 0),
        (&["--attention"], 0),
    ] {
        let arguments = [&["transactions", "list", "--json"], filter].concat();
        let json = serving.ask(&arguments).json();
        assert_eq!(
            json["transactions"].as_array().unwrap().len(),
            count,
            "{filter:?}"
        );
    }

    let ran = serving.ask(&["transactions", "list", "--limit", "2"]);
    assert!(
        ran.out.ends_with("... and more: raise --limit above 2\n"),
        "{}",
        ran.out
    );
    let json = serving
        .ask(&["transactions", "list", "--limit", "2", "--json"])
        .json();
    assert_eq!(json["transactions"].as_array().unwrap().len(), 2);
    assert!(json["next_cursor"].is_string());
}

#[test]
fn a_transaction_is_shown_by_id_and_by_key_with_its_branches() {
    let serving = serving();
    let status = serving.submit("order 1/a".replace(' ', "-").as_str(), &["bank", "shop"]);
    let id = status["id"].as_str().unwrap();
    let ran = serving.ask(&["transactions", "show", id]);
    assert_eq!(ran.code, Some(0));
    for (name, value) in [
        ("transaction", id),
        ("outcome", "committed"),
        ("state", "committing"),
        ("key", "order-1/a"),
        ("tenant", "default"),
    ] {
        let found = ran.out.lines().map(columns).any(|it| it == [name, value]);
        assert!(found, "{name} {value}: {}", ran.out);
    }
    let branch = ran
        .out
        .lines()
        .map(columns)
        .find(|it| it.contains(&"at-shop"))
        .unwrap();
    assert_eq!(
        branch[..4],
        ["1", "at-shop", "shop", "committing"],
        "{}",
        ran.out
    );
    let json = serving
        .ask(&["transactions", "show", "--key", "order-1/a", "--json"])
        .json();
    assert_eq!(json["id"], id);
    assert_eq!(json["branches"][0]["result"]["seen"], 7);
}

#[test]
fn what_is_in_doubt_is_listed_and_says_so_by_the_exit_code() {
    let serving = serving();
    let ran = serving.ask(&["in-doubt"]);
    let none = "0 of 0 open transactions are in doubt\n";
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), none));
    let status = serving.submit("k1", &["bank", "shop"]);
    let id = status["id"].as_str().unwrap();
    let ran = serving.ask(&["in-doubt"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out
            .starts_with("1 of 1 open transactions are in doubt\n"),
        "{}",
        ran.out
    );
    let rows: Vec<_> = ran
        .out
        .lines()
        .map(columns)
        .filter(|it| it.contains(&id))
        .collect();
    assert_eq!(rows.len(), 2, "one for each branch: {}", ran.out);
    assert_eq!(
        (rows[0][2], rows[0][3], rows[0][4]),
        ("committed", "committing", "at-bank")
    );
    let ran = serving.ask(&["in-doubt", "--json"]);
    assert_eq!(
        (ran.code, &ran.json()["transactions"][0]["id"]),
        (Some(1), &id.into())
    );
    let ran = serving.ask(&["in-doubt", "--older-than-s", "3600", "--json"]);
    assert_eq!((ran.code, ran.json()["count"].as_u64()), (Some(0), Some(1)));
    assert!(ran.json()["transactions"].as_array().unwrap().is_empty());
}

#[test]
fn the_status_shows_readiness_participants_and_partitions() {
    let serving = serving();
    let ran = serving.ask(&["status"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.out.starts_with(&format!("{} ready: ", serving.url())),
        "{}",
        ran.out
    );
    let lines: Vec<_> = ran.out.lines().map(columns).collect();
    assert!(
        lines
            .iter()
            .any(|it| it.first() == Some(&"bank") && it.last() == Some(&"no"))
    );
    assert_eq!(
        lines.iter().filter(|it| it.last() == Some(&"yes")).count(),
        16,
        "{}",
        ran.out
    );
    let json = serving.ask(&["status", "--json"]).json();
    assert_eq!(
        (&json["ready"], json["partitions"].as_array().unwrap().len()),
        (&true.into(), 16)
    );
}

#[test]
fn what_cannot_be_shown_says_why_and_what_to_do() {
    let serving = serving();
    // As young as one that is recorded, and of the same journal; an old one would be expired.
    let recorded = serving.submit("k1", &["bank", "shop"]);
    let recorded = recorded["id"].as_str().unwrap();
    let id = &format!("{}{}", &recorded[..recorded.len() - 26], "0".repeat(26));
    for (arguments, code, words) in [
        (&["transactions", "show", id][..], 8, "is not recorded"),
        (
            &["transactions", "show", "--key", "k"],
            8,
            "send it again with the same key",
        ),
        (
            &["transactions", "show", "nonsense"],
            11,
            "a transaction id has four parts",
        ),
        (
            &["transactions", "show", "../readyz?x"],
            11,
            "a transaction id has four parts",
        ),
    ] {
        let ran = serving.ask(arguments);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.err.contains(words), "{ran:?}");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_coordinator_that_is_not_there_or_none_at_all_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(&[]);
    let url = serving.url();
    drop(serving);
    for command in [&["status"][..], &["in-doubt"], &["transactions", "list"]] {
        let ran = run(folder.path(), &[command, &["--url", &url]].concat());
        assert_eq!(ran.code, Some(9), "{ran:?}");
        assert!(ran.err.contains(&url) && ran.err.contains("is `accordant serve` running there?"));
        let other = server(|_, _| (200, "<html>Welcome</html>".to_owned()));
        let ran = run(folder.path(), &[command, &["--url", &other]].concat());
        assert_eq!(ran.code, Some(11), "{ran:?}");
        assert!(ran.err.contains("is not a coordinator"), "{ran:?}");
    }
}
