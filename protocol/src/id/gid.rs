//! The name under which PostgreSQL knows a prepared branch.

use std::fmt;
use std::str::FromStr;

use super::gtid::{Gtid, GtidError};
use super::number::BranchIndex;
use crate::limits::{GID_BYTES_MAX, UNITS_MAX};

/// The identifier given to `PREPARE TRANSACTION`: `acc:<gtid>:<branch index>`.
///
/// It cannot be a bind parameter, so it becomes part of a statement's text. That is safe because
/// it can only be made from a parsed [`Gtid`] and an index: it has neither a quote nor a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid {
    /// The transaction.
    pub gtid: Gtid,
    /// The branch.
    pub branch: BranchIndex,
}

/// What every gid of ours begins with. Prepared transactions without it are never touched.
const PREFIX: &str = "acc:";

const _: () = assert!(
    PREFIX.len() + 54 + 1 + 2 <= GID_BYTES_MAX,
    "the longest gid fits"
);

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}", self.gtid, self.branch)
    }
}

/// Why a text is not a gid of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GidError {
    /// Another program's: leave it alone.
    #[error("does not begin with {PREFIX:?}")]
    Foreign,
    /// Our prefix, but not our form: leave it alone and raise an alarm.
    #[error("has no branch index")]
    Branch,
    /// Our prefix, but not our form: leave it alone and raise an alarm.
    #[error(transparent)]
    Gtid(#[from] GtidError),
}

impl FromStr for Gid {
    type Err = GidError;

    fn from_str(text: &str) -> Result<Self, GidError> {
        let rest = text.strip_prefix(PREFIX).ok_or(GidError::Foreign)?;
        let (gtid, branch) = rest.rsplit_once(':').ok_or(GidError::Branch)?;
        let plain = branch == "0" || !branch.starts_with(['0', '+']);
        let branch = branch
            .parse::<u8>()
            .ok()
            .filter(|&n| plain && usize::from(n) < UNITS_MAX);
        let branch = BranchIndex(branch.ok_or(GidError::Branch)?);
        Ok(Self { gtid: gtid.parse()?, branch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gtid() -> String {
        let id = Gtid::mint(
            "cluster8".parse().unwrap(),
            super::super::PartitionId(999),
            super::super::Incarnation((1 << 25) - 1),
            crate::time::Timestamp::from_millis((1 << 45) - 1),
            u128::MAX,
        );
        id.unwrap().to_string()
    }

    #[test]
    fn the_longest_gid_fits_and_comes_back() {
        let text = format!("acc:{}:95", gtid());
        assert!(text.len() <= GID_BYTES_MAX, "{}", text.len());
        assert_eq!(text.parse::<Gid>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_not_exactly_ours_is_refused() {
        let gtid = gtid();
        for (text, refusal) in [
            (String::new(), GidError::Foreign),
            ("pg_gid_16394_733".into(), GidError::Foreign),
            (format!("xacc:{gtid}:0"), GidError::Foreign),
            ("acc:".into(), GidError::Branch),
            (format!("acc:{gtid}"), GidError::Branch),
            (format!("acc:{gtid}:"), GidError::Branch),
            (format!("acc:{gtid}:96"), GidError::Branch),
            (format!("acc:{gtid}:01"), GidError::Branch),
            (format!("acc:{gtid}:+1"), GidError::Branch),
            (format!("acc:{gtid}:-1"), GidError::Branch),
            (
                format!("acc:{gtid}':1"),
                GidError::Gtid(GtidError::Part { part: "random part" }),
            ),
            ("acc:a:b:1".into(), GidError::Gtid(GtidError::Parts)),
        ] {
            assert_eq!(text.parse::<Gid>(), Err(refusal), "{text}");
        }
    }
}
