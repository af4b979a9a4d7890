//! Where ids and choices come from: a number, so that a run can be repeated.

use std::fmt;
use std::str::FromStr;

use accordant_protocol::id::{Cluster, Gtid, Incarnation, PartitionId};

use crate::clock;

/// What all choices of a run follow from.
///
/// The time stands in each id as well, so a run with an earlier seed makes the same choices and meets
/// nothing that an earlier run has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

/// The system's random source failed.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed; give a seed: {0}")]
pub struct SeedError(getrandom::Error);

impl Seed {
    /// A seed that nobody has chosen.
    ///
    /// # Errors
    /// If the system gives no random number.
    #[expect(clippy::disallowed_methods, reason = "this is the random source")]
    pub fn fresh() -> Result<Self, SeedError> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(SeedError)?;
        Ok(Self(u64::from(u32::from_le_bytes(bytes))))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A stream of numbers: SplitMix64, which is short and good enough for choices.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
    incarnation: Incarnation,
}

const CLUSTER: &str = "conform";

/// The partition of what no other call may be disturbed by.
pub(crate) const APART: PartitionId = PartitionId(999);

impl Dice {
    /// Those of one check: the same whether or not others run before it.
    pub(crate) fn of(seed: Seed, check: &str) -> Self {
        let fold = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let state = check.bytes().fold(seed.0 ^ 0xcbf2_9ce4_8422_2325, fold);
        let incarnation = u32::try_from(seed.0 & 0x01ff_ffff).unwrap_or_default();
        Self { state, incarnation: Incarnation(incarnation) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A fresh id, as a coordinator that starts now would make it.
    pub(crate) fn gtid(&mut self, partition: PartitionId) -> Option<Gtid> {
        let cluster: Cluster = CLUSTER.parse().ok()?;
        let random = u128::from(self.next()) << 64 | u128::from(self.next());
        Gtid::mint(cluster, partition, self.incarnation, clock::now(), random).ok()
    }

    /// Puts things in another order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            let bound = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
            let other = usize::try_from(self.next() % bound).unwrap_or_default();
            things.swap(at, other);
        }
    }
}
