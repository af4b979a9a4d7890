//! The connection that writes, on its thread.

use std::cell::Cell;
use std::ffi::c_int;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

use super::super::error::Cause;
use super::super::limits::{SQLITE_BUSY, SQLITE_CHECKPOINT_IDLE_PAGES, SQLITE_CHECKPOINT_PAGES};
use super::failure::{Class, Failure, class};
use super::files::Files;

pub(super) const BEGIN_IMMEDIATE: &str = "begin immediate";
pub(super) const COMMIT: &str = "commit";

const CHECKPOINT: &str = "pragma wal_checkpoint(passive)";
const CHECKPOINT_ALL: &str = "pragma wal_checkpoint(truncate)";

/// Statements kept prepared: all of them.
const CACHED_STATEMENTS: usize = 64;

/// What owns the file. Lives on one thread.
pub(super) struct Engine {
    /// None after the disk was full: opened again before the next write.
    connection: Option<Connection>,
    files: Files,
    /// After an I/O error nothing is written or read any more.
    broken: Option<String>,
    /// Pages in the log after the last checkpoint that did not copy all of it.
    stuck_pages: i32,
    /// For a test that lets the disk be full at this many pages.
    page_max: Option<u32>,
}

impl Engine {
    /// Opens the connection, and checkpoints before anything is read: after a failed sync the system
    /// may have shown us pages of the log that are not on the disk.
    pub(super) fn open(files: Files) -> Result<Self, rusqlite::Error> {
        let connection = connect(&files)?;
        checkpoint(&connection, CHECKPOINT_ALL)?;
        let (broken, stuck_pages, page_max) = (None, 0, None);
        Ok(Self {
            connection: Some(connection),
            files,
            broken,
            stuck_pages,
            page_max,
        })
    }

    /// For the schema and the first rows.
    pub(super) fn connection(&mut self) -> Result<&Connection, Failure> {
        if let Some(broken) = &self.broken {
            return Err(Failure::Fatal(broken.clone().into()));
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => {
                // The path is opened by name, so look what stands there before and after.
                self.files
                    .check_database()
                    .map_err(|error| Failure::NotExecuted(error.into()))?;
                let connection = connect(&self.files).map_err(not_executed)?;
                if let Some(pages) = self.page_max {
                    set_page_max(&connection, pages).map_err(not_executed)?;
                }
                self.files
                    .watch_log()
                    .map_err(|error| Failure::NotExecuted(error.into()))?;
                self.files
                    .check()
                    .map_err(|error| Failure::NotExecuted(error.into()))?;
                Ok(none.insert(connection))
            }
        }
    }

    /// Remembers the files as they are after the first write.
    pub(super) fn watch_files(&mut self) -> Result<(), Failure> {
        let unavailable = |error: super::files::Misplaced| Failure::NotExecuted(error.into());
        self.files.watch_log().map_err(unavailable)?;
        self.files.check().map_err(unavailable)
    }

    /// Runs `work` in one local transaction, durable on return.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, Failure> {
        self.connection()?;
        self.files
            .check()
            .map_err(|error| Failure::NotExecuted(error.into()))?;
        let done = self.transact(work)?;
        // What was written to a file that has lost its name is not found at the next start.
        self.files
            .check()
            .map_err(|error| Failure::Unknown(error.into()))?;
        self.checkpoint_if(SQLITE_CHECKPOINT_PAGES);
        Ok(done)
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, Failure> {
        let connection = self.connection()?;
        if let Err(error) = connection
            .prepare_cached(BEGIN_IMMEDIATE)
            .and_then(|mut s| s.execute([]))
        {
            return Err(self.sort(error, false));
        }
        match work(connection) {
            Ok(done) => match connection
                .prepare_cached(COMMIT)
                .and_then(|mut s| s.execute([]))
            {
                Ok(_) => Ok(done),
                Err(error) => Err(self.sort(error, true)),
            },
            Err(error) => Err(self.sort(error, false)),
        }
    }

    /// Ends the transaction of an error, and says what became of it.
    fn sort(&mut self, error: rusqlite::Error, at_commit: bool) -> Failure {
        let rolled_back = self.connection.as_ref().is_none_or(|connection| {
            connection.is_autocommit() || connection.execute_batch("rollback").is_ok()
        });
        match class(&error) {
            Class::Broken => self.break_off(error.into()),
            _ if !rolled_back => self.break_off(error.into()),
            Class::Full => {
                self.connection = None;
                Failure::Unknown(error.into())
            }
            Class::Statement if at_commit => {
                self.connection = None;
                Failure::Unknown(error.into())
            }
            Class::Statement => Failure::NotExecuted(error.into()),
        }
    }

    fn break_off(&mut self, cause: Cause) -> Failure {
        self.broken = Some(format!("an earlier write failed: {cause}"));
        // Not closed: closing would checkpoint, and so trust what a failed sync left in memory.
        if let Some(connection) = self.connection.take() {
            std::mem::forget(connection);
        }
        Failure::Fatal(cause)
    }

    /// When there is nothing else to do.
    pub(super) fn rest(&mut self) {
        self.checkpoint_if(SQLITE_CHECKPOINT_IDLE_PAGES);
    }

    /// Copies the log back if it is long. A failure to do so loses nothing that was confirmed; an
    /// I/O error breaks the engine, and the next write says so.
    fn checkpoint_if(&mut self, pages_min: i32) {
        let Some(connection) = &self.connection else {
            return;
        };
        let pages = LOG_PAGES.get();
        if pages < self.stuck_pages {
            // It was started anew.
            self.stuck_pages = 0;
        }
        if pages < pages_min.saturating_add(self.stuck_pages) {
            return;
        }
        match checkpoint(connection, CHECKPOINT) {
            Ok(true) => {
                LOG_PAGES.set(0);
                self.stuck_pages = 0;
            }
            // A reader is in the way: wait for as much again.
            Ok(false) => self.stuck_pages = pages,
            Err(error) if class(&error) == Class::Broken => drop(self.break_off(error.into())),
            Err(error) => tracing::warn!(%error, "the journal's log was not copied back"),
        }
    }

    /// Lets the disk be full once the file has this many pages; none lifts it. For tests.
    pub(super) fn limit_pages(&mut self, pages: Option<u32>) -> Result<(), Failure> {
        self.page_max = pages;
        set_page_max(self.connection()?, pages.unwrap_or(u32::MAX - 1)).map_err(not_executed)
    }
}

fn not_executed(error: rusqlite::Error) -> Failure {
    match class(&error) {
        Class::Broken => Failure::Fatal(error.into()),
        Class::Full | Class::Statement => Failure::NotExecuted(error.into()),
    }
}

fn connect(files: &Files) -> Result<Connection, rusqlite::Error> {
    // Without the flag that creates: what is missing now was deleted.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(&files.database, flags)?;
    connection.busy_timeout(SQLITE_BUSY)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // In KiB if negative: the pages of some ten thousand recent transactions.
    connection.pragma_update(None, "cache_size", -32_768)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.wal_hook(Some(note_pages));
    let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if mode != "wal" || synchronous != 2 {
        let text =
            format!("journal_mode is {mode} and synchronous {synchronous}; wal and 2 are needed");
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        return Err(rusqlite::Error::SqliteFailure(code, Some(text)));
    }
    Ok(connection)
}

fn set_page_max(connection: &Connection, pages: u32) -> Result<(), rusqlite::Error> {
    connection
        .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        .map(drop)
}

/// Copies the log back as far as no reader needs it. Whether that was all of it.
fn checkpoint(connection: &Connection, sql: &'static str) -> Result<bool, rusqlite::Error> {
    connection.query_row(sql, [], |row| {
        let (busy, pages, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && pages == copied)
    })
}

thread_local! {
    /// Pages in the log of this thread's connection, as of its last commit: SQLite tells a function
    /// without a memory of its own.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

fn note_pages(_log: &Wal, pages: c_int) -> Result<(), rusqlite::Error> {
    LOG_PAGES.set(pages);
    Ok(())
}
