//! What the journal in SQLite promises beyond the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accordant_coordinator::journal::conformance::fixture::{Mint, Transaction};
use accordant_coordinator::journal::error::{FlushError, OpenError};
use accordant_coordinator::journal::group_commit::{Append, Health, ShardIndex, start};
use accordant_coordinator::journal::sqlite::{STATEMENTS, SqliteOptions, SqliteStore};
use accordant_coordinator::journal::store::{Flushed, Lease, OwnerId, Refusal, Store};
use accordant_migrations::coordinator::SQLITE;
use accordant_protocol::effect::{Appended, Token, Urgency};
use accordant_protocol::id::{Cluster, Epoch, PartitionId};
use rusqlite::Connection;
use tempfile::TempDir;

const PARTITION: PartitionId = PartitionId(0);

fn options(path: &Path) -> SqliteOptions {
    let cluster = Cluster::new("test").unwrap();
    SqliteOptions {
        path: path.to_owned(),
        cluster,
        partitions: Some(4),
        restored: false,
    }
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(options(path))
}

fn refusal(path: &Path) -> String {
    open(path).unwrap_err().to_string()
}

async fn take(store: &dyn Store) -> Epoch {
    let lease = Lease { owner: OwnerId::new("me").unwrap(), ms: 60_000 };
    store.acquire(PARTITION, &lease).await.unwrap().epoch
}

struct World {
    folder: TempDir,
    store: Arc<SqliteStore>,
    mint: Mint,
    epoch: Epoch,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Arc::new(open(&folder.path().join("journal.db")).unwrap());
        let epoch = take(&*store).await;
        let mint = Mint::new(store.description());
        Self { folder, store, mint, epoch }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn transaction(&self) -> Transaction {
        self.mint.transaction(PARTITION, self.epoch)
    }

    async fn append(&self) -> Transaction {
        let one = self.transaction();
        assert_eq!(
            self.store.flush(&[one.begun()]).await.unwrap(),
            [Flushed::Durable]
        );
        one
    }
}

#[test]
fn every_statement_is_prepared_on_a_migrated_database() {
    let connection = Connection::open_in_memory().unwrap();
    for migration in SQLITE {
        connection.execute_batch(migration.sql).unwrap();
    }
    for sql in STATEMENTS {
        connection
            .prepare(sql)
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}

#[test]
fn the_library_is_free_of_the_log_reset_defect() {
    assert!(
        rusqlite::version_number() >= 3_051_003,
        "{}",
        rusqlite::version()
    );
}

#[tokio::test]
async fn a_second_coordinator_is_refused_with_the_first_ones_process_id() {
    let world = World::new().await;
    let path = world.path("journal.db");
    let text = refusal(&path);
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    // By another way to the same folder, too.
    let detour = world.path("detour");
    symlink(world.folder.path(), &detour).unwrap();
    assert!(matches!(
        open(&detour.join("journal.db")),
        Err(OpenError::InUse { .. })
    ));
    let one = world.append().await;
    drop(world.store);
    let store = open(&path).unwrap();
    assert!(store.read(one.gtid).await.unwrap().is_some());
}

#[tokio::test]
async fn opening_raises_every_epoch_and_frees_every_lease() {
    let world = World::new().await;
    let path = world.path("journal.db");
    drop(world.store);
    let store = open(&path).unwrap();
    let states = store.partitions().await.unwrap();
    assert_eq!(states.len(), 4);
    assert!(states[0].epoch > world.epoch);
    assert!(
        states
            .iter()
            .all(|state| state.owner.is_none() && state.epoch > Epoch(0))
    );
    let theirs = Lease { owner: OwnerId::new("they").unwrap(), ms: 1_000 };
    store.acquire(PARTITION, &theirs).await.unwrap();
}

#[test]
fn a_path_that_cannot_hold_a_journal_is_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing").join("journal.db");
    let text = refusal(&missing);
    assert!(
        text.contains("does not exist") && text.contains("mkdir -p"),
        "{text}"
    );
    let text = refusal(folder.path());
    assert!(text.contains("it is a folder"), "{text}");
    let target = folder.path().join("target.db");
    fs::write(&target, "").unwrap();
    let link = folder.path().join("link.db");
    symlink(&target, &link).unwrap();
    assert!(refusal(&link).contains("symbolic link"));
    let second = folder.path().join("second.db");
    fs::hard_link(&target, &second).unwrap();
    assert!(refusal(&second).contains("hard links"));
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("create table t (x)")
        .unwrap();
    assert!(refusal(&foreign).contains("another program"));
    let garbage = folder.path().join("garbage.db");
    fs::write(
        &garbage,
        "this is no database at all, but it is long enough".repeat(100),
    )
    .unwrap();
    assert!(matches!(open(&garbage), Err(OpenError::Unavailable { .. })));
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let world = World::new().await;
    world.append().await;
    for name in [
        "journal.db",
        "journal.db-wal",
        "journal.db-shm",
        "journal.db.lock",
    ] {
        let mode = fs::metadata(world.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn another_journal_than_configured_is_refused() {
    let world = World::new().await;
    let path = world.path("journal.db");
    drop(world.store);
    let other = SqliteOptions { cluster: Cluster::new("other").unwrap(), ..options(&path) };
    assert!(matches!(
        SqliteStore::open(other),
        Err(OpenError::OtherCluster { .. })
    ));
    let more = SqliteOptions { partitions: Some(5), ..options(&path) };
    let refused = SqliteStore::open(more);
    assert!(matches!(
        refused,
        Err(OpenError::OtherPartitions { stored: 4, ours: 5 })
    ));
    let any = SqliteOptions { partitions: None, ..options(&path) };
    assert_eq!(SqliteStore::open(any).unwrap().description().partitions, 4);
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        open(&path),
        Err(OpenError::NewerSchema { stored: 99, .. })
    ));
}

#[tokio::test]
async fn a_restored_journal_gets_another_incarnation_and_keeps_what_it_has() {
    let world = World::new().await;
    let path = world.path("journal.db");
    let (one, never) = (world.append().await, world.transaction());
    let before = world.store.description().incarnation;
    drop(world.store);
    let restored = SqliteOptions { restored: true, ..options(&path) };
    let store = SqliteStore::open(restored).unwrap();
    assert_ne!(store.description().incarnation, before);
    let epoch = take(&store).await;
    let flushed = store.flush(&[never.under(epoch).presumed()]).await.unwrap();
    assert_eq!(
        flushed,
        [Flushed::Refused(Refusal::Foreign)],
        "absence means nothing there"
    );
    let open_ones = store.load_open(PARTITION, None, 10).await.unwrap();
    assert_eq!(open_ones[0].gtid, one.gtid);
    let flushed = store.flush(&[one.under(epoch).aborted(1)]).await.unwrap();
    assert_eq!(flushed, [Flushed::Durable], "what is known goes on");
}

#[tokio::test]
async fn nothing_is_acknowledged_once_a_file_is_deleted_or_replaced() {
    for name in ["journal.db", "journal.db-wal"] {
        for replace in [false, true] {
            let world = World::new().await;
            world.append().await;
            if replace {
                fs::copy(world.path(name), world.path("copy")).unwrap();
                fs::rename(world.path("copy"), world.path(name)).unwrap();
            } else {
                fs::remove_file(world.path(name)).unwrap();
            }
            let refused = world
                .store
                .flush(&[world.transaction().begun()])
                .await
                .unwrap_err();
            assert!(
                matches!(refused, FlushError::Unavailable { .. }),
                "{name}: {refused:?}"
            );
            let text = format!("{:?}", refused);
            assert!(text.contains(name), "{text}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_heals() {
    let world = World::new().await;
    let before = world.append().await;
    world.store.limit_pages(Some(1)).await.unwrap();
    let large = world.transaction();
    let mut refused = 0;
    for _ in 0..20 {
        match world.store.flush(&[large.begun_with(60_000)]).await {
            Err(FlushError::Unknown { .. }) => refused += 1,
            surprise => panic!("{surprise:?}"),
        }
    }
    assert_eq!(refused, 20);
    world.store.limit_pages(None).await.unwrap();
    world.store.probe().await.unwrap();
    let epoch = take(&*world.store).await;
    assert!(world.store.read(large.gtid).await.unwrap().is_none());
    assert!(world.store.read(before.gtid).await.unwrap().is_some());
    let again = large.under(epoch);
    assert_eq!(
        world.store.flush(&[again.begun()]).await.unwrap(),
        [Flushed::Durable]
    );
}

#[tokio::test]
async fn a_full_disk_makes_the_journal_not_ready_until_a_probe_is_written() {
    let world = World::new().await;
    let (journal, mut completions, _writer) = start(world.store.clone(), 1);
    let append = |token, entry| Append { token: Token(token), entry, urgency: Urgency::Forced };
    world.append().await;
    world.store.limit_pages(Some(1)).await.unwrap();
    let large = world.transaction().begun_with(60_000);
    journal
        .append(ShardIndex(0), vec![append(1, large)])
        .unwrap();
    assert_eq!(
        completions[0].next().await.unwrap()[0].outcome,
        Appended::Unknown
    );
    let mut health = journal.health();
    // A probe that only changes a row would still fit, so this may already be over.
    health
        .wait_for(|health| *health == Health::Ready)
        .await
        .unwrap();
    world.store.limit_pages(None).await.unwrap();
    journal
        .append(ShardIndex(0), vec![append(2, world.transaction().begun())])
        .unwrap();
    assert_eq!(
        completions[0].next().await.unwrap()[0].outcome,
        Appended::Durable
    );
}

#[tokio::test]
async fn the_log_is_copied_back_when_there_is_nothing_to_do() {
    let world = World::new().await;
    for _ in 0..40 {
        let batch: Vec<_> = (0..40)
            .map(|_| world.transaction().begun_with(4_000))
            .collect();
        world.store.flush(&batch).await.unwrap();
    }
    let database = world.path("journal.db");
    let grown = || fs::metadata(&database).unwrap().len() > 1_000_000;
    for _ in 0..200 {
        if grown() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the database did not grow");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_copy_of_the_files_at_any_moment() {
    let world = World::new().await;
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        acknowledged.push(world.append().await);
    }
    // As after a crash: the files as they are, and nobody has closed them.
    let crashed = TempDir::new().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        fs::copy(world.path(name), crashed.path().join(name)).unwrap();
    }
    let store = open(&crashed.path().join("journal.db")).unwrap();
    for one in acknowledged {
        assert!(
            store.read(one.gtid).await.unwrap().is_some(),
            "{}",
            one.gtid
        );
    }
}

#[tokio::test]
async fn a_journal_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_holds() {
    let world = World::new().await;
    let path = world.path("journal.db");
    let one = world.append().await;
    let incarnation = world.store.description().incarnation;
    drop(world.store);
    // What the second step adds is taken away again.
    let back = r#"alter table "transaction" drop column stuck; pragma user_version = 1"#;
    Connection::open(&path)
        .unwrap()
        .execute_batch(back)
        .unwrap();
    let store = open(&path).unwrap();
    assert_eq!(store.description().incarnation, incarnation);
    assert!(take(&store).await > world.epoch);
    let stored = store.read(one.gtid).await.unwrap().unwrap();
    assert_eq!(stored.records.len(), 1);
    drop(store);
    let version: i64 = Connection::open(&path)
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, SQLITE.len() as i64);
}
