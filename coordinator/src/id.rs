//! The only place that draws random numbers.

/// The system's random source failed. Nothing may be minted without it.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed: {0}")]
pub struct RandomError(getrandom::Error);

/// 128 random bits from the system.
///
/// # Errors
/// If the system gives none.
pub fn random_u128() -> Result<u128, RandomError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

#[expect(clippy::disallowed_methods, reason = "this is the random source")]
fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(RandomError)
}
