//! What a journal is, when it is made and when it is opened again.

use accordant_protocol::id::{Cluster, Incarnation};
use accordant_protocol::limits::PARTITIONS_MAX;

use super::error::OpenError;
use super::limits::PARTITIONS_DEFAULT;

/// Bits of an incarnation.
const INCARNATION_BITS: u32 = 25;

/// Draws an incarnation other than the former one.
pub(super) fn draw_incarnation(former: Option<i64>) -> Result<Incarnation, OpenError> {
    let mask = (1 << INCARNATION_BITS) - 1;
    let drawn = u32::try_from(crate::id::random_u128()? & mask).unwrap_or_default();
    // One of two neighbours is another one.
    let taken = former == Some(i64::from(drawn));
    Ok(Incarnation(if taken { drawn ^ 1 } else { drawn }))
}

/// How many partitions a new journal gets.
pub(super) fn partitions_of(asked: Option<u16>) -> Result<u16, OpenError> {
    match asked.unwrap_or(PARTITIONS_DEFAULT) {
        partitions @ 1..=PARTITIONS_MAX => Ok(partitions),
        partitions => Err(OpenError::Partitions { partitions, max: PARTITIONS_MAX }),
    }
}

/// Whether a stored journal is the one that is meant. Returns its number of partitions.
pub(super) fn check_identity(
    cluster: &str,
    partitions: i64,
    ours: Cluster,
    asked: Option<u16>,
) -> Result<u16, OpenError> {
    let corrupt = |what: String| OpenError::Corrupt { what };
    let stored = Cluster::new(cluster).map_err(|_| corrupt(format!("cluster {cluster:?}")))?;
    if stored != ours {
        return Err(OpenError::OtherCluster { stored, ours });
    }
    let stored = u16::try_from(partitions)
        .ok()
        .filter(|n| (1..=PARTITIONS_MAX).contains(n));
    let stored = stored.ok_or_else(|| corrupt(format!("{partitions} partitions")))?;
    match asked {
        Some(ours) if ours != stored => Err(OpenError::OtherPartitions { stored, ours }),
        Some(_) | None => Ok(stored),
    }
}
