//! The tables in `docs/protocol.md` are the tables in the code.

use std::path::Path;

use accordant_protocol::{action, branch, group};

/// The document with a table put between its markers.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- table: {name} -->\n"),
        format!("<!-- end: {name} -->"),
    );
    let (before, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no line {begin:?}"));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("no line {end:?}"));
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_tables_in_the_document_are_those_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = with_table(&text, "group", &group::TableMarkdown.to_string());
    let expected = with_table(&expected, "branch", &branch::TableMarkdown.to_string());
    let expected = with_table(&expected, "action", &action::TableMarkdown.to_string());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        text == expected,
        "a table in docs/protocol.md is not the one in the code; write it anew with\n    \
         UPDATE_DOCS=1 cargo test -p accordant-protocol --test docs\nand read what changed"
    );
}
