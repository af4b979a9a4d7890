//! pip and npm: which one is here, and one download through it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::at;
use crate::fetch::pinned::{Client, Package};
use crate::limits;
use crate::program;

/// A client that runs on this machine, by the command that starts it.
pub(crate) struct Ready {
    client: Client,
    program: &'static str,
}

impl Ready {
    /// Finds the client. The error is a fragment for a message.
    pub(crate) async fn find(client: Client) -> Result<Self, String> {
        let (programs, arguments): (&[&str], &[&str]) = match client {
            // A `pip` alone might belong to a Python that is gone; and Python unpacks the wheel.
            Client::Pip => (&["python3", "python"], &["-m", "pip", "--version"]),
            Client::Npm => (&["npm"], &["--version"]),
        };
        let mut why = String::new();
        for &program in programs {
            let mut command = Command::new(program);
            command.args(arguments);
            match program::probe(command).await {
                Ok(_) => return Ok(Self { client, program }),
                // The first name is the usual one, so its failure says most.
                Err(error) if why.is_empty() => why = error,
                Err(_) => {}
            }
        }
        Err(why)
    }

    /// Downloads the package into an empty folder and checks its hash.
    ///
    /// Neither client runs code of the package: a wheel has none to run, and `npm pack` is told to
    /// ignore scripts.
    pub(crate) async fn download(&self, package: &Package, to: &Path) -> Result<PathBuf, String> {
        let Package { name, version, .. } = package;
        let mut command = Command::new(self.program);
        match self.client {
            Client::Pip => command
                .args([
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(["--no-deps", "--only-binary=:all:", "--dest"])
                .arg(to)
                .arg(format!("{name}=={version}")),
            Client::Npm => command
                .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
                .arg(to)
                .arg(format!("{name}@{version}")),
        };
        program::run(command, limits::FETCH_WITHIN).await?;
        let file = only_file(to)?;
        verify(&file, package)?;
        Ok(file)
    }

    /// Unpacks a downloaded file into an empty folder.
    pub(crate) async fn unpack(&self, file: &Path, to: &Path) -> Result<(), String> {
        let command = match self.client {
            Client::Pip => {
                let mut command = Command::new(self.program);
                command.args(["-m", "zipfile", "-e"]).arg(file).arg(to);
                command
            }
            Client::Npm => {
                let mut command = Command::new("tar");
                command
                    .arg("-xzf")
                    .arg(file)
                    .arg("-C")
                    .arg(to)
                    .arg("--no-same-owner");
                command
            }
        };
        program::run(command, limits::FETCH_WITHIN).await.map(drop)
    }
}

fn only_file(folder: &Path) -> Result<PathBuf, String> {
    let files: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(|error| at(folder, &error))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(format!("one file was expected, and {} came", files.len())),
    }
}

/// Refuses a file that is not the pinned one, byte for byte.
fn verify(file: &Path, package: &Package) -> Result<(), String> {
    let found = sha256(file).map_err(|error| at(file, &error))?;
    if found == package.sha256 {
        return Ok(());
    }
    Err(format!(
        "{} {} has SHA-256 {found}, not {} as pinned: it was not unpacked; check which registry \
         or mirror the client uses",
        package.name, package.version, package.sha256
    ))
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut Writer(&mut hasher))?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Feeds a copy into the hash.
struct Writer<'a>(&'a mut Sha256);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::pinned;

    #[test]
    fn only_the_pinned_bytes_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut package = pinned::for_this_machine().next().unwrap().clone();
        let error = verify(&path, &package).unwrap_err();
        assert!(
            error.contains(hash) && error.contains("was not unpacked"),
            "{error}"
        );
        package.sha256 = hash;
        verify(&path, &package).unwrap();
    }
}
