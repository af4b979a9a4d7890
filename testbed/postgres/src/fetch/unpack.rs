//! What is missing in an unpacked package: links and permissions.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::error::at;

/// Puts the symbolic links back that an npm archive cannot hold.
///
/// The package lists them in `native/pg-symlinks.json` for its own script, which we do not run.
pub(crate) fn restore_links(package: &Path) -> Result<(), String> {
    let list = package.join("native/pg-symlinks.json");
    let text = fs::read(&list).map_err(|error| at(&list, &error))?;
    let entries: Vec<Link> = parse(&text)
        .ok_or_else(|| format!("{} is not a list of sources and targets", list.display()))?;
    for Link { source, target } in entries {
        let (source, target) = (Path::new(&source), Path::new(&target));
        let link = package.join(target);
        // All of them are versions of a library beside it. A link that is relative to its own
        // folder also survives the move into the cache.
        let name = source
            .file_name()
            .filter(|_| source.parent() == target.parent());
        let name = name.ok_or_else(|| format!("{} leaves its folder", link.display()))?;
        match symlink(name, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at(&link, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

struct Link {
    source: String,
    target: String,
}

fn parse(text: &[u8]) -> Option<Vec<Link>> {
    let list: serde_json::Value = serde_json::from_slice(text).ok()?;
    let text = |entry: &serde_json::Value, key| Some(entry.get(key)?.as_str()?.to_owned());
    list.as_array()?
        .iter()
        .map(|entry| {
            Some(Link {
                source: text(entry, "source")?,
                target: text(entry, "target")?,
            })
        })
        .collect()
}

/// Makes everything readable by the user of the server, whatever the umask was.
///
/// A wheel also loses the execute bits when Python unpacks it.
pub(crate) fn open_to_everyone(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            open_to_everyone(&entry.path())?;
        } else if kind.is_file() {
            let mode = if folder.ends_with("bin") {
                0o755
            } else {
                0o644
            };
            fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_restored_relative_to_their_folder() {
        let package = tempfile::tempdir().unwrap();
        let lib = package.path().join("native/lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libpq.so.5.18"), "library").unwrap();
        let list = r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#;
        fs::write(package.path().join("native/pg-symlinks.json"), list).unwrap();

        restore_links(package.path()).unwrap();
        restore_links(package.path()).unwrap();

        assert_eq!(
            fs::read_link(lib.join("libpq.so.5")).unwrap(),
            Path::new("libpq.so.5.18")
        );
        assert_eq!(fs::read(lib.join("libpq.so.5")).unwrap(), b"library");
    }

    #[test]
    fn programs_can_be_run_and_files_read_by_everyone() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for path in [bin.join("postgres"), folder.path().join("file")] {
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        open_to_everyone(folder.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&bin.join("postgres")), 0o755);
        assert_eq!(mode(&folder.path().join("file")), 0o644);
    }
}
