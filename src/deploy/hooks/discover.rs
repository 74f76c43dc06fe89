//! Which files of a directory are hooks, in which order, and whether they may run at all: only root and the user of
//! this process may be able to change a hook, its link target or a directory above. The same holds for its `.paths`
//! file.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::paths::{self, Paths};
use crate::config::keys::Name;
use crate::error::{Context, Error, Result, plain};
use crate::sys::log;
use crate::sys::resolve::{self, Fault, Way, untrusted_reason};
use crate::sys::sort::sort;

/// The content of a hook directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The hooks, in order; empty without a directory.
    Hooks(Vec<Listed>),
    /// A hook or directory that other users can change, named in the text: no hook runs.
    Refused(String),
}

/// A hook that may be run.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: PathBuf,
    /// The changes it runs for; `None`: any.
    pub paths: Option<Paths>,
}

/// The hooks of a directory when a check begins: one that is missing at its turn counts as failed.
#[derive(Debug)]
pub struct Before {
    dir: PathBuf,
    /// The directory's identity: it may lie in the live tree, and the next release has another one.
    inode: Option<(u64, u64)>,
    names: Vec<OsString>,
}

impl Before {
    /// Records the hooks of `dir`; `None`: it does not exist. Errors are reported when the hooks are about to run.
    pub fn of(dir: &Path) -> Option<Self> {
        dir.symlink_metadata().ok()?;
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let is_hook = |name: &OsString| !is_left_over(name) && matches!(what(&dir.join(name)), Ok(Is::Program));
        Some(Self { dir: dir.to_owned(), inode: inode(dir), names: names.filter(is_hook).collect() })
    }

    /// Whether these are the hooks of `dir`.
    pub fn is_of(&self, dir: &Path) -> bool {
        self.dir == dir
    }

    /// The first hook that was lost: not among `hooks`, and either the directory is still the same one or the hook is
    /// now a dangling link.
    pub fn lost(&self, hooks: &[Listed]) -> Option<PathBuf> {
        let is_same = inode(&self.dir) == self.inode;
        let paths = self.names.iter().map(|name| self.dir.join(name));
        let is_lost = |path: &PathBuf| {
            !hooks.iter().any(|hook| hook.path == *path) && (is_same || (path.is_symlink() && !path.exists()))
        };
        paths.filter(is_lost).min()
    }
}

fn inode(dir: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(dir).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Examines everything in `dir`; runs nothing. Besides the hooks, returns a sentence for each likely mistake.
pub fn discover(dir: &Path) -> Result<(Found, Vec<String>)> {
    let cannot = || format!("cannot read the hook directory {}", dir.display());
    let open = match resolve::open_dir(dir, Way::Trusted) {
        Err(fault) if fault.is_missing() && !dir.is_symlink() => {
            let (dir_name, none) = (dir.display(), Found::Hooks(Vec::new()));
            if is_default(dir) {
                log::debug!("no hooks: {dir_name} does not exist");
                return Ok((none, Vec::new()));
            }
            let text = format!("the hook directory {dir_name}, which was configured, does not exist: no hooks run");
            return Ok((none, vec![text]));
        }
        Err(Fault::Untrusted(why)) => {
            return refused(format!("the hook directory {} is refused: {why}", dir.display()));
        }
        Err(Fault::Io(e)) => return Err(e).with_context(cannot),
        Ok(open) => open,
    };
    let seen =
        open.names().with_context(cannot)?.into_iter().map(|name| look(dir, name)).collect::<Result<Vec<_>>>()?;
    let mut remarks: Vec<String> = seen.iter().filter_map(|seen| seen.remark(dir)).collect();
    let (hooks, mut passed_over) = select(seen);
    let mut listed = Vec::new();
    for name in hooks {
        let path = dir.join(&name);
        match untrusted_reason(&path) {
            Ok(None) => {}
            Ok(Some(why)) => return refused(format!("the hook {} is refused: {why}", path.display())),
            Err(e) => return refused(format!("cannot look at the hook {}: {}", path.display(), plain(&e))),
        }
        let file = paths::file_of(&name);
        let read = passed_over.contains(&file).then(|| paths::read(&dir.join(&file))).transpose();
        match read {
            Ok(paths) => listed.push(Listed { path, paths }),
            Err(why) => return refused(format!("the hook {} is refused: {why}", path.display())),
        }
        passed_over.retain(|name| *name != file);
    }
    remarks.extend(passed_over.iter().filter_map(|file| idle_paths(dir, file, &passed_over)));
    if !passed_over.is_empty() {
        let names: Vec<_> = passed_over.iter().map(|name| name.display().to_string()).collect();
        log::debug!("passed over in {}: {}", dir.display(), names.join(", "));
    }
    Ok((Found::Hooks(listed), remarks))
}

fn refused(why: String) -> Result<(Found, Vec<String>)> {
    Ok((Found::Refused(why), Vec::new()))
}

/// The remark about a `.paths` file without a hook. There is none if the hook was only switched off.
fn idle_paths(dir: &Path, file: &OsStr, passed_over: &[OsString]) -> Option<String> {
    let hook = paths::hook_of(file).filter(|hook| !is_left_over(OsStr::from_bytes(hook)))?;
    let mut others = passed_over.iter().filter(|other| *other != file);
    (!others.any(|other| other.as_bytes().starts_with(hook))).then(|| {
        let hook = String::from_utf8_lossy(hook);
        format!("{} has no effect: there is no hook {hook} beside it", dir.join(file).display())
    })
}

/// Whether `dir` is the default of a hook directory setting.
fn is_default(dir: &Path) -> bool {
    [Name::PreHooks, Name::PostHooks].iter().any(|name| dir == Path::new(name.key().default))
}

/// A directory entry and its kind.
#[derive(Debug)]
struct Seen {
    name: OsString,
    is: Is,
}

/// The kind of an entry, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// A regular file with an executable bit.
    Program,
    /// A regular file without an executable bit.
    File,
    /// A directory.
    Directory,
    /// A dangling link.
    Dangling,
    /// A device, a FIFO or a socket.
    Other,
}

impl Seen {
    /// The remark about an entry that does not run although its name looks like a hook's: the operator may count on it.
    fn remark(&self, dir: &Path) -> Option<String> {
        let path = dir.join(&self.name);
        let path = path.display();
        let why = match self.is {
            Is::Program | Is::Directory => return None,
            _ if is_left_over(&self.name) => return None,
            Is::File => "it is not executable: chmod 755 makes it run, a name that ends in .disabled switches it off",
            Is::Dangling => "it is a link to nothing",
            Is::Other => "it is no regular file",
        };
        Some(format!("passed over the hook {path}: {why}"))
    }
}

/// The kind of the entry at `path`.
fn what(path: &Path) -> io::Result<Is> {
    Ok(match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Is::Directory,
        Ok(meta) if !meta.is_file() => Is::Other,
        Ok(meta) if meta.permissions().mode() & 0o111 != 0 => Is::Program,
        Ok(_) => Is::File,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Is::Dangling,
        Err(e) => return Err(e),
    })
}

fn look(dir: &Path, name: OsString) -> Result<Seen> {
    let path = dir.join(&name);
    // A link loop or a directory without search permission: the entry was meant to run, so it must not be skipped.
    let cannot = |e| Error::failed(format!("cannot look at the hook {}: {}", path.display(), plain(&e)));
    let is = what(&path).map_err(cannot)?;
    Ok(Seen { name, is })
}

/// Separates the hooks, in byte order of their names, from the other entries.
fn select(mut seen: Vec<Seen>) -> (Vec<OsString>, Vec<OsString>) {
    sort(&mut seen, &mut |a, b| a.name.cmp(&b.name));
    let (hooks, passed_over): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|seen| seen.is == Is::Program && !is_left_over(&seen.name));
    let names = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.name).collect();
    (names(hooks), names(passed_over))
}

/// Whether a name is a left-over of an editor, patch or a package manager, hidden, switched off, or a `.paths` file.
fn is_left_over(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    let ends: [&[u8]; 7] = [b"~", b".bak", b".orig", b".rej", b".swp", b".disabled", b".paths"];
    name.starts_with(b".")
        || name == b"README"
        || ends.iter().any(|end| name.ends_with(end))
        || has(b".dpkg-")
        || has(b".rpm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_overs_are_known_by_name() {
        let cases = [
            ("10-reload", false),
            ("reload.sh", false),
            ("~x", false),
            ("README.sh", false),
            ("readme", false),
            ("x.bakery", false),
            ("orig", false),
            ("disabled", false),
            ("dpkg-reconfigure", false),
            ("rpm", false),
            ("é", false),
            (".hidden", true),
            (".", true),
            ("x~", true),
            ("~", true),
            ("x.bak", true),
            ("x.orig", true),
            ("x.rej", true),
            ("x.swp", true),
            ("x.dpkg-old", true),
            ("x.dpkg-dist", true),
            ("x.rpmsave", true),
            ("x.rpmnew", true),
            ("x.rpm", true),
            ("x.disabled", true),
            ("README", true),
            ("x.paths", true),
            ("paths", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_left_over(OsStr::new(name)), expected, "{name}");
        }
        assert!(!is_left_over(OsStr::from_bytes(b"\xff\xfe")));
    }

    #[test]
    fn select_orders_by_bytes_and_loses_nothing() {
        let seen = |name: &[u8], is_program| Seen {
            name: OsStr::from_bytes(name).to_owned(),
            is: if is_program { Is::Program } else { Is::File },
        };
        let names: [(&[u8], bool); 9] = [
            (b"b", true),
            (b"10", true),
            (b"9", true),
            (b"B", true),
            (b"\xff", true),
            ("é".as_bytes(), true),
            (b"plain", false),
            (b"a~", true),
            (b"a", true),
        ];
        let (hooks, passed_over) = select(names.map(|(name, executable)| seen(name, executable)).into());
        let hooks: Vec<_> = hooks.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(hooks, [&b"10"[..], b"9", b"B", b"a", b"b", "é".as_bytes(), b"\xff"]);
        assert_eq!(passed_over, ["a~", "plain"]);
    }
}
