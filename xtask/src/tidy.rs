//! Files by size and name.

use anyhow::Result;

use crate::cargo::root;
use crate::fault::Fault;
use crate::source::{Source, sources};

/// A target, not a limit: a longer file is named, and does not fail the check.
const LINES_MAX: usize = 600;

/// A helper lives with the noun that it serves.
const NAMES_REFUSED: [&str; 6] = [
    "util.rs",
    "utils.rs",
    "helper.rs",
    "helpers.rs",
    "common.rs",
    "misc.rs",
];

/// Checks every source of the workspace, and prints what only deserves a look.
pub(crate) fn check() -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for source in sources(&root())? {
        faults.extend(name_fault(&source));
        for note in notes(&source) {
            println!("    note: {note}");
        }
    }
    Ok(faults)
}

fn name_fault(source: &Source) -> Option<Fault> {
    let parts = source.name.split('/');
    let refused = parts.clone().any(|part| {
        NAMES_REFUSED.contains(&part) || NAMES_REFUSED.contains(&format!("{part}.rs").as_str())
    });
    let next = "name it after what it does, or put each part where it is used";
    refused.then(|| Fault::new(format!("{}: the name says nothing", source.name), next))
}

fn notes(source: &Source) -> Vec<String> {
    let mut notes = Vec::new();
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        notes.push(format!(
            "{}: {lines} lines; about {LINES_MAX} are the target",
            source.name
        ));
    }
    if source.file() == "mod.rs" {
        // Cheap: a function that begins a line, at any visibility.
        let logic = source.code().find(|(_, line)| is_function(line));
        notes.extend(logic.map(|(line, _)| {
            format!(
                "{}:{line}: a mod.rs holds docs, mod and use; no logic",
                source.name
            )
        }));
    }
    notes
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || matches!(*word, "const" | "async" | "unsafe")
    });
    words.next() == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_name_that_says_nothing_is_a_fault_as_file_and_as_folder() {
        for name in ["a/src/util.rs", "a/src/common/mod.rs", "helpers.rs"] {
            assert!(name_fault(&source(name, "")).is_some(), "{name}");
        }
        for name in ["a/src/utility.rs", "common_sense/src/lib.rs"] {
            assert!(name_fault(&source(name, "")).is_none(), "{name}");
        }
    }

    #[test]
    fn a_long_file_is_named() {
        let long = "\n".repeat(LINES_MAX + 1);
        assert_eq!(notes(&source("a.rs", &long)).len(), 1);
        assert_eq!(notes(&source("a.rs", &"\n".repeat(LINES_MAX))), [""; 0]);
    }

    #[test]
    fn logic_in_a_mod_rs_is_named() {
        let plain = "//! Docs: fn x() {}\nmod a;\npub use a::A;\n";
        assert_eq!(notes(&source("a/mod.rs", plain)), [""; 0]);
        for logic in [
            "fn x() {}",
            "pub(crate) const fn x() {}",
            "    pub async fn x() {}",
        ] {
            assert_eq!(notes(&source("a/mod.rs", logic)).len(), 1, "{logic}");
            assert_eq!(notes(&source("a/b.rs", logic)), [""; 0]);
        }
    }
}
