//! Who may depend on whom: the arrows of the house go down only.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cargo::output;
use crate::fault::Fault;

/// A crate of ours, what it may depend on, and what its tests may use besides.
struct Floor {
    name: &'static str,
    below: &'static [&'static str],
    tests: &'static [&'static str],
}

const fn floor(
    name: &'static str,
    below: &'static [&'static str],
    tests: &'static [&'static str],
) -> Floor {
    Floor { name, below, tests }
}

/// `coordinator`, `participant` and `client` never know each other; `testbed/postgres`,
/// `migrations` and `protocol` know nobody.
const HOUSE: [Floor; 12] = [
    floor("accordant-protocol", &[], &[]),
    floor("accordant-migrations", &[], &[]),
    floor("accordant-testbed-postgres", &[], &[]),
    floor("accordant-client", &["accordant-protocol"], &[]),
    floor(
        "accordant-participant",
        &["accordant-migrations", "accordant-protocol"],
        &["accordant-testbed-postgres"],
    ),
    // Its verb is one of the binary's; its tests try it on the real library.
    floor(
        "accordant-conform",
        &["accordant-protocol"],
        &["accordant-participant", "accordant-testbed-postgres"],
    ),
    floor(
        "accordant-coordinator",
        &[
            "accordant-conform",
            "accordant-migrations",
            "accordant-protocol",
        ],
        &["accordant-testbed-postgres"],
    ),
    floor("accordant-sim", &["accordant-protocol"], &[]),
    floor(
        "accordant-testbed",
        &[
            "accordant-client",
            "accordant-coordinator",
            "accordant-participant",
            "accordant-protocol",
            "accordant-testbed-postgres",
        ],
        &[],
    ),
    floor(
        "accordant-tests",
        &[
            "accordant-client",
            "accordant-coordinator",
            "accordant-participant",
            "accordant-protocol",
            "accordant-testbed",
            "accordant-testbed-postgres",
        ],
        &[],
    ),
    floor(
        "accordant-examples",
        &[
            "accordant-client",
            "accordant-coordinator",
            "accordant-participant",
            "accordant-protocol",
            "accordant-testbed",
            "accordant-testbed-postgres",
        ],
        &[],
    ),
    floor("xtask", &[], &[]),
];

/// Checks the manifests.
pub(crate) fn check() -> Result<Vec<Fault>> {
    let text = output(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ])?;
    let metadata = serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    Ok(faults(&arrows(&metadata)))
}

/// One dependency of a crate of ours on another.
#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    from: String,
    /// Absent for a crate without any, so that an unknown one is noticed.
    to: Option<String>,
    tests_only: bool,
}

fn arrows(metadata: &Value) -> Vec<Arrow> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: Vec<String> = packages.clone().map(name).collect();
    let mut arrows = Vec::new();
    for package in packages {
        let from = name(package);
        arrows.push(Arrow { from: from.clone(), to: None, tests_only: false });
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = name(dependency);
            if ours.contains(&to) {
                let tests_only = dependency["kind"].as_str() == Some("dev");
                arrows.push(Arrow { from: from.clone(), to: Some(to), tests_only });
            }
        }
    }
    arrows
}

fn faults(arrows: &[Arrow]) -> Vec<Fault> {
    arrows.iter().filter_map(fault).collect()
}

fn fault(Arrow { from, to, tests_only }: &Arrow) -> Option<Fault> {
    let Some(floor) = HOUSE.iter().find(|floor| floor.name == from.as_str()) else {
        let next = "give it its place in HOUSE in xtask/src/layers.rs, and in CONTRIBUTING.md";
        return to
            .is_none()
            .then(|| Fault::new(format!("{from} has no place in the house"), next));
    };
    let to = to.as_deref()?;
    let allowed = floor.below.contains(&to) || (*tests_only && floor.tests.contains(&to));
    let next = "move what both need down, or the code that needs both up (CONTRIBUTING.md, layers)";
    (!allowed).then(|| Fault::new(format!("{from} depends on {to}: no arrow goes there"), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, tests_only: bool) -> Arrow {
        Arrow { from: from.to_owned(), to: Some(to.to_owned()), tests_only }
    }

    #[test]
    fn an_arrow_that_goes_up_or_sideways_is_a_fault() {
        for (from, to) in [
            ("accordant-coordinator", "accordant-participant"),
            ("accordant-client", "accordant-coordinator"),
            ("accordant-participant", "accordant-client"),
            ("accordant-testbed-postgres", "accordant-protocol"),
            ("accordant-protocol", "accordant-migrations"),
        ] {
            assert_eq!(faults(&[arrow(from, to, false)]).len(), 1, "{from} {to}");
            assert_eq!(
                faults(&[arrow(from, to, true)]).len(),
                1,
                "{from} {to}, for tests"
            );
        }
    }

    #[test]
    fn a_test_may_use_the_private_postgres_and_the_crate_may_not() {
        let (from, to) = ("accordant-coordinator", "accordant-testbed-postgres");
        assert_eq!(faults(&[arrow(from, to, true)]), []);
        assert_eq!(faults(&[arrow(from, to, false)]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_a_fault_once() {
        let alone = Arrow {
            from: "accordant-new".to_owned(),
            to: None,
            tests_only: false,
        };
        assert_eq!(
            faults(&[alone, arrow("accordant-new", "accordant-protocol", false)]).len(),
            1
        );
    }

    #[test]
    fn arrows_are_read_from_the_metadata() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "dependencies": [
                { "name": "b", "kind": "dev" }, { "name": "serde", "kind": null },
            ] },
            { "name": "b", "dependencies": [] },
        ] });
        let lone = |name: &str| Arrow { from: name.to_owned(), to: None, tests_only: false };
        assert_eq!(
            arrows(&metadata),
            [lone("a"), arrow("a", "b", true), lone("b")]
        );
    }

    #[test]
    fn no_floor_stands_on_one_that_is_not_below_it() {
        for (at, floor) in HOUSE.iter().enumerate() {
            for below in floor.below.iter().chain(floor.tests) {
                let place = HOUSE.iter().position(|other| other.name == *below);
                assert!(
                    place.is_some_and(|place| place < at),
                    "{} {below}",
                    floor.name
                );
            }
        }
    }
}
