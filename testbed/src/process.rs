//! Processes that can be killed and started again.
//!
//! A program that needs several processes starts itself again in a role, so that one build makes
//! all it needs. A role ends when the program that started it does, however that ended: it holds
//! the other end of the role's standard input.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What to start: a program, its arguments, and the file that it writes once it serves.
#[derive(Clone, Debug)]
pub struct Role {
    /// For messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment, besides that of this process.
    pub environment: Vec<(String, String)>,
    /// It is ready when this file is there. Removed before each start.
    pub ready_file: PathBuf,
    /// Where its standard output and error go.
    pub log_file: PathBuf,
    /// How long it may take to be ready.
    pub ready_within: Duration,
}

impl Role {
    /// A program whose files are in `directory`, without arguments, with 30 s to be ready.
    #[must_use]
    pub fn new(name: &str, program: PathBuf, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            ready_file: directory.join(format!("{name}.ready")),
            log_file: directory.join(format!("{name}.log")),
            ready_within: Duration::from_secs(30),
        }
    }

    /// The same with these arguments behind the others.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The same with this variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running process of a role.
#[derive(Debug)]
pub struct Process {
    role: Role,
    child: Option<Child>,
}

/// Why a process did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The system did not start, signal or reap it.
    #[error("{name}: {what}")]
    System {
        /// Which.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended with {status} before it was ready; its log:\n{log}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It was not ready in time.
    #[error("{name} was not ready within {seconds} s; its log:\n{log}")]
    Late {
        /// Which.
        name: String,
        /// The time it had.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
}

impl Process {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// [`ProcessError`]; nothing of it runs then.
    pub async fn start(role: Role) -> Result<Self, ProcessError> {
        let mut process = Self { role, child: None };
        process.start_again().await?;
        Ok(process)
    }

    /// Starts it again after it was killed or has ended, and waits until it is ready. Does
    /// nothing if it runs.
    ///
    /// # Errors
    /// [`ProcessError`]; nothing of it runs then.
    pub async fn start_again(&mut self) -> Result<(), ProcessError> {
        if self.is_running() {
            return Ok(());
        }
        self.launch()?;
        let pause = Duration::from_millis(5);
        let tries = self.role.ready_within.as_millis() / pause.as_millis();
        for _ in 0..tries {
            if self.role.ready_file.exists() {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                let (name, log) = (self.role.name.clone(), tail(&self.role.log_file));
                return Err(ProcessError::Ended { name, status, log });
            }
            tokio::time::sleep(pause).await;
        }
        self.kill()?;
        let (name, log) = (self.role.name.clone(), tail(&self.role.log_file));
        Err(ProcessError::Late { name, seconds: self.role.ready_within.as_secs(), log })
    }

    fn launch(&mut self) -> Result<(), ProcessError> {
        // It need not be there.
        let _absent = std::fs::remove_file(&self.role.ready_file);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.role.log_file);
        let log = log.map_err(|source| self.error("its log cannot be opened", source))?;
        let errors = log
            .try_clone()
            .map_err(|source| self.error("its log cannot be opened", source))?;
        let environment = self
            .role
            .environment
            .iter()
            .map(|(name, value)| (name, value));
        let child = Command::new(&self.role.program)
            .args(&self.role.arguments)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn();
        self.child = Some(child.map_err(|source| self.error("cannot be started", source))?);
        Ok(())
    }

    /// Whether it runs. Reaps it if not.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.ended().is_none()
    }

    /// How it ended, once it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What was started.
    #[must_use]
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// What is started next time.
    pub const fn role_mut(&mut self) -> &mut Role {
        &mut self.role
    }

    /// Kills it as `kill -9` does, and reaps it. Does nothing if it does not run.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<(), ProcessError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let killed = child.kill().and_then(|()| child.wait());
        killed
            .map(drop)
            .map_err(|source| self.error("cannot be killed", source))
    }

    /// Sends it a signal, for example to stop it in its tracks or to let it go on.
    ///
    /// # Errors
    /// If it does not run or the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let id = self
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let id = id.ok_or_else(|| self.error("does not run", gone()))?;
        kill_process(id, signal).map_err(|error| self.error("cannot be signalled", error.into()))
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// If it has not ended in time: it is killed then.
    pub async fn stop(&mut self, within: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        if !self.is_running() {
            self.child = None;
            return Ok(None);
        }
        self.signal(Signal::TERM)?;
        match self.wait(within).await {
            Some(status) => Ok(Some(status)),
            None => {
                self.kill()?;
                let (name, log) = (self.role.name.clone(), tail(&self.role.log_file));
                Err(ProcessError::Late { name, seconds: within.as_secs(), log })
            }
        }
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let pause = Duration::from_millis(5);
        for _ in 0..within.as_millis() / pause.as_millis() {
            if let Some(status) = self.ended() {
                self.child = None;
                return Some(status);
            }
            tokio::time::sleep(pause).await;
        }
        None
    }

    fn error(&self, what: &'static str, source: io::Error) -> ProcessError {
        ProcessError::System { name: self.role.name.clone(), what, source }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _refused = self.kill();
    }
}

/// The end of a log.
fn tail(path: &Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let skip = lines.len().saturating_sub(LINES);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}

/// Called by a role: ends this process as soon as the one that started it is gone.
///
/// # Panics
/// If the system starts no thread.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written there; it ends when the other end is closed.
        let _ended = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
}

/// Called by a role that serves: writes its ready file, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn tell_ready(ready_file: &Path, address: &str) -> io::Result<()> {
    let unfinished = ready_file.with_extension("part");
    std::fs::write(&unfinished, format!("{{\"address\":\"{address}\"}}\n"))?;
    std::fs::rename(unfinished, ready_file)
}
