//! What the server's configuration file is given.

use std::path::Path;

use crate::address;
use crate::error::StartError;
use crate::limits;

/// Settings that are part of the server's address; changing one would break its URLs.
const RESERVED: [&str; 4] = [
    "data_directory",
    "listen_addresses",
    "port",
    "unix_socket_directories",
];

/// The settings of a server that is ours.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_prepared_transactions: u32,
    pub(crate) max_connections: u32,
    pub(crate) durable: bool,
    /// Later ones win, also over the ones above.
    pub(crate) other: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_prepared_transactions: limits::PREPARED_TRANSACTIONS_DEFAULT,
            max_connections: limits::CONNECTIONS_DEFAULT,
            durable: true,
            other: Vec::new(),
        }
    }
}

impl Settings {
    /// Refuses what no configuration file can hold or what would break the address.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        for (name, value) in &self.other {
            if let Some(why) = fault(name, value) {
                return Err(StartError::Setting { name: name.clone(), why });
            }
        }
        Ok(())
    }

    /// Every setting but the address: limits, durability, then what the user asked for.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![
            pair("max_prepared_transactions", self.max_prepared_transactions),
            pair("max_connections", self.max_connections),
        ];
        if !self.durable {
            // `synchronous_commit` stays on. Off, the last commits would sit in the memory of the
            // server and be lost with its process; these two give the work to the kernel, which
            // survives any kill.
            pairs.extend([pair("fsync", "off"), pair("full_page_writes", "off")]);
        }
        pairs.extend(self.other.iter().cloned());
        pairs
    }

    /// The lines to add to `postgresql.conf`.
    pub(crate) fn file(&self, socket_directory: &Path) -> String {
        let mut pairs = vec![
            // Only root and the server's own user can open the socket, which trusts everyone.
            pair("unix_socket_permissions", "0700"),
        ];
        pairs.extend(self.pairs());
        pairs.extend([
            pair("listen_addresses", ""),
            pair("unix_socket_directories", socket_directory.display()),
            pair("port", address::PORT),
        ]);
        pairs
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", escape(value)))
            .collect()
    }
}

fn pair(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn fault(name: &str, value: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        Some("a name has letters, digits, `_` and `.` only")
    } else if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        Some("it is part of the server's address, which this crate chooses")
    } else if value.contains(['\n', '\r', '\0']) {
        Some("a value cannot have a line break in it")
    } else {
        None
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "''")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Settings {
        Settings { other: vec![pair(name, value)], ..Settings::default() }
    }

    #[test]
    fn address_and_broken_settings_are_refused() {
        for (name, value) in [
            ("Port", "1"),
            ("a b", "1"),
            ("", "1"),
            ("application_name", "a\nb"),
        ] {
            assert!(with(name, value).check().is_err(), "{name}");
        }
        assert!(with("auto_explain.log_min_duration", "5").check().is_ok());
    }

    #[test]
    fn user_setting_comes_after_the_default_and_is_escaped() {
        let file = with("max_connections", r"it's \x").file(Path::new("/tmp/x"));
        let (default, own) = (
            "max_connections = '100'\n",
            r"max_connections = 'it''s \\x'",
        );
        assert!(
            file.find(default).unwrap() < file.find(own).unwrap(),
            "{file}"
        );
    }

    #[test]
    fn commits_reach_the_kernel_even_when_durability_is_off() {
        let file = Settings { durable: false, ..Settings::default() }.file(Path::new("/tmp/x"));
        assert!(
            file.contains("fsync = 'off'") && !file.contains("synchronous_commit"),
            "{file}"
        );
    }
}
