//! The file that says that the address is listened on, for programs that start this one.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A ready file; taken away again when it is dropped.
#[derive(Debug)]
pub(super) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Takes away what an earlier process has left.
    pub(super) fn clear(path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes it, whole or not at all: a reader never sees half of it.
    pub(super) fn write(path: &Path, address: SocketAddr) -> io::Result<Self> {
        let mut unfinished = OsString::from(path);
        unfinished.push(".part");
        let pid = std::process::id();
        let text =
            format!("{{\"address\":\"{address}\",\"url\":\"http://{address}\",\"pid\":{pid}}}\n");
        std::fs::write(&unfinished, text)?;
        std::fs::rename(&unfinished, path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Whoever waits for it looks at the process too.
        let _absent = std::fs::remove_file(&self.0);
    }
}
