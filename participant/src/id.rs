//! The only place that draws random numbers.

use std::fmt;

use accordant_protocol::time::Timestamp;

/// The system's random source failed.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed: {0}")]
pub struct RandomError(getrandom::Error);

/// A message in the outbox: a UUID of version 7, so that ids order by their age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    pub(crate) fn mint(now: Timestamp) -> Result<Self, RandomError> {
        let mut bytes = [0; 16];
        fill(&mut bytes)?;
        Ok(Self::new(now.as_millis(), u128::from_le_bytes(bytes)))
    }

    fn new(millis: u64, random: u128) -> Self {
        const VERSION: u128 = 0x7 << 76;
        const VARIANT: u128 = 0b10 << 62;
        const RANDOM: u128 = (0xfff << 64) | (u128::MAX >> 66);
        Self((u128::from(millis) << 80) | VERSION | VARIANT | (random & RANDOM))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, bits: u32| (self.0 >> shift) & (u128::MAX >> (128 - bits));
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        )
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the random source")]
fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(RandomError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_seven_and_begins_with_its_time() {
        let id = MessageId::new(0x0123_4567_89ab, u128::MAX);
        assert_eq!(id.to_string(), "01234567-89ab-7fff-bfff-ffffffffffff");
        let id = MessageId::new(1, 0);
        assert_eq!(id.to_string(), "00000000-0001-7000-8000-000000000000");
        assert!(MessageId::new(1, u128::MAX) < MessageId::new(2, 0));
        let now = Timestamp::from_millis(5);
        assert_ne!(MessageId::mint(now).unwrap(), MessageId::mint(now).unwrap());
    }
}
