//! Where the journal is. Its address may carry a password, which never reaches a log.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// A text that may hold a secret: it is not checked where it is read, since a refusal would show it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, secret and all.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redact(&self.0))
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the journal is kept.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalUrl {
    /// In this SQLite file.
    Sqlite(PathBuf),
    /// In this PostgreSQL database.
    Postgres(SecretText),
    /// In the memory of the process: gone when it ends.
    Memory,
}

/// A text does not say where a journal is. It is not shown: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sqlite:PATH, postgres://USER@HOST/DATABASE or memory:")]
pub struct JournalFault;

impl JournalUrl {
    /// Reads a text.
    ///
    /// # Errors
    /// [`JournalFault`] if it is of no known form.
    pub fn parse(text: &SecretText) -> Result<Self, JournalFault> {
        let plain = text.reveal();
        if let Some(path) = plain.strip_prefix("sqlite:") {
            // `sqlite://` is what some other tools write; the path begins behind it.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(JournalFault)
            } else {
                Ok(Self::Sqlite(PathBuf::from(path)))
            };
        }
        let server = plain
            .strip_prefix("postgres://")
            .or_else(|| plain.strip_prefix("postgresql://"));
        match server {
            Some(server) if !server.is_empty() => Ok(Self::Postgres(text.clone())),
            Some(_) => Err(JournalFault),
            None if plain == "memory:" => Ok(Self::Memory),
            None => Err(JournalFault),
        }
    }
}

impl fmt::Display for JournalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

impl fmt::Debug for JournalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL without its password and without its query, which may hold one too. What has no user part
/// and no query is shown as it is.
fn redact(text: &str) -> String {
    let (text, query) = match text.split_once('?') {
        Some((text, _)) => (text, "?***"),
        None => (text, ""),
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return format!("{text}{query}");
    };
    // A password may hold a slash or an at sign that should have been encoded: the last one ends it.
    let Some((user, host)) = rest.rsplit_once('@') else {
        return format!("{scheme}://{rest}{query}");
    };
    let user = match user.split_once(':') {
        Some((user, _)) => format!("{user}:***"),
        None => user.to_owned(),
    };
    format!("{scheme}://{user}@{host}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<JournalUrl, JournalFault> {
        JournalUrl::parse(&SecretText::new(text.to_owned()))
    }

    #[test]
    fn only_places_that_exist_are_read() {
        assert_eq!(
            parse("sqlite:a/b.db"),
            Ok(JournalUrl::Sqlite("a/b.db".into()))
        );
        assert_eq!(
            parse("sqlite:///a/b.db"),
            Ok(JournalUrl::Sqlite("/a/b.db".into()))
        );
        assert_eq!(parse("memory:"), Ok(JournalUrl::Memory));
        assert!(matches!(
            parse("postgresql://u@h/d"),
            Ok(JournalUrl::Postgres(_))
        ));
        for wrong in [
            "",
            "sqlite:",
            "a.db",
            "postgres://",
            "mysql://u@h/d",
            "memory",
            "memory:x",
        ] {
            assert_eq!(parse(wrong), Err(JournalFault), "{wrong}");
        }
    }

    #[test]
    fn no_way_of_printing_shows_a_password() {
        for text in [
            "postgres://user:hush@host:5432/db",
            "postgres://user:hu/hush@sh@host/db?password=hush",
            "postgresql://host/db?user=me&password=hush",
            "mysql://user:hush@host",
        ] {
            let secret = SecretText::new(text.to_owned());
            let json = serde_json::to_string(&secret).unwrap();
            let url = JournalUrl::parse(&secret);
            for shown in [
                format!("{secret}"),
                format!("{secret:?}"),
                format!("{url:?}"),
                json,
            ] {
                assert!(!shown.contains("hush"), "{shown}");
            }
        }
        assert_eq!(
            redact("postgres://me:x@h:1/d?a=b"),
            "postgres://me:***@h:1/d?***"
        );
        assert_eq!(redact("sqlite:a@b.db"), "sqlite:a@b.db");
    }
}
