//! Paths that lead out of the address below which a service is registered.

/// Whether a path has a part that leads upwards, at whatever server: some take escapes apart before
/// they look for `..`, some take a backslash for a slash, and some cut off what stands behind a
/// semicolon.
///
/// What is behind a `?` or `#` leads nowhere.
#[must_use]
pub fn leads_up(path: &str) -> bool {
    let way = path.split(['?', '#']).next().unwrap_or_default();
    let decoded = decode(way.as_bytes());
    decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|part| {
            let name = part.split(|byte| *byte == b';').next();
            matches!(name, Some(b"." | b".."))
        })
}

/// Once: a server that decodes twice takes escapes for something else than the standard does.
fn decode(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        match escape(text) {
            Some((byte, rest)) => {
                decoded.push(byte);
                text = rest;
            }
            None => {
                decoded.push(*first);
                text = rest;
            }
        }
    }
    decoded
}

/// The byte that an escape at the start of the text stands for, and what comes behind it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    Some((byte, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_leads_up_is_seen_however_it_is_written() {
        for path in [
            "/../admin",
            "/a/./b",
            "/a/..",
            "/%2e%2E/admin",
            "/.%2e/admin",
            "/..%2f..%2Fadmin",
            "/%2e%2e%2f%2e%2e%2fadmin",
            "/..%5c..%5Cadmin",
            "/..\\admin",
            "/..;/..;/admin",
            "/..;a=b/admin",
            "/..%3b/admin",
            "/a%2f..",
            "/a/..?b=c",
        ] {
            assert!(leads_up(path), "{path}");
        }
    }

    #[test]
    fn dots_within_a_name_and_behind_the_path_are_no_way_up() {
        for path in [
            "/",
            "/a/b",
            "/a..b/.c/d./...",
            "/a%2Fb",
            "/v1;a=../b",
            "/a?b=../c",
            "/a#../b",
            "/100%/%zz/%2",
            "/a%252e%252e%252fb",
        ] {
            assert!(!leads_up(path), "{path}");
        }
    }
}
