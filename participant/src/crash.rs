//! Named points at which a test may kill the process, in builds with the feature `crash-points`.
//!
//! With `ACCORDANT_CRASH_POINT=NAME` in the environment the process aborts when it reaches the
//! point; with `NAME:3`, when it reaches it for the third time. Without the feature the points are
//! nothing at all.

/// Every point, in the order of a branch's life. Those of `act` are passed by compensations and by
/// the calls of TCC branches too.
pub const POINTS: &[&str] = &[
    "participant.prepare.before_work",
    "participant.prepare.before_vote",
    "participant.prepare.after_vote",
    "participant.refuse.before_seal",
    "participant.refuse.after_seal",
    "participant.finish.before_commit_prepared",
    "participant.finish.after_commit_prepared",
    "participant.finish.before_rollback_prepared",
    "participant.finish.between_rollback_and_seal",
    "participant.finish.after_seal",
    "participant.act.before_work",
    "participant.act.before_commit",
    "participant.act.after_commit",
    "participant.act.before_seal",
    "participant.act.after_seal",
    "participant.outbox.after_send",
    "participant.local.before_submit",
    "participant.sweep.before_inquiry",
    "participant.sweep.before_finish",
];

/// The variable that names a point.
pub const VARIABLE: &str = "ACCORDANT_CRASH_POINT";

/// Passes a point.
#[cfg(feature = "crash-points")]
pub(crate) fn pass(point: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text)));
    if let Some((name, hit)) = chosen
        && name == point
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *hit
    {
        std::process::abort();
    }
}

#[cfg(feature = "crash-points")]
fn parse(text: &str) -> (String, u64) {
    match text.rsplit_once(':').map(|(name, hit)| (name, hit.parse())) {
        Some((name, Ok(hit))) => (name.to_owned(), hit),
        Some((_, Err(_))) | None => (text.to_owned(), 1),
    }
}

macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::pass($name);
    };
}

pub(crate) use crash_point;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_list_has_exactly_the_points_of_the_source() {
        let mut found = BTreeSet::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(path).unwrap();
                for (at, start) in text.match_indices("crash_point!(\"") {
                    let rest = &text[at + start.len()..];
                    found.insert(rest[..rest.find('"').unwrap()].to_owned());
                }
            }
        }
        let listed: BTreeSet<String> = super::POINTS.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, listed);
    }
}
