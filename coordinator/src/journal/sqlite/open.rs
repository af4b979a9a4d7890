//! Opening a journal in SQLite.

use std::path::PathBuf;
use std::time::Duration;

use accordant_migrations::coordinator::SQLITE as MIGRATIONS;
use accordant_protocol::id::{Cluster, Incarnation};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::super::error::OpenError;
use super::super::incarnation::{check_identity, draw_incarnation, partitions_of};
use super::super::limits::{SQLITE_BUSY, SQLITE_CALLS_MAX, SQLITE_IDLE, SQLITE_READS_MAX};
use super::super::store::Description;
use super::engine::Engine;
use super::failure::{Failure, open_error};
use super::files::{Files, Lock, resolve};
use super::statement;
use super::store::SqliteStore;
use super::tables::signed;
use super::thread::{StartError, Thread};

/// The first SQLite without the WAL-reset corruption of 3.7.0 to 3.51.2.
const VERSION_MIN: i32 = 3_051_003;

/// Marks the file as a journal of ours: "Accd".
const APPLICATION_ID: i32 = 0x4163_6364;

/// How a journal in SQLite is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file; made unless it is there. Its folder must be there, on a local disk.
    pub path: PathBuf,
    /// Whose journal it is.
    pub cluster: Cluster,
    /// How many partitions a new journal gets; if given, an old one must have as many.
    pub partitions: Option<u16>,
    /// The file was restored from a copy: decisions may be missing. A new incarnation is drawn, so
    /// that no transaction begun before is ever presumed aborted. Set it for one start only.
    pub restored: bool,
}

impl SqliteStore {
    /// Opens the journal, or makes it; raises the epoch of every partition, so that nothing of an
    /// earlier process can still be written.
    ///
    /// Blocks for some milliseconds; at the first start after a crash longer, while the log is
    /// copied back.
    ///
    /// # Errors
    /// [`OpenError`], with what to do.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        if rusqlite::version_number() < VERSION_MIN {
            let version = rusqlite::version();
            return Err(OpenError::Unsafe {
                problem: format!(
                    "SQLite {version} can corrupt its log; 3.51.3 or later is needed: build with \
                     the bundled library, and unset LIBSQLITE3_SYS_USE_PKG_CONFIG"
                ),
            });
        }
        let database = resolve(&options.path)?;
        let lock = Lock::take(&database)?;
        let files = Files::prepare(&database)?;
        let database = files.database.clone();
        let (sender, description) = std::sync::mpsc::sync_channel(1);
        let make = move || {
            let mut engine = Engine::open(files).map_err(open_error)?;
            let description = set_up(&mut engine, &options)?;
            // The opener waits for it.
            drop(sender.send(description));
            Ok(engine)
        };
        let name = "journal-writer";
        let writer = Thread::start(name, SQLITE_CALLS_MAX, SQLITE_IDLE, make, Engine::rest);
        let writer = writer.map_err(start_error)?;
        let read = move || connect_reader(&database);
        let (name, never) = ("journal-reader", Duration::from_secs(3_600));
        let reader = Thread::start(name, SQLITE_READS_MAX, never, read, |_| {});
        let reader = reader.map_err(|error| match error {
            StartError::Make(error) => open_error(error),
            StartError::Spawn(error) => OpenError::Unavailable { source: error.into() },
            StartError::Panicked => OpenError::Unavailable { source: "its thread panicked".into() },
        })?;
        let description = description
            .recv()
            .map_err(|error| OpenError::Unavailable { source: error.into() })?;
        Ok(Self::new(description, reader, writer, lock))
    }
}

fn start_error(error: StartError<OpenError>) -> OpenError {
    match error {
        StartError::Make(error) => error,
        StartError::Spawn(error) => OpenError::Unavailable { source: error.into() },
        StartError::Panicked => OpenError::Unavailable { source: "its thread panicked".into() },
    }
}

fn connect_reader(database: &std::path::Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(SQLITE_BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn set_up(engine: &mut Engine, options: &SqliteOptions) -> Result<Description, OpenError> {
    migrate(engine)?;
    let found = engine
        .connection()?
        .query_row(statement::SELECT_JOURNAL, [], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        });
    let found = found.optional().map_err(open_error)?;
    let incarnation = match &found {
        Some((_, incarnation, _)) if !options.restored => Some(*incarnation),
        Some(_) | None => None,
    };
    let partitions = match &found {
        Some((cluster, _, partitions)) => {
            check_identity(cluster, *partitions, options.cluster, options.partitions)?
        }
        None => partitions_of(options.partitions)?,
    };
    let incarnation = match incarnation {
        Some(stored) => Incarnation(
            u32::try_from(stored)
                .map_err(|_| OpenError::Corrupt { what: format!("incarnation {stored}") })?,
        ),
        None => draw_incarnation(found.as_ref().map(|(_, incarnation, _)| *incarnation))?,
    };
    let schema = MIGRATIONS.len().try_into().unwrap_or(u32::MAX);
    let description = Description { cluster: options.cluster, incarnation, partitions, schema };
    let (new, restored) = (found.is_none(), options.restored);
    let made = description.clone();
    engine.write(move |connection| {
        if new {
            insert_journal(connection, &made)?;
        } else if restored {
            let now = signed(crate::clock::now().as_millis());
            connection.execute(statement::KEEP_INCARNATION, [now])?;
            connection.execute(statement::SET_INCARNATION, [made.incarnation.0])?;
        }
        connection.execute(statement::RAISE_ALL, []).map(drop)
    })?;
    engine.watch_files()?;
    Ok(description)
}

fn insert_journal(connection: &Connection, made: &Description) -> Result<(), rusqlite::Error> {
    connection.execute(
        statement::INSERT_JOURNAL,
        params![made.cluster.as_str(), made.incarnation.0, made.partitions],
    )?;
    let mut insert = connection.prepare(statement::INSERT_PARTITION)?;
    for partition in made.partition_ids() {
        insert.execute([partition.0])?;
    }
    Ok(())
}

fn migrate(engine: &mut Engine) -> Result<(), OpenError> {
    let connection = engine.connection()?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = pragma("user_version").map_err(open_error)?;
    let application = pragma("application_id").map_err(open_error)?;
    let tables: i64 = connection
        .query_row("select count(*) from sqlite_schema", [], |row| row.get(0))
        .map_err(open_error)?;
    if tables > 0 && application != i64::from(APPLICATION_ID) {
        return Err(OpenError::Unsafe {
            problem: "the file is a database of another program: give another path".into(),
        });
    }
    let ours = MIGRATIONS.len().try_into().unwrap_or(u32::MAX);
    let stored = u32::try_from(version)
        .map_err(|_| OpenError::Corrupt { what: format!("schema version {version}") })?;
    if stored > ours {
        return Err(OpenError::NewerSchema { stored, ours });
    }
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.version > stored)
    {
        tracing::info!(
            version = migration.version,
            name = migration.name,
            "migrating the journal"
        );
        let done: Result<(), Failure> = engine.write(|connection| {
            connection.execute_batch(migration.sql)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", migration.version)
        });
        done?;
    }
    Ok(())
}
