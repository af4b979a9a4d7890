//! A server of our own: made by `initdb`, run as a child process, stopped and started at will.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::account::Account;
use crate::address;
use crate::binaries::Binaries;
use crate::directory::Directory;
use crate::error::{ControlError, LaunchError, StartError, at};
use crate::limits;
use crate::pid_file::PidFile;
use crate::postmaster::Postmaster;
use crate::program;
use crate::settings::Settings;
use crate::spawner;

/// One data directory and the server that runs on it, if any.
///
/// The order of the fields is the order of their drop: first the server, then its files.
#[derive(Debug)]
pub(crate) struct Cluster {
    postmaster: Mutex<Option<Postmaster>>,
    /// Held by whoever stops or starts, so that two callers cannot start two servers.
    turn: tokio::sync::Mutex<()>,
    directory: Directory,
    binaries: Binaries,
    account: Account,
}

impl Cluster {
    /// Makes a data directory and starts a server on it.
    pub(crate) async fn start(
        binaries: Binaries,
        account: Account,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let directory = Directory::create(&account).map_err(|why| StartError::Directory { why })?;
        initdb(&directory, &binaries, &account).await?;
        configure(&directory, settings)?;
        let (postmaster, turn) = (Mutex::new(None), tokio::sync::Mutex::new(()));
        let cluster = Self { postmaster, turn, directory, binaries, account };
        cluster
            .launch()
            .await
            .map_err(|source| StartError::Launch {
                binaries: cluster.binaries.describe(),
                source,
            })?;
        Ok(cluster)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        address::of_socket(self.directory.path(), database)
    }

    pub(crate) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.data()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.log()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.is_running()
            .then(|| self.postmaster().as_ref().map(Postmaster::pid))?
    }

    pub(crate) fn is_running(&self) -> bool {
        self.reap().is_ok_and(|running| running)
    }

    /// Sends the signal and waits until the server has ended and is reaped; `Ok` if none runs.
    pub(crate) async fn end(&self, signal: Signal) -> Result<(), ControlError> {
        let _turn = self.turn.lock().await;
        if let Some(postmaster) = &*self.postmaster() {
            postmaster.signal(signal)?;
        }
        let ended = async {
            while self.reap()? {
                sleep(limits::POLL).await;
            }
            Ok(())
        };
        let waited_s = limits::STOP_WITHIN.as_secs();
        timeout(limits::STOP_WITHIN, ended)
            .await
            .unwrap_or(Err(ControlError::StillRunning { waited_s }))
    }

    /// Starts the server again; `Ok` if it is running.
    pub(crate) async fn start_again(&self) -> Result<(), ControlError> {
        let _turn = self.turn.lock().await;
        if self.reap()? {
            return Ok(());
        }
        for _ in 0..limits::RESTARTS_MAX {
            match self.launch().await {
                Err(LaunchError::Ended { log, .. }) if is_passing(&log) => {
                    sleep(limits::RESTART_PAUSE).await;
                }
                done => return Ok(done?),
            }
        }
        Ok(self.launch().await?)
    }

    /// Spawns the server and waits until it accepts connections.
    async fn launch(&self) -> Result<(), LaunchError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let log_start = log.metadata()?.len();
        let postmaster = spawner::spawn(self.command(log).await?).await?;
        let pid = postmaster.pid();
        *self.postmaster() = Some(postmaster);
        let waited = timeout(limits::READY_WITHIN, self.until_ready(pid)).await;
        let log = || tail_since(&self.log(), log_start);
        match waited {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(status))) => Err(LaunchError::Ended { status, log: log() }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                // Dropping it stops it: a server that nobody was promised must not stay.
                drop(self.postmaster().take());
                let waited_s = limits::READY_WITHIN.as_secs();
                Err(LaunchError::NotReady { waited_s, log: log() })
            }
        }
    }

    /// `None` once the server is ready, its status if it has ended.
    async fn until_ready(&self, pid: u32) -> io::Result<Option<ExitStatus>> {
        let data = self.data();
        loop {
            // A killed server leaves its file behind: without the pid, its `ready` would be taken
            // for the new server's.
            if PidFile::read(&data).is_some_and(|file| file.ready && file.pid == pid) {
                return Ok(None);
            }
            if let Some(status) = self.take_ended()? {
                return Ok(Some(status));
            }
            sleep(limits::POLL).await;
        }
    }

    /// The command line of the server, tied to the life of this process where that is possible.
    async fn command(&self, log: File) -> io::Result<Command> {
        let server = self.binaries.program("postgres");
        let mut command = if is_leash_there().await {
            // It replaces itself by the server, which therefore stays our direct child.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig=QUIT", "--"]).arg(server);
            command
        } else {
            Command::new(server)
        };
        command.arg("-D").arg(self.data());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        prepare(&mut command, &self.directory, &self.account);
        // Ctrl-C goes to a terminal's whole process group. The program that uses the server
        // decides when it stops.
        command.process_group(0);
        Ok(command)
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server runs; one that has ended is reaped and forgotten.
    fn reap(&self) -> io::Result<bool> {
        self.take_ended()?;
        Ok(self.postmaster().is_some())
    }

    fn take_ended(&self) -> io::Result<Option<ExitStatus>> {
        let mut postmaster = self.postmaster();
        let Some(running) = &mut *postmaster else {
            return Ok(None);
        };
        let ended = running.ended()?;
        if ended.is_some() {
            *postmaster = None;
        }
        Ok(ended)
    }
}

/// What every program of the server needs: its user, a folder that this user can enter, and
/// messages that do not depend on the caller's language.
fn prepare(command: &mut Command, directory: &Directory, account: &Account) {
    account.apply(command);
    command.current_dir(directory.path()).env("LC_ALL", "C");
}

async fn initdb(
    directory: &Directory,
    binaries: &Binaries,
    account: &Account,
) -> Result<(), StartError> {
    let mut command = Command::new(binaries.program("initdb"));
    command.arg("-D").arg(directory.data());
    command.args([
        "-U",
        address::SUPERUSER,
        "--auth=trust",
        "-E",
        "UTF8",
        "--no-locale",
    ]);
    // The files need not survive a power loss before the server has started: nothing is in them.
    command.args(["--no-sync", "--no-instructions"]);
    prepare(&mut command, directory, account);
    match program::run(command, limits::INITDB_WITHIN).await {
        Ok(_) => Ok(()),
        Err(why) => Err(StartError::Initdb { binaries: binaries.describe(), why }),
    }
}

fn configure(directory: &Directory, settings: &Settings) -> Result<(), StartError> {
    let path = directory.data().join("postgresql.conf");
    let write = || {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.write_all(settings.file(directory.path()).as_bytes())
    };
    write().map_err(|error| StartError::Directory { why: at(&path, &error) })
}

/// Whether `setpriv` is here and can set a parent-death signal. It belongs to Linux, and the one
/// of busybox cannot.
async fn is_leash_there() -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=QUIT", "--", "true"]);
    program::probe(command).await.is_ok()
}

/// Whether the server refused to start only because the killed one has not quite gone: a backend
/// inside a long statement holds the shared memory until it notices.
///
/// There is no exit code for it, so the text must do; `LC_ALL=C` keeps it in English.
fn is_passing(log: &str) -> bool {
    log.contains("pre-existing shared memory block")
        || log.contains("lock file \"postmaster.pid\" already exists")
}

/// The last lines of a log, of those after `start`.
fn tail_since(path: &Path, start: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(
            start.max(end.saturating_sub(limits::TAIL_BYTES_MAX)),
        ))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.is_empty() => "(empty)".to_owned(),
        Ok(bytes) => program::tail(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(not readable: {})", at(path, &error)),
    }
}
