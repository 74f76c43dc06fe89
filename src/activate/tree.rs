//! What a directory holds, as a list: read by descriptors, through no link, across no mount.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::sys::fs::{Dir, Kind, Meta};

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the top.
    pub path: PathBuf,
    /// What it is.
    pub meta: Meta,
    /// A link's text.
    pub target: Option<OsString>,
    /// Another file system is mounted here; what is in it is not listed.
    pub mount: bool,
}

/// All entries below a directory: parents before their children, siblings in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub Vec<Entry>);

impl Tree {
    /// Lists what is below `top`, leaving out `skip` and what is below them.
    pub fn read(top: &Dir, skip: &[PathBuf]) -> Result<Self> {
        let device = top.meta().context(|| "cannot examine a tree")?.dev;
        let mut tree = Self::default();
        tree.read_dir(top, Path::new(""), device, skip)?;
        Ok(tree)
    }

    fn read_dir(&mut self, dir: &Dir, at: &Path, device: u64, skip: &[PathBuf]) -> Result<()> {
        for name in dir.names().context(|| format!("cannot read {}", named(at)))? {
            let path = at.join(&name);
            if skip.contains(&path) {
                continue;
            }
            // A name may be gone by now: an application works in there.
            let Some(meta) = dir.look(&name).context(|| format!("cannot examine {}", path.display()))? else {
                continue;
            };
            let mount = meta.dev != device;
            let target = match meta.kind {
                Kind::Link => {
                    Some(dir.read_link(&name).context(|| format!("cannot read the link {}", path.display()))?)
                }
                _ => None,
            };
            let descend = meta.kind == Kind::Dir && !mount;
            self.0.push(Entry { path: path.clone(), meta, target, mount });
            if descend {
                let child = dir.child(&name).context(|| format!("cannot open {}", path.display()))?;
                self.read_dir(&child, &path, device, skip)?;
            }
        }
        Ok(())
    }

    /// The entry at `path`.
    pub fn find(&self, path: &Path) -> Option<&Entry> {
        // Sorted by components, as Path's order is.
        self.0.binary_search_by(|entry| entry.path.as_path().cmp(path)).ok().map(|at| &self.0[at])
    }
}

fn named(path: &Path) -> String {
    if path.as_os_str().is_empty() { "the top of a tree".to_owned() } else { path.display().to_string() }
}
