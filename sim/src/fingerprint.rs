//! 128-bit fingerprints of states, and values that carry theirs along.
//!
//! The visited set keeps fingerprints, not states (hash compaction: Wolper and Leroy, 1993). Two
//! states that share one would be taken for the same; among ten million states the chance of one
//! such pair is below 10⁻²⁴.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The fingerprint of a value. The same in every run on every machine.
#[must_use]
pub fn fingerprint<T: Hash + ?Sized>(value: &T) -> u128 {
    let mut lanes = Lanes::default();
    value.hash(&mut lanes);
    lanes.fingerprint()
}

/// Two independent lanes of multiply and fold, after wyhash.
#[derive(Clone, Debug)]
struct Lanes {
    left: u64,
    right: u64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { left: 0x243f_6a88_85a3_08d3, right: 0x1319_8a2e_0370_7344 }
    }
}

/// Multiplies to 128 bits and folds the halves together.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Lanes {
    const fn mix(&mut self, word: u64) {
        self.left =
            fold(self.left ^ word, 0xa076_1d64_78bd_642f).wrapping_add(0xe703_7ed1_a0b4_28db);
        self.right = fold(
            self.right.rotate_left(29).wrapping_add(word),
            0x8ebc_6af0_9c88_c6e3,
        ) ^ 0x5899_65cc_7537_4cc3;
    }

    fn fingerprint(mut self) -> u128 {
        self.mix(0x1d8e_4e27_c47d_124f);
        self.mix(self.left.rotate_left(32) ^ self.right);
        u128::from(self.left) << 64 | u128::from(self.right)
    }
}

impl Hasher for Lanes {
    fn finish(&self) -> u64 {
        self.left ^ self.right
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0_u8; 8];
            word.iter_mut()
                .zip(chunk)
                .for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(u64::try_from(bytes.len()).unwrap_or(u64::MAX) ^ 0xff51_afd7_ed55_8ccd);
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(u64::try_from(n).unwrap_or(u64::MAX));
    }
}

/// A shared value that knows its fingerprint: a clone copies a pointer, and hashing a state that
/// holds it does not walk it again.
pub struct Hashed<T>(Arc<(u128, T)>);

impl<T: Hash> Hashed<T> {
    /// Takes a value and its fingerprint.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new((fingerprint(&value), value)))
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl<T> Eq for Hashed<T> {}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn near_values_have_fingerprints_far_apart() {
        let all: BTreeSet<u128> = (0_u64..100_000)
            .map(|n| fingerprint(&(n % 7, n / 7, n ^ 0x55)))
            .collect();
        assert_eq!(all.len(), 100_000);
        let left: BTreeSet<u64> = all.iter().map(|it| (it >> 64) as u64).collect();
        assert_eq!(left.len(), 100_000);
    }

    #[test]
    fn a_list_and_its_parts_in_other_bounds_differ() {
        assert_ne!(fingerprint(&("ab", "c")), fingerprint(&("a", "bc")));
        assert_ne!(
            fingerprint(&(vec![1_u8], vec![2_u8])),
            fingerprint(&(vec![1_u8, 2], Vec::<u8>::new()))
        );
    }
}
