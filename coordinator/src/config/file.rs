//! The configuration file: TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::nearest::nearest;
use super::{Fault, Faults};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLayer {
    /// The settings.
    pub settings: Layer,
    /// Base addresses of participants, by name; neither is checked yet.
    pub participants: BTreeMap<String, String>,
}

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML. The line itself is not shown: it may hold a password.
    #[error("the configuration file {path} is not TOML: line {line}: {problem}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Keys or values are wrong.
    #[error("the configuration file {path}:\n  {faults}")]
    Faults {
        /// Which.
        path: PathBuf,
        /// All of them.
        #[source]
        faults: Faults,
    },
}

/// The table of the participants.
const PARTICIPANTS: &str = "participants";

impl FileLayer {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`] with every unknown key, or the first value that is not of its kind.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let owned = || path.to_owned();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| FileError::Read { path: owned(), source })?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            FileError::Syntax { path: owned(), line, problem: error.message().to_owned() }
        })?;
        Self::from_table(table).map_err(|faults| FileError::Faults { path: owned(), faults })
    }

    fn from_table(mut table: toml::Table) -> Result<Self, Faults> {
        let unknown = unknown_keys(&table);
        if !unknown.is_empty() {
            return Err(Faults(unknown));
        }
        let participants = match table.remove(PARTICIPANTS) {
            Some(participants) => read(participants, Some(PARTICIPANTS))?,
            None => BTreeMap::new(),
        };
        let settings = read(toml::Value::Table(table), None)?;
        Ok(Self { settings, participants })
    }
}

fn unknown_keys(table: &toml::Table) -> Vec<Fault> {
    let known: Vec<String> = Layer::keys().into_iter().map(|key| key.name).collect();
    let known = || known.iter().map(String::as_str).chain([PARTICIPANTS]);
    let unknown = table.keys().filter(|key| known().all(|name| name != *key));
    let fault = |key: &String| {
        let problem = match nearest(key, known()) {
            Some(meant) => format!("there is no such key; did you mean {meant}?"),
            None => format!(
                "there is no such key; there are: {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        };
        Fault::new(key, problem)
    };
    unknown.map(fault).collect()
}

fn read<T: serde::de::DeserializeOwned>(
    value: toml::Value,
    below: Option<&str>,
) -> Result<T, Faults> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = below.map_or_else(|| path.clone(), |below| format!("{below}.{path}"));
        Faults(vec![Fault::new(path, error.inner().message())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FileLayer, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accordant.toml");
        std::fs::write(&path, text).unwrap();
        FileLayer::read(&path).map_err(|error| {
            let text = error.to_string();
            text.replace(&path.display().to_string(), "FILE")
        })
    }

    #[test]
    fn settings_and_participants_are_read() {
        let text = "listen = \"127.0.0.1:1\"\nopen_max = 7\n[participants]\nbank = \"http://b\"\n";
        let file = parse(text).unwrap();
        assert_eq!(file.settings.open_max, Some(7));
        assert_eq!(file.settings.listen.unwrap().port(), 1);
        assert_eq!(file.participants["bank"], "http://b");
        assert_eq!(parse("").unwrap(), FileLayer::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        let error = parse("lisen = \"127.0.0.1:1\"\nopen-max = 3\ncolour = 1\n").unwrap_err();
        assert!(
            error.contains("lisen: there is no such key; did you mean listen?"),
            "{error}"
        );
        assert!(
            error.contains("open-max: there is no such key; did you mean open_max?"),
            "{error}"
        );
        assert!(
            error.contains("colour: there is no such key; there are: listen,"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_another_kind_is_refused_with_its_path() {
        for (text, path) in [
            ("open_max = \"many\"", "open_max: "),
            ("open_max = -1", "open_max: "),
            ("listen = \"here\"", "listen: "),
            ("log_format = \"xml\"", "log_format: "),
            ("[participants]\nbank = 7", "participants.bank: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(path), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line_and_without_its_text() {
        let error = parse("open_max = 1\njournal = \"postgres://u:hush@h/d\n").unwrap_err();
        assert!(error.contains("FILE is not TOML: line 2: "), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
