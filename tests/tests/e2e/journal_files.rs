//! The journal's file is gone, or its disk is full: nothing is confirmed that is not durable.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use accordant_client::Wait;
use anyhow::{Context as _, ensure};

use crate::oracle::Told;
use crate::teller::Form;
use crate::world::{JournalKind, World};

/// The journal's files that are there.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("journal.db") && !name.ends_with(".lock") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Submits until the coordinator no longer calls itself ready, and some more. No acknowledgement may
/// be given that the journal does not hold: the audit will ask for each.
async fn not_ready(world: &World) -> anyhow::Result<String> {
    let mut said = String::from("it has ended");
    let start = tokio::time::Instant::now();
    loop {
        world.teller.transfer(Form::Across).await?;
        match world.ready().await {
            Ok((true, _)) => {}
            Ok((false, reason)) => {
                said = reason;
                break;
            }
            // It has ended: nobody takes it for ready.
            Err(_) => break,
        }
        ensure!(
            start.elapsed() < Duration::from_secs(15),
            "it still calls itself ready"
        );
    }
    for _ in 0..3 {
        let told = world.teller.transfer(Form::Across).await?;
        ensure!(
            matches!(told, Told::NotBegun | Told::Unknown),
            "told {told:?} without a journal"
        );
    }
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_confirmed_while_the_journals_file_is_gone() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Sqlite).await?;
    world.teller.some().await?;
    let away = world.directory.path().join("away");
    std::fs::create_dir(&away)?;
    let moved = files(world.directory.path())?;
    for file in &moved {
        std::fs::rename(file, away.join(file.file_name().context("a name")?))?;
    }
    let said = not_ready(&world).await?;
    println!("{} files moved away: {said}", moved.len());
    world.coordinator.kill()?;
    // What a start without the file has made in its place is not the journal.
    for file in files(world.directory.path())? {
        std::fs::remove_file(file)?;
    }
    for file in &moved {
        std::fs::rename(away.join(file.file_name().context("a name")?), file)?;
    }
    world.restart().await?;
    let settled = world.settle().await?;
    println!("back: settled in {} ms", settled.as_millis());
    world.audit().await
}

/// A small disk. Unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(at)?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at);
        let done = mount.output().context("`mount` cannot be run")?;
        ensure!(
            done.status.success(),
            "`mount` failed: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // If it is busy it goes with the machine's next start.
        let _refused = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_confirmed_while_the_journals_disk_is_full() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let at = folder.path().join("disk");
    let disk = match SmallDisk::mount(&at) {
        Ok(disk) => disk,
        Err(error) => {
            println!("SKIPPED: no small disk can be mounted here: {error:#}");
            return Ok(());
        }
    };
    let mut world = World::on_disk(&at.join("journal.db")).await?;
    world.teller.some().await?;
    let filler = at.join("filler");
    // All that is left, to the last byte.
    let mut full = false;
    let mut text = Vec::new();
    for size in [64 * 1024, 4 * 1024, 512] {
        while std::fs::write(&filler, &text).is_ok() {
            text.resize(text.len() + size, b'x');
            full = true;
        }
        text.truncate(text.len().saturating_sub(size));
    }
    let _partial = std::fs::write(&filler, &text);
    ensure!(full, "the disk could not be filled");
    // The write-ahead log reuses what it has: some more may still go in.
    let said = not_ready(&world).await?;
    println!("the disk is full: {said}");
    std::fs::remove_file(&filler)?;
    if !world.coordinator.is_running() {
        println!("the process has ended; it is started again");
    }
    world.heal().await?;
    world.until_ready().await?;
    let settled = world.settle().await?;
    println!("room again: settled in {} ms", settled.as_millis());
    world.audit().await?;
    let fresh = world
        .teller
        .submit(&world.teller.next(Form::Across), Wait::Completed)
        .await?;
    ensure!(fresh == Told::Committed, "{fresh:?}");
    world.coordinator.kill()?;
    drop(disk);
    Ok(())
}
