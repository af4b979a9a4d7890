//! Named points at which a test may kill the process. Without the feature `crash-points` they
//! compile to nothing, and a build that has them refuses to serve unless it is told to.

/// Whether this build contains crash points.
pub const COMPILED_IN: bool = cfg!(feature = "crash-points");

/// Every crash point that a committed atomic plan passes, in the order in which it does.
pub const POINTS: &[&str] = &[
    "coordinator.begun.appended",
    "coordinator.begun.durable",
    "coordinator.prepare.sending",
    "coordinator.vote.received",
    "coordinator.decision.appended",
    "coordinator.decision.durable",
    "coordinator.finish.sending",
    "coordinator.finish.answered",
    "coordinator.reply.sending",
    "coordinator.closed.durable",
];

/// Those that only plans with actions pass.
pub const ACTION_POINTS: &[&str] = &[
    "coordinator.started.appended",
    "coordinator.started.durable",
    "coordinator.act.sending",
    "coordinator.act.answered",
    "coordinator.done.appended",
    "coordinator.done.durable",
    "coordinator.compensated.appended",
    "coordinator.compensated.durable",
    "coordinator.stuck.appended",
    "coordinator.stuck.durable",
    "coordinator.resolved.appended",
    "coordinator.resolved.durable",
];

/// Kills the process as `kill -9` would, if `ACCORDANT_CRASH_POINT` names this point: `NAME`, or
/// `NAME:N` for the N-th time that it is passed.
#[cfg(feature = "crash-points")]
pub fn reach(point: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("ACCORDANT_CRASH_POINT").ok()?;
        let (name, times) = text.rsplit_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), times.parse().unwrap_or(1)))
    });
    let Some((name, times)) = chosen else { return };
    if name == point && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times {
        let _killed =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// Does nothing: this build has no crash points.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub const fn reach(_point: &str) {}

#[cfg(test)]
mod tests {
    use super::{ACTION_POINTS, POINTS};

    #[test]
    fn every_point_in_the_sources_is_listed_and_every_listed_one_is_there() {
        let mut found = Vec::new();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let uses = text.split("crash::reach(\"").skip(1);
                    found.extend(
                        uses.filter_map(|it| it.split('"').next())
                            .map(str::to_owned),
                    );
                }
            }
        }
        found.sort();
        found.dedup();
        let mut listed: Vec<_> = POINTS
            .iter()
            .chain(ACTION_POINTS)
            .map(|&it| it.to_owned())
            .collect();
        listed.sort();
        assert_eq!(found, listed);
    }
}
