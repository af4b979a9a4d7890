//! Random names. The hasher of the standard library is seeded at random, which spares a
//! dependency; a pid and a counter would repeat between containers that share a server.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Sixteen hexadecimal digits that nobody else has.
pub(crate) fn token() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_have_one_length() {
        let (one, two) = (token(), token());
        assert_ne!(one, two);
        assert_eq!((one.len(), two.len()), (16, 16));
    }
}
