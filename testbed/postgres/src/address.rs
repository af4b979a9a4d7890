//! Connection URLs, in the form that sqlx and libpq both read.

use std::path::Path;

/// Names the socket file, nothing else: a private server listens on no TCP port.
pub(crate) const PORT: u16 = 5432;

/// The superuser that `initdb` makes.
pub(crate) const SUPERUSER: &str = "postgres";

/// The URL of a database behind the socket in `directory`.
///
/// Port and TLS mode are spelled out, so that `PGPORT` and `PGSSLMODE` in the caller's environment
/// do not change what the URL means.
pub(crate) fn of_socket(directory: &Path, database: &str) -> String {
    let (directory, database) = (encode(&directory.to_string_lossy()), encode(database));
    format!("postgres://{SUPERUSER}@localhost:{PORT}/{database}?host={directory}&sslmode=disable")
}

/// The same URL with another database, or nothing where it is not a URL of PostgreSQL.
pub(crate) fn with_database(url: &str, database: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return None;
    }
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(authority_end)?;
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let separator = if query.is_empty() { "" } else { "?" };
    Some(format!(
        "{scheme}://{authority}/{}{separator}{query}",
        encode(database)
    ))
}

/// The URL without its password and its query, for messages.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "a text that is no URL".to_owned();
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = rest.split_at_checked(end).map_or(rest, |(kept, _)| kept);
    match rest.rsplit_once('@') {
        None => format!("{scheme}://{rest}"),
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}")
        }
    }
}

/// Percent-encodes everything that could mean something else in a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use sqlx::postgres::PgConnectOptions;

    use super::*;

    #[test]
    fn sqlx_reads_the_socket_and_any_database_name() {
        let url = of_socket(Path::new("/tmp/a b+c"), "bänk/a?b");
        let options = PgConnectOptions::from_str(&url).unwrap();
        assert_eq!(options.get_socket().unwrap(), Path::new("/tmp/a b+c"));
        assert_eq!(options.get_database(), Some("bänk/a?b"));
        assert_eq!(options.get_port(), PORT);
        assert_eq!(options.get_username(), "postgres");
    }

    #[test]
    fn database_is_replaced_and_the_rest_is_kept() {
        for (url, expected) in [
            (
                "postgres://u:p@host:1/old?x=1",
                Some("postgres://u:p@host:1/new?x=1"),
            ),
            ("postgresql://host", Some("postgresql://host/new")),
            (
                "postgres://host?host=%2Ftmp",
                Some("postgres://host/new?host=%2Ftmp"),
            ),
            ("mysql://host/old", None),
            ("host=localhost", None),
        ] {
            assert_eq!(with_database(url, "new").as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn messages_show_no_password() {
        for (url, shown) in [
            (
                "postgres://u:p@ss@host/db?password=x",
                "postgres://u@host/db",
            ),
            ("postgres://host/db", "postgres://host/db"),
            ("secret", "a text that is no URL"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
