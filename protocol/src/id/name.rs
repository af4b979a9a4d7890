//! Names that come from outside: checked once, then cheap to copy.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is too long.
    #[error("is {bytes} bytes long; at most {bytes_max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        bytes_max: usize,
    },
    /// It has a character that may not stand there.
    #[error("has {character:?} at byte {at}; {allowed}")]
    Character {
        /// The character.
        character: char,
        /// Where it stands, in bytes from 0.
        at: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// It is not of the form that a standard prescribes.
    #[error("is not of the form {form}")]
    Form {
        /// The form.
        form: &'static str,
    },
}

const NAME_ALLOWED: &str = "letters, digits, '_', '.' and '-' are allowed, a letter or digit first";
const KEY_ALLOWED: &str = "visible ASCII characters are allowed";

fn check_name(text: &str) -> Result<(), NameError> {
    check_size(text, NAME_BYTES_MAX)?;
    let wrong = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '_' | '.' | '-'))));
    refuse_character(wrong, NAME_ALLOWED)
}

fn check_key(text: &str) -> Result<(), NameError> {
    check_size(text, KEY_BYTES_MAX)?;
    refuse_character(
        text.char_indices().find(|&(_, c)| !c.is_ascii_graphic()),
        KEY_ALLOWED,
    )
}

/// W3C Trace Context, level 1: `00-<32 hex>-<16 hex>-<2 hex>`; a later version may be longer.
fn check_traceparent(text: &str) -> Result<(), NameError> {
    check_size(text, 128)?;
    let form = NameError::Form { form: "00-<trace id>-<parent id>-<flags>" };
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts.as_slice() else {
        return Err(form);
    };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let all = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    if all { Ok(()) } else { Err(form) }
}

fn check_size(text: &str, bytes_max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        bytes if bytes > bytes_max => Err(NameError::TooLong { bytes, bytes_max }),
        _ => Ok(()),
    }
}

fn refuse_character(wrong: Option<(usize, char)>, allowed: &'static str) -> Result<(), NameError> {
    match wrong {
        Some((at, character)) => Err(NameError::Character { character, at, allowed }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text and takes it.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A service that takes part, as registered with the coordinator.
    ParticipantName,
    check_name
);
name!(
    /// What a participant is asked to do: the name of one of its handlers.
    OperationName,
    check_name
);
name!(
    /// A step, unique in its plan.
    StepName,
    check_name
);
name!(
    /// A branch, unique in its plan.
    BranchName,
    check_name
);
name!(
    /// On whose behalf a transaction runs. Idempotency keys are unique per tenant.
    TenantName,
    check_name
);
name!(
    /// A client's name for one request, so that a repeat finds the first.
    IdempotencyKey,
    check_key
);
name!(
    /// The W3C trace context that the client sent; carried through, never interpreted.
    Traceparent,
    check_traceparent
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_quote_or_colon_is_refused_with_its_place() {
        for text in ["a'b", "a:b", "a b", "a\nb", "-a", "ä"] {
            let refusal = ParticipantName::new(text).unwrap_err();
            assert!(
                matches!(refusal, NameError::Character { .. }),
                "{text}: {refusal}"
            );
        }
        assert_eq!(ParticipantName::new("").unwrap_err(), NameError::Empty);
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        assert!(matches!(
            ParticipantName::new(&long),
            Err(NameError::TooLong { .. })
        ));
        ParticipantName::new(&"a".repeat(NAME_BYTES_MAX)).unwrap();
    }

    #[test]
    fn a_traceparent_is_taken_only_in_the_standard_form() {
        Traceparent::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        for text in [
            "00-0af7-b7-01",
            "garbage",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert!(Traceparent::new(text).is_err(), "{text}");
        }
    }
}
