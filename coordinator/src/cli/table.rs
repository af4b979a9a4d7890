//! Showing things to people.

use std::io::Write;

use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::cut;
use bytes::Bytes;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock;

/// Bytes of one cell; the rest is in the JSON.
const CELL_BYTES_MAX: usize = 200;

/// A table with these headings, without lines, so that the usual tools can cut it.
pub(super) fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings);
    table
}

/// A text from elsewhere: bounded, and without what could command a terminal.
pub(super) fn cell(text: &str) -> String {
    cut(text, CELL_BYTES_MAX)
}

/// A time, to the second, in UTC.
pub(super) fn at(time: Timestamp) -> String {
    let seconds = i64::try_from(time.as_millis() / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} ms", time.as_millis()))
}

/// How long ago, in the two largest units.
pub(super) fn age(time: Timestamp) -> String {
    span(clock::now().millis_since(time) / 1000)
}

/// How many seconds ago.
pub(super) fn age_s(time: Timestamp) -> u64 {
    clock::now().millis_since(time) / 1000
}

fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d{}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// A value of the API in the word that the API uses for it.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// Prints lines to standard output.
pub(super) fn print(text: impl std::fmt::Display) -> std::io::Result<()> {
    let text = text.to_string();
    let mut out = std::io::stdout().lock();
    for line in text.trim_end_matches('\n').split('\n') {
        // Tables fill their last column with blanks.
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints a reply as it came.
pub(super) fn print_json(body: &Bytes) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(body)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_readable() {
        assert_eq!(
            at(Timestamp::from_millis(1_700_000_000_123)),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(
            at(Timestamp::from_millis(u64::MAX)),
            format!("{} ms", u64::MAX)
        );
        let spans = [0, 59, 60, 3_599, 3_600, 86_399, 90_000].map(span);
        assert_eq!(
            spans,
            ["0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d1h"]
        );
    }

    #[test]
    fn a_text_from_elsewhere_cannot_command_the_terminal() {
        assert_eq!(cell("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert!(cell(&"x".repeat(1000)).len() <= CELL_BYTES_MAX);
    }
}
