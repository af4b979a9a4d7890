//! The global transaction id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::number::{Incarnation, PartitionId};
use crate::limits::{CLUSTER_BYTES_MAX, PARTITIONS_MAX};
use crate::time::Timestamp;

/// The id of a global transaction. Made by the coordinator only.
///
/// It says whom to ask (cluster and partition), which journal minted it (incarnation), how old it
/// is, and ends in 128 random bits, so that it cannot be guessed. As text:
/// `<cluster>.<partition>.<incarnation>.<time and random bits>`, at most 54 bytes of lower-case
/// letters, digits and dots; exactly one text belongs to each id.
///
/// Ids order by cluster, partition, incarnation, then age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    cluster: Cluster,
    partition: PartitionId,
    incarnation: Incarnation,
    minted: Timestamp,
    random: u128,
}

/// 45 bits of milliseconds reach to the year 3084.
const MINTED_DIGITS: usize = 9;
const INCARNATION_DIGITS: usize = 5;
const RANDOM_DIGITS: usize = 26;

impl Gtid {
    /// Puts an id together. Only the coordinator may; `random` must come from the system.
    ///
    /// # Errors
    /// If the partition, the incarnation or the time is out of the range that the text can hold.
    pub fn mint(
        cluster: Cluster,
        partition: PartitionId,
        incarnation: Incarnation,
        minted: Timestamp,
        random: u128,
    ) -> Result<Self, GtidError> {
        if partition.0 >= PARTITIONS_MAX {
            return Err(GtidError::Part { part: "partition" });
        }
        if incarnation.0 >= 1 << (5 * INCARNATION_DIGITS) {
            return Err(GtidError::Part { part: "incarnation" });
        }
        if minted.as_millis() >= 1 << (5 * MINTED_DIGITS) {
            return Err(GtidError::Part { part: "time" });
        }
        Ok(Self { cluster, partition, incarnation, minted, random })
    }

    /// The cluster that minted the id.
    #[must_use]
    pub const fn cluster(&self) -> Cluster {
        self.cluster
    }

    /// The partition whose owner decides.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The journal that minted the id.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// When the id was minted, by the coordinator's clock.
    #[must_use]
    pub const fn minted(&self) -> Timestamp {
        self.minted
    }

    /// The random part: a seed for jitter that needs no random source.
    #[must_use]
    pub const fn random(&self) -> u128 {
        self.random
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}.{}{}",
            self.cluster,
            self.partition,
            Digits(u128::from(self.incarnation.0), INCARNATION_DIGITS),
            Digits(u128::from(self.minted.as_millis()), MINTED_DIGITS),
            Digits(self.random, RANDOM_DIGITS),
        )
    }
}

impl fmt::Debug for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a gtid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GtidError {
    /// It does not have four parts between dots.
    #[error("a transaction id has four parts: <cluster>.<partition>.<incarnation>.<rest>")]
    Parts,
    /// One part is not of its form or out of its range.
    #[error("the {part} of the transaction id is not of its form")]
    Part {
        /// Which.
        part: &'static str,
    },
}

impl FromStr for Gtid {
    type Err = GtidError;

    /// Total: any text gives an id or a refusal, and only the text that an id prints gives it.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().ok_or(GtidError::Parts);
        let (cluster, partition, incarnation, rest) = (next()?, next()?, next()?, next()?);
        let cluster = Cluster::new(cluster).map_err(|_| GtidError::Part { part: "cluster" })?;
        let partition = parse_partition(partition).ok_or(GtidError::Part { part: "partition" })?;
        let incarnation = parse_digits(incarnation, INCARNATION_DIGITS)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or(GtidError::Part { part: "incarnation" })?;
        let (minted, random) = rest
            .split_at_checked(MINTED_DIGITS)
            .ok_or(GtidError::Part { part: "time" })?;
        let minted = parse_digits(minted, MINTED_DIGITS)
            .and_then(|n| u64::try_from(n).ok())
            .ok_or(GtidError::Part { part: "time" })?;
        let random =
            parse_digits(random, RANDOM_DIGITS).ok_or(GtidError::Part { part: "random part" })?;
        let minted = Timestamp::from_millis(minted);
        Self::mint(
            cluster,
            PartitionId(partition),
            Incarnation(incarnation),
            minted,
            random,
        )
    }
}

/// Decimal without sign or leading zero, so that each number has one text.
fn parse_partition(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// Crockford's base 32 in lower case: no letters that look like digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

struct Digits(u128, usize);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..self.1).rev() {
            let digit = (self.0 >> (5 * place)) & 31;
            let digit = usize::try_from(digit).ok().and_then(|at| ALPHABET.get(at));
            f.write_str(
                std::str::from_utf8(digit.map_or(&[], std::slice::from_ref)).unwrap_or(""),
            )?;
        }
        Ok(())
    }
}

fn parse_digits(text: &str, length: usize) -> Option<u128> {
    if text.len() != length {
        return None;
    }
    text.bytes().try_fold(0_u128, |sum, byte| {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        sum.checked_mul(32)?
            .checked_add(u128::try_from(digit).ok()?)
    })
}

impl Serialize for Gtid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gtid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of a cluster: 1 to 8 lower-case letters and digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster([u8; CLUSTER_BYTES_MAX]);

/// A text is not a cluster's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's name has 1 to {CLUSTER_BYTES_MAX} lower-case letters and digits")]
pub struct ClusterError;

impl Cluster {
    /// Checks a text and takes it.
    ///
    /// # Errors
    /// [`ClusterError`] if it is not a cluster's name.
    pub fn new(text: &str) -> Result<Self, ClusterError> {
        let good = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let mut bytes = [0; CLUSTER_BYTES_MAX];
        match bytes.get_mut(..text.len()) {
            Some(place) if good && !text.is_empty() => place.copy_from_slice(text.as_bytes()),
            _ => return Err(ClusterError),
        }
        Ok(Self(bytes))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&b| b == 0).unwrap_or(self.0.len());
        self.0
            .get(..length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cluster {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_comes_back_from_its_text(
            cluster in "[a-z0-9]{1,8}", partition in 0..PARTITIONS_MAX,
            incarnation in 0_u32..1 << 25, ms in 0_u64..1 << 45, random: u128,
        ) {
            let id = Gtid::mint(
                Cluster::new(&cluster).unwrap(), PartitionId(partition), Incarnation(incarnation),
                Timestamp::from_millis(ms), random,
            ).unwrap();
            let text = id.to_string();
            prop_assert!(text.len() <= 54);
            prop_assert_eq!(text.parse::<Gtid>().unwrap(), id);
        }

        #[test]
        fn any_text_gives_an_id_that_prints_it_or_a_refusal(text in "\\PC{0,70}") {
            if let Ok(id) = text.parse::<Gtid>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn a_text_of_nearly_the_right_form_gives_an_id_that_prints_it_or_a_refusal(
            text in "[a-z0-9]{0,9}\\.[0-9+]{0,4}\\.[0-9a-z]{4,6}\\.[0-9a-zA-Z]{34,36}",
        ) {
            if let Ok(id) = text.parse::<Gtid>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn random_digits_beyond_128_bits_are_refused() {
        let good = "acc.0.00001.00000000106fw9y1cyz8k0000000000000";
        let rest = format!("{}{}", "000000001", "z".repeat(26));
        assert_eq!(
            format!("acc.0.00001.{rest}").parse::<Gtid>(),
            Err(GtidError::Part { part: "random part" }),
        );
        assert!(good.parse::<Gtid>().is_err(), "one digit short");
    }
}
