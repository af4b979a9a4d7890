//! What somebody may have meant.

/// The word that takes the fewest changes to become `text`, if they are few for its length.
pub(super) fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = words
        .into_iter()
        .map(|word| (distance(text, word), word))
        .min_by_key(|(changes, _)| *changes);
    best.filter(|(changes, _)| *changes <= (text.len() / 3).max(2))
        .map(|(_, word)| word)
}

/// Levenshtein's distance, over bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.bytes().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        for (place, b) in row
            .iter_mut()
            .zip(std::iter::once(None).chain(other.bytes().map(Some)))
        {
            let Some(b) = b else {
                *place = left;
                continue;
            };
            let changed = diagonal + usize::from(a != b);
            diagonal = *place;
            left = changed.min(diagonal + 1).min(left + 1);
            *place = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (one, other, changes) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("listen", "lisen", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(one, other), changes, "{one} {other}");
        }
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let words = ["listen", "journal", "open_max"];
        assert_eq!(nearest("lisen", words), Some("listen"));
        assert_eq!(nearest("open-max", words), Some("open_max"));
        assert_eq!(nearest("colour", words), None);
    }
}
