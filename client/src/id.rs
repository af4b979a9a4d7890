//! The only place that draws random numbers.

use accordant_protocol::id::IdempotencyKey;

/// The system's random source failed: no key was made.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed")]
pub struct RandomError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A key of 128 random bits, as 32 hexadecimal digits.
pub(crate) fn fresh_key() -> Result<IdempotencyKey, RandomError> {
    let bits = u128::from_le_bytes(fill()?);
    // 32 digits are visible ASCII, so this cannot be refused.
    IdempotencyKey::new(&format!("{bits:032x}")).map_err(|error| RandomError(Box::new(error)))
}

/// A random fraction of 255, for jitter. Without a random source there is none.
pub(crate) fn jitter() -> u8 {
    fill().map_or(u8::MAX, |[byte]: [u8; 1]| byte)
}

#[expect(clippy::disallowed_methods, reason = "this is the random source")]
fn fill<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| RandomError(Box::new(error)))?;
    Ok(bytes)
}
