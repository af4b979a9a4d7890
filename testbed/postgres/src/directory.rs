//! The folder of one server: data, socket, log; and the removal of abandoned ones.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::account::Account;
use crate::address;
use crate::error::at;
use crate::limits;
use crate::pid_file::PidFile;

const PREFIX: &str = "accordant-pg-";
/// Locked for as long as the process lives that made the folder.
const OWNER: &str = "owner";

/// A folder that exists until it is dropped.
///
/// A process that is killed drops nothing. Its folder stays behind, and on systems without a
/// parent-death signal its server too; the next server that anybody starts here removes both. It
/// knows them by the lock on `owner`, which the kernel takes back from a dead process.
#[derive(Debug)]
pub(crate) struct Directory {
    /// `None` only while it is being dropped.
    directory: Option<TempDir>,
    path: PathBuf,
    _owner: File,
}

impl Directory {
    /// Makes the folder, reachable by the user of the server and short enough for a socket.
    ///
    /// The error is a fragment for a message.
    pub(crate) fn create(account: &Account) -> Result<Self, String> {
        let base = base(account)?;
        sweep(&base);
        // Nobody but the server's user (and root, who passes anyway) has business in here, where
        // the socket lets anyone in as superuser. That user must pass when we are somebody else.
        let mode = match account {
            Account::Own => 0o700,
            Account::Other { .. } => 0o755,
        };
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(mode))
            .tempdir_in(&base)
            .map_err(|error| at(&base, &error))?;
        let path = directory.path().to_owned();
        let finish = || {
            // The umask may have taken bits away.
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            let owner = take_ownership(&path)?;
            account.own(&path)?;
            Ok(owner)
        };
        let owner = finish().map_err(|error: io::Error| at(&path, &error))?;
        Ok(Self { directory: Some(directory), path, _owner: owner })
    }

    /// The folder itself, in which the socket is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Backends of a killed server end by themselves and may still write; then removal fails
        // for a moment. What is left after that, the next start sweeps away.
        let Some(directory) = self.directory.take() else {
            return;
        };
        let path = directory.keep();
        for _ in 0..limits::REMOVALS_MAX {
            match fs::remove_dir_all(&path) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(limits::POLL),
            }
        }
    }
}

/// Creates `owner`, locked. The rename makes it appear only once it is: a sweep by another
/// process would otherwise take the new folder for an abandoned one.
fn take_ownership(path: &Path) -> io::Result<File> {
    let unlocked = path.join("owner.new");
    let owner = File::create_new(&unlocked)?;
    owner.lock()?;
    fs::rename(unlocked, path.join(OWNER))?;
    Ok(owner)
}

/// The first usual place for temporary files that fits.
fn base(account: &Account) -> Result<PathBuf, String> {
    let mut refused = Vec::new();
    for place in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
        match fits(&place, account) {
            Ok(place) => return Ok(place),
            Err(why) => refused.push(why),
        }
    }
    Err(refused.join("; "))
}

fn fits(place: &Path, account: &Account) -> Result<PathBuf, String> {
    let place = place.canonicalize().map_err(|error| at(place, &error))?;
    let shown = place.display().to_string();
    // Six random characters, and a slash.
    if shown.len() + PREFIX.len() + 7 > limits::SOCKET_DIRECTORY_BYTES_MAX {
        return Err(format!("{shown} is too long for a socket path"));
    }
    // The server's configuration takes the folder from a list in which these would need quotes.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '+');
    if !shown.chars().all(plain) {
        return Err(format!("{shown} has unusual characters"));
    }
    let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|m| m.mode() & 0o001 == 0);
    match (account, place.ancestors().find(closed)) {
        (Account::Other { name, .. }, Some(closed)) => {
            Err(format!("{} is closed to user {name}", closed.display()))
        }
        (Account::Own | Account::Other { .. }, _) => Ok(place),
    }
}

/// Removes the folders of dead processes, best effort: what cannot be removed harms nobody.
fn sweep(base: &Path) {
    let Ok(entries) = base.read_dir() else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            stop_orphan(&entry.path());
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Whether the folder was made by a process of this user that has ended.
fn is_abandoned(path: &Path) -> bool {
    let owner = path.join(OWNER);
    // Anyone may put things into /tmp: opening a fifo would hang, and what is not ours stays.
    let ours = fs::symlink_metadata(&owner)
        .is_ok_and(|m| m.is_file() && m.uid() == rustix::process::geteuid().as_raw());
    ours && File::open(owner).is_ok_and(|file| file.try_lock().is_ok())
}

/// Stops a server that outlived its process.
fn stop_orphan(path: &Path) {
    // Only while it accepts connections is the pid in its file certainly its own.
    if UnixStream::connect(path.join(format!(".s.PGSQL.{}", address::PORT))).is_err() {
        return;
    }
    let pid = PidFile::read(&path.join("data")).and_then(|file| i32::try_from(file.pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw)
        && kill_process(pid, Signal::QUIT).is_err()
    {
        // It ended in this moment, which is as good.
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_folder_of_a_dead_process_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = base.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let (alive, dead, unfinished) = (folder("alive"), folder("dead"), folder("unfinished"));
        let _owner = take_ownership(&alive).unwrap();
        drop(take_ownership(&dead).unwrap());

        // A child that another test is just spawning holds every lock until its exec.
        for _ in 0..limits::REMOVALS_MAX {
            sweep(base.path());
            std::thread::sleep(if dead.exists() {
                limits::POLL
            } else {
                Duration::ZERO
            });
        }

        assert!(alive.exists() && unfinished.exists());
        assert!(!dead.exists());
    }

    #[test]
    fn long_and_odd_places_are_refused() {
        let base = tempfile::tempdir().unwrap();
        for name in ["x".repeat(90), "with space".to_owned()] {
            let place = base.path().join(name);
            fs::create_dir(&place).unwrap();
            assert!(fits(&place, &Account::Own).is_err(), "{}", place.display());
        }
    }
}
