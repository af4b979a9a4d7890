//! Payloads and paths with places for the results of earlier steps.
//!
//! In a JSON value such a place is an object `{"$result": "STEP#/POINTER"}`: the value at the JSON
//! pointer (RFC 6901) in what `STEP` returned, or all of it without a `#`. In a path it is
//! `{STEP#/POINTER}`, and `{gtid}` is the transaction's id.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::climb::leads_up;
use super::reference::Reference;
use crate::id::{BranchIndex, Gtid};
use crate::json::Json;
use crate::limits::{
    PAYLOAD_BYTES_MAX, POINTER_BYTES_MAX, POINTER_TOKENS_MAX, REFERENCES_MAX,
    RENDERED_PATH_BYTES_MAX, TEMPLATE_DEPTH_MAX,
};

/// The value of a JSON payload, with what is to be filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    text: Json,
    /// By where they stand.
    places: Vec<Place>,
}

/// A path below a participant's base address, with what is to be filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    start: usize,
    end: usize,
    reference: Reference,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Gtid,
    Result(Reference),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateFault {
    #[error(
        "a reference is an object with the one member \"$result\", of the form \"STEP#/POINTER\""
    )]
    Form,
    #[error("is nested more than {TEMPLATE_DEPTH_MAX} levels deep, and holds a reference")]
    Depth,
    #[error("holds more than {REFERENCES_MAX} references")]
    TooMany,
    #[error(
        "a pointer into a result has at most {POINTER_BYTES_MAX} bytes and {POINTER_TOKENS_MAX} \
         levels"
    )]
    Pointer,
    #[error("there is no step or branch {0:?} with a result")]
    Unknown(String),
    #[error("{0:?} is not done before this one, so its result cannot be there")]
    TooEarly(String),
    #[error("a brace is not closed")]
    Brace,
}

/// A place could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The result has nothing there.
    #[error("the result has no value at {pointer:?}")]
    Missing {
        /// Where.
        pointer: String,
    },
    /// What is there does not fit into a path.
    #[error("the value at {pointer:?} is neither text, number nor truth value")]
    NotScalar {
        /// Where.
        pointer: String,
    },
    /// Filled in, it is larger than the called service takes.
    #[error("filled in, it has more than the {bytes_max} bytes that are allowed")]
    TooLarge {
        /// How many are allowed.
        bytes_max: usize,
    },
    /// Filled in, it is no JSON, or no path.
    #[error("cannot be filled in: {0}")]
    Form(String),
}

/// What a step's name stands for, as seen from the step that refers to it.
pub(super) type Resolve<'a> = &'a dyn Fn(&str) -> Result<BranchIndex, TemplateFault>;

impl Template {
    pub(super) fn parse(text: Json, resolve: Resolve<'_>) -> Result<Self, TemplateFault> {
        let mut places = Vec::new();
        if text.text().contains(MEMBER) {
            let base = text.text();
            let raw: &RawValue = serde_json::from_str(base).map_err(|_| TemplateFault::Form)?;
            find(raw, base, 0, resolve, &mut places)?;
        }
        Ok(Self { text, places })
    }

    /// As the client wrote it.
    #[must_use]
    pub const fn text(&self) -> &Json {
        &self.text
    }

    /// What it refers to.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.places.iter().map(|place| &place.reference)
    }

    /// Fills in the results.
    ///
    /// # Errors
    /// [`RenderError`] if a result has not what is referred to, or too much of it. The same results
    /// give the same error: what could not be filled in was never sent.
    pub fn render<'a>(
        &self,
        result: impl Fn(BranchIndex) -> Option<&'a Json>,
    ) -> Result<Json, RenderError> {
        if self.places.is_empty() {
            return Ok(self.text.clone());
        }
        let source = self.text.text();
        let (mut rendered, mut at) = (String::with_capacity(source.len()), 0);
        for place in &self.places {
            rendered.push_str(source.get(at..place.start).unwrap_or_default());
            rendered.push_str(place.reference.value(&result)?.get());
            check_size(&rendered, PAYLOAD_BYTES_MAX)?;
            at = place.end;
        }
        rendered.push_str(source.get(at..).unwrap_or_default());
        check_size(&rendered, PAYLOAD_BYTES_MAX)?;
        Json::from_text(rendered).map_err(|error| RenderError::Form(error.to_string()))
    }
}

impl PathTemplate {
    pub(super) fn parse(text: &str, resolve: Resolve<'_>) -> Result<Self, TemplateFault> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, left) = after.split_once('}').ok_or(TemplateFault::Brace)?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match name {
                "gtid" => Piece::Gtid,
                _ => Piece::Result(Reference::parse(name, resolve)?),
            });
            rest = left;
        }
        if rest.contains('}') {
            return Err(TemplateFault::Brace);
        }
        pieces.push(Piece::Text(rest.to_owned()));
        // Between and around the references stand texts.
        if pieces.len() > 2 * REFERENCES_MAX + 1 {
            return Err(TemplateFault::TooMany);
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// As the client wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it refers to.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Result(reference) => Some(reference),
            Piece::Text(_) | Piece::Gtid => None,
        })
    }

    /// Fills in the results, percent-encoded.
    ///
    /// # Errors
    /// [`RenderError`] if a result has not what is referred to, or what makes no path.
    pub fn render<'a>(
        &self,
        gtid: Gtid,
        result: impl Fn(BranchIndex) -> Option<&'a Json>,
    ) -> Result<String, RenderError> {
        let mut rendered = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => rendered.push_str(text),
                Piece::Gtid => rendered.push_str(&gtid.to_string()),
                Piece::Result(reference) => {
                    let value = scalar(reference.value(&result)?, &reference.pointer)?;
                    if value.is_empty() {
                        let text = "an empty text is no part of a path".to_owned();
                        return Err(RenderError::Form(text));
                    }
                    encode(&value, &mut rendered);
                }
            }
            check_size(&rendered, RENDERED_PATH_BYTES_MAX)?;
        }
        // Our escapes make a value one part of the path; some servers take them apart first.
        if leads_up(&rendered) {
            let text = "the path leads out of the participant's address".to_owned();
            return Err(RenderError::Form(text));
        }
        Ok(rendered)
    }
}

const MEMBER: &str = "$result";

fn find(
    value: &RawValue,
    base: &str,
    depth: usize,
    resolve: Resolve<'_>,
    places: &mut Vec<Place>,
) -> Result<(), TemplateFault> {
    if depth > TEMPLATE_DEPTH_MAX {
        return Err(TemplateFault::Depth);
    }
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let members: Members<'_> =
                serde_json::from_str(value.get()).map_err(|_| TemplateFault::Form)?;
            if !members.0.iter().any(|(name, _)| name == MEMBER) {
                let mut inner = members.0.iter();
                return inner.try_for_each(|(_, it)| find(it, base, depth + 1, resolve, places));
            }
            let [(_, target)] = members.0.as_slice() else {
                return Err(TemplateFault::Form);
            };
            let target: String =
                serde_json::from_str(target.get()).map_err(|_| TemplateFault::Form)?;
            if places.len() >= REFERENCES_MAX {
                return Err(TemplateFault::TooMany);
            }
            // The value is a part of the text that it was read from.
            let start = value.get().as_ptr().addr() - base.as_ptr().addr();
            let end = start + value.get().len();
            let reference = Reference::parse(&target, resolve)?;
            places.push(Place { start, end, reference });
            Ok(())
        }
        Some(b'[') => {
            let items: Vec<&RawValue> =
                serde_json::from_str(value.get()).map_err(|_| TemplateFault::Form)?;
            let mut items = items.iter();
            items.try_for_each(|it| find(it, base, depth + 1, resolve, places))
        }
        _ => Ok(()),
    }
}

/// The members of an object as they stand, a name that comes twice included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

const fn check_size(rendered: &str, bytes_max: usize) -> Result<(), RenderError> {
    if rendered.len() > bytes_max {
        return Err(RenderError::TooLarge { bytes_max });
    }
    Ok(())
}

fn scalar(value: &RawValue, pointer: &str) -> Result<String, RenderError> {
    match value.get().as_bytes().first() {
        Some(b'"') => {
            serde_json::from_str(value.get()).map_err(|error| RenderError::Form(error.to_string()))
        }
        Some(b'{' | b'[' | b'n') | None => {
            Err(RenderError::NotScalar { pointer: pointer.to_owned() })
        }
        Some(_) => Ok(value.get().to_owned()),
    }
}

/// Everything but RFC 3986's unreserved characters: a value is one segment, whatever is in it.
fn encode(value: &str, into: &mut String) {
    use fmt::Write as _;
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => write!(into, "%{byte:02X}").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str) -> Result<BranchIndex, TemplateFault> {
        match name {
            "flight" => Ok(BranchIndex(0)),
            "later" => Err(TemplateFault::TooEarly(name.to_owned())),
            _ => Err(TemplateFault::Unknown(name.to_owned())),
        }
    }

    fn json(text: &str) -> Json {
        Json::from_text(text.to_owned()).unwrap()
    }

    fn template(text: &str) -> Result<Template, TemplateFault> {
        Template::parse(json(text), &resolve)
    }

    fn rendered(text: &str, result: &str) -> Result<String, RenderError> {
        let result = json(result);
        let filled = template(text).unwrap().render(|_| Some(&result))?;
        Ok(filled.text().to_owned())
    }

    #[test]
    fn a_reference_is_filled_in_with_every_digit() {
        let text = r#"{"a":[1, {"$result":"flight#/x/1"} ],"b":{"$result":"flight"}}"#;
        let result = r#"{"x":[0,12345678901234567890.10],"y":"é"}"#;
        let expected = format!(r#"{{"a":[1, 12345678901234567890.10 ],"b":{result}}}"#);
        assert_eq!(rendered(text, result).unwrap(), expected);
    }

    #[test]
    fn escaped_pointers_are_understood() {
        let text = r#"{"$result":"flight#/a~1b/~0"}"#;
        assert_eq!(rendered(text, r#"{"a/b":{"~":7}}"#).unwrap(), "7");
    }

    #[test]
    fn what_is_not_there_is_an_error_and_never_null() {
        let missing = rendered(r#"{"$result":"flight#/nope"}"#, "{}");
        assert_eq!(
            missing,
            Err(RenderError::Missing { pointer: "/nope".to_owned() })
        );
        let none = template(r#"{"$result":"flight"}"#)
            .unwrap()
            .render(|_| None);
        assert!(none.is_err());
    }

    #[test]
    fn what_is_filled_in_is_bounded() {
        // A text in quotes of this many bytes.
        let result = |bytes: usize| format!(r#""{}""#, "x".repeat(bytes - 2));
        let text = r#"[{"$result":"flight"},{"$result":"flight"}]"#;
        let half = (PAYLOAD_BYTES_MAX - "[,]".len()) / 2;
        assert!(rendered(text, &result(half)).is_ok());
        let too_large = RenderError::TooLarge { bytes_max: PAYLOAD_BYTES_MAX };
        assert_eq!(rendered(text, &result(half + 1)), Err(too_large));
    }

    #[test]
    fn faulty_references_are_refused() {
        for (text, fault) in [
            (r#"{"$result":"flight","more":1}"#, TemplateFault::Form),
            (r#"{"$result":7}"#, TemplateFault::Form),
            (r#"{"$result":"flight#x"}"#, TemplateFault::Form),
            (
                r#"[{"$result":"none#/a"}]"#,
                TemplateFault::Unknown("none".to_owned()),
            ),
            (
                r#"[{"$result":"later"}]"#,
                TemplateFault::TooEarly("later".to_owned()),
            ),
        ] {
            assert_eq!(template(text), Err(fault), "{text}");
        }
        let deep = format!(
            "{}{}{}",
            "[".repeat(99),
            r#"{"$result":"flight"}"#,
            "]".repeat(99)
        );
        assert_eq!(template(&deep), Err(TemplateFault::Depth));
    }

    fn rendered_path(path: &str, result: &str) -> Result<String, RenderError> {
        let gtid = Gtid::mint(
            "c".parse().unwrap(),
            crate::id::PartitionId(0),
            crate::id::Incarnation(1),
            crate::time::Timestamp::from_millis(1),
            7,
        );
        let path = PathTemplate::parse(path, &resolve).unwrap();
        let result = json(result);
        path.render(gtid.unwrap(), |_| Some(&result))
    }

    #[test]
    fn a_path_that_is_filled_in_is_bounded() {
        let render = |bytes: usize| {
            let id = format!(r#""{}""#, "x".repeat(bytes));
            rendered_path("/{flight}", &id)
        };
        assert!(render(RENDERED_PATH_BYTES_MAX - 1).is_ok());
        let too_large = RenderError::TooLarge { bytes_max: RENDERED_PATH_BYTES_MAX };
        assert_eq!(render(RENDERED_PATH_BYTES_MAX), Err(too_large));
    }

    #[test]
    fn a_value_in_a_path_stays_one_segment() {
        let render = |text: &str| rendered_path("/b/{flight#/id}/x", text);
        assert_eq!(render(r#"{"id":"a/b..?"}"#).unwrap(), "/b/a%2Fb..%3F/x");
        assert_eq!(render(r#"{"id":42}"#).unwrap(), "/b/42/x");
        for wrong in [
            r#"{"id":".."}"#,
            r#"{"id":"."}"#,
            r#"{"id":"../../admin"}"#,
            r#"{"id":"a/../b"}"#,
            r#"{"id":"a\\..\\b"}"#,
            r#"{"id":"..;"}"#,
            r#"{"id":""}"#,
            r#"{"id":{}}"#,
            r#"{"id":null}"#,
        ] {
            assert!(render(wrong).is_err(), "{wrong}");
        }
        for wrong in ["/{", "/}", "/{nope}", "/{flight#x}"] {
            assert!(PathTemplate::parse(wrong, &resolve).is_err(), "{wrong}");
        }
    }
}
