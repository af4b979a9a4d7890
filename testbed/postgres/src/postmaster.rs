//! The running server process: signals, and the reaping that must follow each.

use std::io;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits;

/// A server process that this process spawned and has not reaped.
///
/// Dropping it stops the server at once (crash recovery at the next start) and reaps it.
#[derive(Debug)]
pub(crate) struct Postmaster {
    child: Child,
}

impl Postmaster {
    pub(crate) fn new(child: Child) -> Self {
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. Safe against a reused pid: nobody but this struct reaps the child.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill_process(Pid::from_child(&self.child), signal) {
            // It has ended already, and the reaping comes next.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The exit status if the server has ended; that also reaps it.
    ///
    /// An unreaped server makes the next start fail, because its pid still looks alive.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // Errors have nobody to go to here: the server has ended, or the kill below ends it.
        drop(self.signal(Signal::QUIT));
        for _ in 0..limits::DROP_POLLS_MAX {
            if !matches!(self.ended(), Ok(None)) {
                return;
            }
            std::thread::sleep(limits::POLL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
