//! No build that serves has crash points: no default member switches them on.

use anyhow::Result;

use crate::cargo::output;
use crate::fault::Fault;

const FEATURE: &str = "crash-points";

/// Checks the features of what `cargo build` makes, and of each service built alone.
pub(crate) fn check() -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for package in [
        None,
        Some("accordant-coordinator"),
        Some("accordant-participant"),
    ] {
        let mut arguments = vec![
            "tree",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
        ];
        arguments.extend(package.iter().flat_map(|package| ["--package", package]));
        faults.extend(tree_faults(
            &output(&arguments)?,
            package.unwrap_or("the default members"),
        ));
    }
    Ok(faults)
}

fn tree_faults(tree: &str, built: &str) -> Vec<Fault> {
    let has = |line: &&str| {
        line.split_once('|').is_some_and(|(_, features)| {
            features.split([',', ' ']).any(|feature| feature == FEATURE)
        })
    };
    let mut names: Vec<&str> = tree
        .lines()
        .filter(has)
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    let fault = |name: &str| {
        let next = format!(
            "a release could be killed by a name in its environment: take `{FEATURE}` out of the \
             default features and of every dependency but those of `tests`"
        );
        Fault::new(
            format!("a build of {built} has the crash points of {name}"),
            next,
        )
    };
    names.into_iter().map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_the_feature_is_a_fault_once() {
        let tree = "accordant-coordinator v0.1.0 (/x)|crash-points,default\n\
                    accordant-coordinator v0.1.0 (/x)|crash-points,default (*)\n\
                    serde v1.0.0|default,std\naccordant-participant v0.1.0 (/y)|\n";
        let faults = tree_faults(tree, "it");
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].what.ends_with("of accordant-coordinator"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn a_feature_of_a_longer_name_is_none_of_ours() {
        assert_eq!(tree_faults("a v1|no-crash-points\n", "it"), []);
    }
}
