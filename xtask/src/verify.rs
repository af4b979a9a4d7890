//! `verify` runs every check and writes nothing; `fix` writes.

use anyhow::{Result, bail};

use crate::cargo::{cargo, run};
use crate::fault::Fault;
use crate::{crash_points, layers, purity, tidy};

type Check = (&'static str, fn() -> Result<Vec<Fault>>);

/// Cheap ones first.
const CHECKS: [Check; 7] = [
    ("tidy", tidy::check),
    ("layers", layers::check),
    ("purity", purity::check),
    ("crash-points", crash_points::check),
    ("fmt", fmt),
    ("clippy", clippy),
    ("docs", docs),
];

/// Runs the checks of these names, or all, and says whether all hold.
pub(crate) fn verify(names: &[&str]) -> Result<bool> {
    let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!(
            "there is no check {unknown:?}; there are: {}",
            known.join(", ")
        );
    }
    let chosen = CHECKS
        .iter()
        .filter(|(name, _)| names.is_empty() || names.contains(name));
    let mut broken = Vec::new();
    for (name, check) in chosen {
        println!("{name}");
        let faults = check()?;
        for fault in &faults {
            eprintln!("  {fault}");
        }
        if !faults.is_empty() {
            broken.push(*name);
        }
    }
    if broken.is_empty() {
        println!("all holds");
    } else {
        eprintln!("does not hold: {}", broken.join(", "));
    }
    Ok(broken.is_empty())
}

/// Formats, and applies what clippy can apply.
pub(crate) fn fix() -> Result<bool> {
    let mut clippy = cargo(&[
        "clippy",
        "--fix",
        "--workspace",
        "--all-targets",
        "--allow-dirty",
    ]);
    // Clippy's own changes want formatting too.
    Ok(run(&mut clippy)? && run(&mut cargo(&["fmt", "--all"]))?)
}

fn fmt() -> Result<Vec<Fault>> {
    let holds = run(&mut cargo(&["fmt", "--all", "--check"]))?;
    Ok(unless(
        holds,
        "the format is not rustfmt's",
        "run `cargo xtask fix`",
    ))
}

fn clippy() -> Result<Vec<Fault>> {
    let mut clippy = cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);
    let next = "mend what it names above; `cargo xtask fix` applies some of it";
    Ok(unless(
        run(&mut clippy)?,
        "clippy has something to say",
        next,
    ))
}

fn docs() -> Result<Vec<Fault>> {
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let next = "mend the links and items that it names above";
    Ok(unless(
        run(&mut docs)?,
        "the documentation does not build cleanly",
        next,
    ))
}

fn unless(holds: bool, what: &str, next: &str) -> Vec<Fault> {
    if holds {
        Vec::new()
    } else {
        vec![Fault::new(what, next)]
    }
}
