//! Texts as parts of a path or a query.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text with everything but RFC 3986's unreserved characters percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Parameters of a query, as `?a=1&b=2`, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encode(value));
    }

    pub(crate) fn push_some<T: ToString>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.push(name, &value.to_string());
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_an_address_is_encoded() {
        assert_eq!(encode("a/b?c#d%e&f=g h"), "a%2Fb%3Fc%23d%25e%26f%3Dg%20h");
        assert_eq!(encode("order-4711_x.y~z"), "order-4711_x.y~z");
        assert_eq!(encode("é"), "%C3%A9");
    }

    #[test]
    fn a_query_begins_with_a_question_mark_if_there_is_one() {
        let mut query = Query::default();
        assert_eq!(query.as_str(), "");
        query.push("a", "1");
        query.push_some("b", Some("x&y"));
        query.push_some::<u8>("c", None);
        assert_eq!(query.as_str(), "?a=1&b=x%26y");
    }
}
