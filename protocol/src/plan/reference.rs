//! References into what a step returned.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::template::{RenderError, Resolve, TemplateFault};
use crate::id::BranchIndex;
use crate::json::Json;
use crate::limits::{POINTER_BYTES_MAX, POINTER_TOKENS_MAX};

/// Points into the result of an action or branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Whose.
    pub unit: BranchIndex,
    /// Where in it: a JSON pointer, empty for all of it.
    pub pointer: String,
}

impl Reference {
    pub(super) fn parse(text: &str, resolve: Resolve<'_>) -> Result<Self, TemplateFault> {
        let (name, pointer) = text.split_once('#').unwrap_or((text, ""));
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(TemplateFault::Form);
        }
        Ok(Self { unit: resolve(name)?, pointer: pointer.to_owned() })
    }

    /// Whether the pointer is one that a new plan may have.
    pub(super) fn is_bounded(&self) -> bool {
        let levels = self.pointer.bytes().filter(|byte| *byte == b'/').count();
        self.pointer.len() <= POINTER_BYTES_MAX && levels <= POINTER_TOKENS_MAX
    }

    /// What it points at, found by reading the result once.
    pub(super) fn value<'a>(
        &self,
        result: impl Fn(BranchIndex) -> Option<&'a Json>,
    ) -> Result<&'a RawValue, RenderError> {
        let missing = || RenderError::Missing { pointer: self.pointer.clone() };
        // A plan that was stored before there was a bound must not cost more than others either.
        if !self.is_bounded() {
            return Err(missing());
        }
        let tokens = self.pointer.split('/').skip(1);
        let tokens = tokens.map(|token| token.replace("~1", "/").replace("~0", "~"));
        let tokens: Vec<String> = tokens.collect();
        let json = result(self.unit).ok_or_else(missing)?;
        let mut reader = serde_json::Deserializer::from_str(json.text());
        let found = Walk(&tokens).deserialize(&mut reader);
        found.ok().flatten().ok_or_else(missing)
    }
}

/// Goes down a value along the tokens of a pointer.
struct Walk<'t>(&'t [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0.split_first() {
            None => serde::Deserialize::deserialize(deserializer).map(Some),
            Some((token, rest)) => deserializer.deserialize_any(Level { token, rest }),
        }
    }
}

/// One level of it.
struct Level<'t> {
    token: &'t str,
    rest: &'t [String],
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    /// Of a name that comes twice the last counts, as with most readers.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.token {
                found = map.next_value_seed(Walk(self.rest))?;
            } else {
                let _passed: IgnoredAny = map.next_value()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let place: Option<usize> = self.token.parse().ok();
        for _ in 0..place.unwrap_or_default() {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = match place {
            Some(_) => items.next_element_seed(Walk(self.rest))?.flatten(),
            None => None,
        };
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: &str, result: &str) -> Option<String> {
        let reference = Reference { unit: BranchIndex(0), pointer: pointer.to_owned() };
        let result = Json::from_text(result.to_owned()).unwrap();
        let value = reference.value(|_| Some(&result)).ok()?;
        Some(value.get().to_owned())
    }

    #[test]
    fn a_pointer_finds_what_it_names_and_nothing_else() {
        let result = r#"{"a":[1,{"b":"x"},[2.50]],"a/b":{"~":7},"":0,"a":[9,{"b" : [ 1 ]},[3]]}"#;
        for (pointer, expected) in [
            ("/a/1/b", Some("[ 1 ]")),
            ("/a/0", Some("9")),
            ("/a/2/0", Some("3")),
            ("/a/3", None),
            ("/a/x", None),
            ("/a/0/0", None),
            ("/a~1b/~0", Some("7")),
            ("/", Some("0")),
            ("/none", None),
        ] {
            assert_eq!(at(pointer, result).as_deref(), expected, "{pointer}");
        }
        assert_eq!(at("", " [ 1 ] ").as_deref(), Some("[ 1 ]"));
        assert_eq!(at("/0", "1"), None);
    }

    #[test]
    fn a_stored_pointer_beyond_the_bounds_points_at_nothing() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let deep = POINTER_TOKENS_MAX;
        let pointer = "/0".repeat(deep);
        assert_eq!(at(&pointer, &nested(deep)).as_deref(), Some("1"));
        assert_eq!(at(&format!("{pointer}/0"), &nested(deep + 1)), None);
        let name = "n".repeat(POINTER_BYTES_MAX);
        assert_eq!(at(&format!("/{name}"), &format!(r#"{{"{name}":1}}"#)), None);
    }

    #[test]
    fn what_is_beneath_the_value_may_be_of_any_depth() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
        assert!(at("/a", &deep).is_some());
        assert!(at("/b", &deep).is_none());
    }
}
