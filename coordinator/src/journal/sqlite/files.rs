//! The files of a journal: that they are ours alone, and still those that we opened.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use super::super::error::OpenError;

/// The paths of an open journal, and which files stood there when it was opened.
#[derive(Debug)]
pub(super) struct Files {
    /// The database, with its folder resolved.
    pub(super) database: PathBuf,
    log: PathBuf,
    database_id: FileId,
    /// Known once something was written.
    log_id: Option<FileId>,
}

/// A file, whatever its name: device and inode. As long as SQLite has the file open its inode cannot
/// be given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    fn at(path: &Path) -> Result<Self, Misplaced> {
        let misplaced = |source| Misplaced::Missing { path: path.to_owned(), source };
        std::fs::symlink_metadata(path)
            .map(|metadata| Self::of(&metadata))
            .map_err(misplaced)
    }
}

/// What is written now would not be found at the next start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misplaced {
    #[error("the journal's file {path} was deleted or cannot be seen while it is open")]
    Missing { path: PathBuf, source: std::io::Error },
    #[error("the journal's file {path} was replaced by another while it is open")]
    Replaced { path: PathBuf },
}

impl Files {
    /// Finds the place, makes the file unless it is there, and makes its name durable.
    pub(super) fn prepare(path: &Path) -> Result<Self, OpenError> {
        let database = resolve(path)?;
        let refuse = |problem: String| OpenError::Path { path: database.clone(), problem };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&database)
            .map_err(|error| refuse(explain(&error)))?;
        let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if !metadata.is_file() {
            return Err(refuse("it is not a regular file".into()));
        }
        if metadata.nlink() != 1 {
            return Err(refuse(
                "the file has several names (hard links), and a lock on one does not hold for the \
                 others: remove them"
                    .into(),
            ));
        }
        // The name of a new file is durable only once its folder is.
        database
            .parent()
            .map_or(Ok(()), |folder| {
                File::open(folder).and_then(|folder| folder.sync_all())
            })
            .map_err(|error| refuse(format!("its folder cannot be synced: {error}")))?;
        let log = with_suffix(&database, "-wal");
        let database_id = FileId::of(&metadata);
        Ok(Self { database, log, database_id, log_id: None })
    }

    /// Remembers the log that SQLite has made.
    pub(super) fn watch_log(&mut self) -> Result<(), Misplaced> {
        self.log_id = Some(FileId::at(&self.log)?);
        Ok(())
    }

    /// Whether the files are still those that SQLite has open.
    pub(super) fn check(&self) -> Result<(), Misplaced> {
        self.check_database()?;
        match self.log_id {
            Some(id) if FileId::at(&self.log)? != id => {
                Err(Misplaced::Replaced { path: self.log.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the database is still the one that was opened first.
    pub(super) fn check_database(&self) -> Result<(), Misplaced> {
        if FileId::at(&self.database)? != self.database_id {
            return Err(Misplaced::Replaced { path: self.database.clone() });
        }
        Ok(())
    }
}

/// The path with its folder resolved, so that two ways to one file take one lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let refuse = |problem: String| OpenError::Path { path: path.to_owned(), problem };
    let name = path
        .file_name()
        .ok_or_else(|| refuse("it does not name a file".into()))?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let resolved = folder.canonicalize().map_err(|error| {
        let shown = folder.display();
        refuse(if error.kind() == ErrorKind::NotFound {
            format!("the folder {shown} does not exist: create it with `mkdir -p {shown}`")
        } else {
            format!("the folder {shown} cannot be used: {error}")
        })
    })?;
    let full = resolved.join(name);
    match std::fs::symlink_metadata(&full) {
        Ok(metadata) if metadata.is_symlink() => Err(refuse(
            "it is a symbolic link: give the path of the file itself".into(),
        )),
        Ok(metadata) if metadata.is_dir() => Err(refuse(format!(
            "it is a folder: give the path of a file in it, such as {}",
            full.join("journal.db").display()
        ))),
        Ok(metadata) if !metadata.is_file() => Err(refuse("it is not a regular file".into())),
        Ok(_) => Ok(full),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(full),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// The right to be the only coordinator on a journal; ends with the process, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// On a file of its own beside the database: SQLite's own locks would be lost by closing any
    /// other handle on the database.
    pub(super) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = with_suffix(database, ".lock");
        let refuse = |problem: String| OpenError::Path { path: path.clone(), problem };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&path)
            .map_err(|error| refuse(explain(&error)))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = read_pid(&mut file);
                return Err(OpenError::InUse { path: database.to_owned(), pid });
            }
            Err(error) => return Err(refuse(format!("it cannot be locked: {error}"))),
        }
        // Only for the message above, so a disk that is full must not keep us from starting.
        if let Err(error) = write_pid(&mut file) {
            tracing::debug!(%error, "the process id was not written to the lock file");
        }
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn explain(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::PermissionDenied {
        "this user may not write there: change the owner of the folder or the file".into()
    } else {
        error.to_string()
    }
}
