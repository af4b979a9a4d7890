//! The sources of the workspace.

use std::path::Path;

use anyhow::{Context, Result};

/// A source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path from the place that was searched, or from the workspace's root.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    /// Its lines that are no comment, each with its number from 1.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines
            .map(|(at, line)| (at + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The last part of its path.
    pub(crate) fn file(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// All `.rs` files below a folder, by name. Build outputs and hidden folders are passed by.
pub(crate) fn sources(folder: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<Source>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, found)?;
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            let root = crate::cargo::root();
            let name = path
                .strip_prefix(&root)
                .unwrap_or(&path)
                .to_string_lossy()
                .replace('\\', "/");
            found.push(Source { name, text });
        }
    }
    Ok(())
}
