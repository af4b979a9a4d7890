//! The participants by name. Requests name them; no request carries an address.

use std::collections::BTreeMap;

use accordant_protocol::id::ParticipantName;
use http::Uri;

/// The registered participants and their base addresses.
#[derive(Clone, Debug, Default)]
pub struct Registry(BTreeMap<ParticipantName, Uri>);

/// Why a text is not a participant's base address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is not a URI.
    #[error("is not a URI")]
    Uri(#[from] http::uri::InvalidUri),
    /// It is a URI of another kind.
    #[error("must be http://HOST[:PORT][/PATH], without query")]
    Form,
}

impl Registry {
    /// Registers a participant under its base address, in place of an earlier one.
    ///
    /// # Errors
    /// [`AddressError`] if the text is not an address that can be called.
    pub fn register(&mut self, name: ParticipantName, address: &str) -> Result<(), AddressError> {
        let uri: Uri = address.parse()?;
        let callable = uri.scheme_str() == Some("http") && uri.host().is_some();
        if !callable || uri.query().is_some() {
            return Err(AddressError::Form);
        }
        self.0.insert(name, uri);
        Ok(())
    }

    /// Whether a participant is registered.
    #[must_use]
    pub fn contains(&self, name: &ParticipantName) -> bool {
        self.0.contains_key(name)
    }

    /// The participants, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ParticipantName, &Uri)> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The address of a call: the base with a path behind it.
pub(super) fn join(base: &Uri, path: &str) -> Result<Uri, http::uri::InvalidUri> {
    format!("{}{path}", base.to_string().trim_end_matches('/')).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_called_are_taken() {
        let mut registry = Registry::default();
        let name = || ParticipantName::new("bank").unwrap();
        for wrong in [
            "",
            "bank:80",
            "https://bank",
            "ftp://bank",
            "http:///x",
            "http://b?x=1",
        ] {
            assert!(registry.register(name(), wrong).is_err(), "{wrong}");
        }
        registry
            .register(name(), "http://127.0.0.1:80/base/")
            .unwrap();
        let (_, base) = registry.iter().next().unwrap();
        assert_eq!(join(base, "/x").unwrap(), "http://127.0.0.1:80/base/x");
    }
}
