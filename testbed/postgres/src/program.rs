//! Other programs: run them, bounded in time, and keep what they said for the error message.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::limits;

/// Runs a quick question and returns what it printed.
pub(crate) async fn probe(command: Command) -> Result<String, String> {
    run(command, limits::PROBE_WITHIN).await
}

/// Runs a program to its end and returns its standard output.
///
/// The error is a fragment for a message: why it did not start, or how it ended and its last
/// lines. The program is killed when it takes too long or when the future is dropped.
pub(crate) async fn run(command: Command, within: Duration) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true);
    let output = match tokio::time::timeout(within, command.output()).await {
        Err(_) => return Err(format!("`{name}` was stopped after {} s", within.as_secs())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("`{name}` is not installed"));
        }
        Ok(Err(error)) => return Err(format!("`{name}` cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = if said.trim().is_empty() {
        "it printed no error".into()
    } else {
        tail(&said)
    };
    Err(format!("`{name}` failed ({}): {said}", output.status))
}

/// The last lines of a text, trimmed.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    let from = lines.len().saturating_sub(limits::TAIL_LINES_MAX);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn missing_program_is_named() {
        let error = probe(Command::new("no-such-program-here"))
            .await
            .unwrap_err();
        assert_eq!(error, "`no-such-program-here` is not installed");
    }

    #[tokio::test]
    async fn failed_program_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken >&2; exit 3"]);
        let error = probe(command).await.unwrap_err();
        assert_eq!(error, "`sh` failed (exit status: 3): broken");
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        let text: String = (0..40).map(|n| format!("line {n}\n")).collect();
        let tail = tail(&text);
        assert!(
            tail.starts_with("line 25\n") && tail.ends_with("line 39"),
            "{tail}"
        );
    }
}
