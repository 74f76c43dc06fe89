//! A bundle in the file system: where its appspec stands, and whether what the appspec names is there. It changes nothing.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::appspec::{Appspec, At, Place, Problem};
use crate::config::owner;
use crate::error::{Context, Error, Result, plain};

/// What an appspec may be called.
const NAMES: [&str; 2] = ["appspec.yml", "appspec.yaml"];
/// Most bytes that are read of one; the reader of YAML has the last word.
const LARGEST: u64 = 2 << 20;

/// A directory with an appspec.
#[derive(Debug)]
pub struct Bundle {
    /// The directory that paths in the appspec begin in: the top, or its single directory.
    pub root: PathBuf,
    /// The appspec, as a path below the top.
    pub name: PathBuf,
    /// What it says.
    pub text: Vec<u8>,
}

/// Looks for the appspec of the directory `top`. `None`: it has none, so it is no bundle.
pub fn find(top: &Path) -> Result<Option<Bundle>> {
    let cannot = || format!("cannot look into {}", top.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(top).context(cannot)? {
        entries.push(entry.context(cannot)?);
        if entries.len() > 1 {
            break;
        }
    }
    let single = match &entries[..] {
        [one] if one.file_type().context(cannot)?.is_dir() => Some(one.file_name()),
        _ => None,
    };
    for below in [Some(PathBuf::new()), single.map(PathBuf::from)].into_iter().flatten() {
        let root = top.join(&below);
        let there = NAMES.map(|name| fs::symlink_metadata(root.join(name)).is_ok().then_some(name));
        let name = match there {
            [Some(one), Some(other)] => {
                let root = root.display();
                return Err(Error::refused(format!("{one} and {other} are both in {root}: leave one of them out")));
            }
            [None, None] => continue,
            [one, other] => below.join(one.or(other).unwrap_or_default()),
        };
        return Ok(Some(Bundle { text: read(&top.join(&name))?, root, name }));
    }
    Ok(None)
}

/// The text of an appspec.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    if !fs::metadata(path).context(cannot)?.is_file() {
        return Err(Error::refused(format!("{}: it is no file", cannot())));
    }
    let mut text = Vec::new();
    fs::File::open(path).context(cannot)?.take(LARGEST).read_to_end(&mut text).context(cannot)?;
    Ok(text)
}

/// Whether sources and scripts are in the bundle at `root`.
pub fn missing(appspec: &Appspec, root: &Path) -> Vec<Problem> {
    let sources = appspec.files.iter().map(|files| (&files.source, "source", false));
    let scripts = appspec.hooks.iter().flat_map(|(_, scripts)| scripts);
    let scripts = scripts.map(|script| (&script.location, "location", true));
    let problem = |(path, key, is_script): (&At<PathBuf>, &str, bool)| {
        let why = lacks(root, &path.it, is_script)?;
        Some(Problem { at: path.at, is_warning: false, text: format!("{key}: {}", why.escape_debug()) })
    };
    sources.chain(scripts).filter_map(problem).collect()
}

/// Why `path` is nothing that the bundle has; a script must be a file. A link counts as what it leads to, inside.
fn lacks(root: &Path, path: &Path, is_script: bool) -> Option<String> {
    let shown = path.display();
    let inside = |path: &Path| Ok::<_, std::io::Error>((path.canonicalize()?, root.canonicalize()?));
    if !is_script && fs::symlink_metadata(root.join(path)).is_ok_and(|meta| meta.is_symlink()) {
        return None; // it is copied as a link, wherever it leads
    }
    match inside(&root.join(path)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(format!("{shown} is not in the bundle")),
        Err(e) => Some(format!("cannot look at {shown}: {}", plain(&e))),
        Ok((real, root)) if !real.starts_with(&root) => Some(format!("{shown} is a link that leads out of the bundle")),
        Ok((real, _)) if is_script && !real.is_file() => Some(format!("{shown} is no file")),
        Ok(_) => None,
    }
}

/// Users and groups that this host does not have. `passwd` and `group` are its two files.
pub fn strangers(appspec: &Appspec, passwd: &str, group: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut look = |at: Place, is_user: bool, name: &str| {
        let id = if is_user { owner::user(name, passwd) } else { owner::group(name, group) };
        found.extend(id.err().map(|text| Problem { at, is_warning: true, text }));
    };
    for permission in &appspec.permissions {
        for (name, is_user) in [(&permission.owner, true), (&permission.group, false)] {
            name.iter().for_each(|name| look(name.at, is_user, &name.it));
        }
        for entry in &permission.acls {
            let is_user = entry.it.whom == crate::appspec::acl::Whom::User;
            entry.it.name.iter().for_each(|name| look(entry.at, is_user, name));
        }
    }
    for script in appspec.hooks.iter().flat_map(|(_, scripts)| scripts) {
        script.runas.iter().for_each(|runas| look(runas.at, true, &runas.it));
    }
    found
}
