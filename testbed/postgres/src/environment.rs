//! Everything that is read from the environment, read in one place and overridden by the builder.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::StartError;
use crate::source::Source;

/// Names a server that somebody else runs.
pub(crate) const URL: &str = "ACCORDANT_TEST_PG_URL";
/// Names the folder that holds `initdb` and `postgres`.
pub(crate) const BIN: &str = "ACCORDANT_PG_BIN";
/// Names the folder for fetched binaries.
pub(crate) const CACHE: &str = "ACCORDANT_PG_CACHE";
/// Lists the ways to a server that may be used.
pub(crate) const SOURCE: &str = "ACCORDANT_PG_SOURCE";

/// An empty variable counts as unset: that is how a shell or a CI file switches one off.
pub(crate) fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The folders of `PATH`.
pub(crate) fn search_path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// The ways that `ACCORDANT_PG_SOURCE` admits; all of them where it is unset.
pub(crate) fn sources() -> Result<Vec<Source>, StartError> {
    let Some(list) = text(SOURCE) else {
        return Ok(Source::ALL.to_vec());
    };
    list.split(',')
        .map(str::parse)
        .collect::<Result<_, String>>()
        .map_err(|why| StartError::BadChoice { what: SOURCE.to_owned(), why })
}

/// Where fetched binaries are kept when nobody names a folder.
///
/// Root's own cache is closed to other users, and the server does not run as root: so root keeps
/// them in the system's cache.
pub(crate) fn default_cache(root: bool) -> Option<PathBuf> {
    if root {
        return Some(Path::new("/var/cache/accordant").to_owned());
    }
    path("XDG_CACHE_HOME")
        .or_else(|| path("HOME").map(|home| home.join(".cache")))
        .map(|base| base.join("accordant"))
}
