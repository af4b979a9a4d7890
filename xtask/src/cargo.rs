//! Asks cargo.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// The root of the workspace that cargo runs us for. Not the one that we were built in: with a target
/// folder that is shared between clones, that may be another, and what is verified the wrong tree.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// What cargo prints.
pub(crate) fn output(arguments: &[&str]) -> Result<String> {
    let said = || format!("cargo {}", arguments.join(" "));
    let Output { status, stdout, stderr } = cargo(arguments)
        .output()
        .with_context(|| format!("{} did not start", said()))?;
    ensure!(
        status.success(),
        "{} failed:\n{}",
        said(),
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).with_context(|| format!("{} printed no text", said()))
}

/// Runs cargo and lets it speak for itself.
pub(crate) fn run(command: &mut Command) -> Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} did not start"))?;
    Ok(status.success())
}
