//! `accordant-protocol` is pure: no input or output, no clock, no randomness, no tasks.

use anyhow::Result;

use crate::cargo::{output, root};
use crate::fault::Fault;
use crate::source::{Source, sources};

/// What the protocol may stand on, at any depth: values and their form, and what derives them.
const ALLOWED: [&str; 15] = [
    "accordant-protocol",
    "itoa",
    "memchr",
    "proc-macro2",
    "quote",
    "ryu",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
    "zmij",
];

/// What its source may not name, and what stands in for it.
const BANNED: [(&str, &str); 14] = [
    ("std::time", "the time is an argument: `time::Timestamp`"),
    ("std::env", "settings are values in a config"),
    ("std::net", "ask for a call with an effect"),
    ("std::fs", "ask for an append with an effect"),
    ("std::process", "ask for it with an effect"),
    ("std::thread", "a machine is stepped by its driver"),
    ("thread_local!", "state is a field of a machine"),
    ("std::io", "ask for it with an effect"),
    ("rand::", "random bits are part of an event"),
    ("getrandom", "random bits are part of an event"),
    ("HashMap", "its order varies: use BTreeMap"),
    ("HashSet", "its order varies: use BTreeSet"),
    ("println!", "return what there is to say"),
    ("async ", "a machine is stepped by its driver"),
];

/// Checks the dependency tree with every feature, then the source.
pub(crate) fn check() -> Result<Vec<Fault>> {
    let tree = output(&[
        "tree",
        "--offline",
        "--package",
        "accordant-protocol",
        "--edges",
        "normal",
        "--all-features",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let mut faults = tree_faults(&tree);
    for source in sources(&root().join("protocol/src"))? {
        faults.extend(source_faults(&source));
    }
    Ok(faults)
}

fn tree_faults(tree: &str) -> Vec<Fault> {
    let mut names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !name.is_empty() && !ALLOWED.contains(name));
    let fault = |name: &str| {
        Fault::new(
            format!("accordant-protocol depends on {name}"),
            format!(
                "do without it (`cargo tree -p accordant-protocol -i {name}` shows who brings it); \
                 if it neither reads a clock nor does I/O, add it to ALLOWED in xtask/src/purity.rs"
            ),
        )
    };
    names.into_iter().map(fault).collect()
}

fn source_faults(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (line, text) in source.code() {
        for (banned, instead) in BANNED {
            if names(text, banned) {
                let what = format!(
                    "{}:{line}: the protocol is pure, and this is not: {banned}",
                    source.name
                );
                faults.push(Fault::new(what, instead));
            }
        }
    }
    faults
}

/// Whether a line names something, and not something else that ends in the same letters.
fn names(text: &str, banned: &str) -> bool {
    text.match_indices(banned).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_is_not_on_the_list_is_a_fault_once() {
        let tree = "accordant-protocol v0.1.0 (/x)\nserde v1.0.0\ntokio v1.0.0\ntokio v1.0.0\n\n";
        let faults = tree_faults(tree);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].what.ends_with("depends on tokio"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn an_impure_line_is_a_fault_and_a_comment_or_longer_name_is_not() {
        let source = |text: &str| Source { name: "a.rs".to_owned(), text: text.to_owned() };
        for text in [
            "use std::time::Instant;",
            "let x = std::env::var(\"X\");",
            "use rand::Rng;",
            "let map: HashMap<u8, u8>;",
            "pub async fn step() {}",
        ] {
            assert_eq!(source_faults(&source(text)).len(), 1, "{text}");
        }
        for text in [
            "// std::time is an input",
            "/// a HashMap",
            "use operand::x;",
            "env!(\"X\")",
        ] {
            assert_eq!(source_faults(&source(text)), [], "{text}");
        }
    }
}
