//! The user that runs the server. PostgreSQL refuses to run as root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::StartError;
use crate::program;

/// Looked for in this order when we are root: the server's own user on Linux and on macOS, else
/// the one that every system has.
const NAMES: [&str; 3] = ["postgres", "_postgres", "nobody"];

/// Who runs the server.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    /// The user that runs this process.
    Own,
    /// Another user, because this process is root.
    Other { name: &'static str, uid: u32, gid: u32 },
}

impl Account {
    /// Finds the user for a server that this process starts.
    pub(crate) async fn choose() -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        for name in NAMES {
            let uid = id_of(name, "-u").await;
            if let (Some(uid), Some(gid)) = (uid, id_of(name, "-g").await) {
                return Ok(Self::Other { name, uid, gid });
            }
        }
        Err(StartError::NoAccount)
    }

    /// Makes `command` run as this user, without any supplementary group.
    ///
    /// The standard library changes the user between fork and exec, so the process keeps its pid
    /// and stays our direct child, which `su` and `runuser` would not grant.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a folder to this user.
    pub(crate) fn own(&self, path: &Path) -> std::io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)),
        }
    }

    /// How a message names this user.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Own => "this user",
            Self::Other { name, .. } => name,
        }
    }
}

/// Asks `id`, which knows every user database of the system and not only `/etc/passwd`.
async fn id_of(name: &str, option: &str) -> Option<u32> {
    let mut command = Command::new("id");
    command.args([option, name]);
    let output = program::probe(command).await.ok()?;
    output.trim().parse().ok()
}
