//! Server binaries on this machine: where they may be, and whether they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::limits;
use crate::program;
use crate::version::{self, Version};

/// A folder with `initdb` and `postgres` that the server's user can run.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    folder: PathBuf,
    version: Version,
}

/// Parents of versioned folders, the start of such a folder's name, and where its binaries are.
const USUAL: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),          // RPMs of the PostgreSQL project
    ("/usr/libexec", "postgresql", ""), // Alpine
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"), // Homebrew on Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/local", "pgsql", "bin"), // built from source
];

impl Binaries {
    /// Checks one folder.
    ///
    /// The error is a fragment for a message. `postgres` is run as the server's user, because a
    /// folder below a closed home is fine for us and useless for that user.
    pub(crate) async fn in_folder(folder: &Path, account: &Account) -> Result<Self, String> {
        // Links in /usr/local/bin are common, and the server looks for its files relative to the
        // folder that it really is in.
        let initdb = folder.join("initdb").canonicalize();
        let folder = match initdb.as_deref().map(Path::parent) {
            Ok(Some(real)) if real.join("postgres").is_file() => real.to_owned(),
            _ => return Err(format!("{} has no initdb and postgres", folder.display())),
        };
        let mut command = Command::new(folder.join("postgres"));
        command.arg("--version").current_dir("/");
        account.apply(&mut command);
        let banner = program::probe(command)
            .await
            .map_err(|why| format!("{why} (as {})", account.name()))?;
        match version::from_banner(&banner) {
            Some(version) if version.0 >= limits::MAJOR_MIN => Ok(Self { folder, version }),
            Some((major, minor)) => Err(format!(
                "{} has version {major}.{minor}, older than {}",
                folder.display(),
                limits::MAJOR_MIN
            )),
            None => Err(format!("{} says `{}`", folder.display(), banner.trim())),
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As in `PostgreSQL 15.18 from /usr/lib/postgresql/15/bin`.
    pub(crate) fn describe(&self) -> String {
        let (major, minor) = self.version;
        format!("PostgreSQL {major}.{minor} from {}", self.folder.display())
    }
}

/// Searches the folders of `path` in their order, then the usual folders, newest version first.
///
/// The error is a fragment for a message.
pub(crate) async fn search(
    path: &[PathBuf],
    usual: bool,
    account: &Account,
) -> Result<Binaries, String> {
    let mut unfit = Vec::new();
    for folder in path.iter().filter(|folder| folder.join("initdb").is_file()) {
        match Binaries::in_folder(folder, account).await {
            Ok(found) => return Ok(found),
            Err(why) => unfit.push(why),
        }
    }
    let mut found = Vec::new();
    for folder in if usual { usual_folders() } else { Vec::new() } {
        match Binaries::in_folder(&folder, account).await {
            Ok(binaries) => found.push(binaries),
            Err(why) => unfit.push(why),
        }
    }
    found
        .into_iter()
        .max_by_key(Binaries::version)
        .ok_or_else(|| {
            if unfit.is_empty() {
                "no initdb in PATH or in the usual folders of Debian, Homebrew and RPM".to_owned()
            } else {
                unfit.join("\n")
            }
        })
}

fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix, below) in USUAL {
        // Most of these do not exist on any one machine, which is no error.
        let Ok(entries) = Path::new(parent).read_dir() else {
            continue;
        };
        for entry in entries.flatten() {
            let folder = entry.path().join(below);
            let named = entry.file_name().to_string_lossy().starts_with(prefix);
            if named && folder.join("initdb").is_file() {
                folders.push(folder);
            }
        }
    }
    folders
}
