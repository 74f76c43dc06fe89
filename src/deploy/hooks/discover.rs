//! Which files of a directory are hooks, in which order, and whether they may be run at all: nobody but root and the user
//! we run as may be able to change one, what it links to, or a directory above. The same holds for the `.paths` beside one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::paths::{self, Paths};
use crate::config::keys::Name;
use crate::error::{Context, Error, Result, plain};
use crate::sys::resolve::{self, Fault, Way, untrusted_reason};

/// What a directory has.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// These, in order; none when there is no directory.
    Hooks(Vec<Listed>),
    /// Something that others may change, in words: nothing of it runs.
    Refused(String),
}

/// A hook that may be run.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: PathBuf,
    /// For which changes; `None`: whatever changes.
    pub paths: Option<Paths>,
}

/// What a hook directory has when a check begins: what is gone at its turn has not agreed.
#[derive(Debug)]
pub struct Before {
    dir: PathBuf,
    /// Which one it is: the live tree may have it, and then the next release has another one.
    inode: Option<(u64, u64)>,
    names: Vec<OsString>,
}

impl Before {
    /// Remembers `dir`; `None`: it is not there. What cannot be looked at is told when hooks are to run.
    pub fn of(dir: &Path) -> Option<Self> {
        dir.symlink_metadata().ok()?;
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let is_hook = |name: &OsString| !is_left_over(name) && matches!(what(&dir.join(name)), Ok(Is::Program));
        Some(Self { dir: dir.to_owned(), inode: inode(dir), names: names.filter(is_hook).collect() })
    }

    /// Whether it is of this directory.
    pub fn is_of(&self, dir: &Path) -> bool {
        self.dir == dir
    }

    /// The first of its hooks that is lost: not among `hooks`, and nobody has left it out of another directory.
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

/// Looks at everything in `dir`; runs nothing. Besides what runs: what its owner may have meant otherwise, a sentence each.
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

/// What to say of a `.paths` that belongs to nothing. One whose hook was switched off waits for it without a word.
fn idle_paths(dir: &Path, file: &OsStr, passed_over: &[OsString]) -> Option<String> {
    let hook = paths::hook_of(file).filter(|hook| !is_left_over(OsStr::from_bytes(hook)))?;
    let mut others = passed_over.iter().filter(|other| *other != file);
    (!others.any(|other| other.as_bytes().starts_with(hook))).then(|| {
        let hook = String::from_utf8_lossy(hook);
        format!("{} has no effect: there is no hook {hook} beside it", dir.join(file).display())
    })
}

/// Whether hooks are looked for there when nobody says where.
fn is_default(dir: &Path) -> bool {
    [Name::PreHooks, Name::PostHooks].iter().any(|name| dir == Path::new(name.key().default))
}

/// A name and what it stands for.
#[derive(Debug)]
struct Seen {
    name: OsString,
    is: Is,
}

/// What a name stands for, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// A regular file that has an executable bit.
    Program,
    /// A regular file that has none.
    File,
    /// A directory.
    Directory,
    /// A link to nothing.
    Dangling,
    /// A device, a FIFO or a socket.
    Other,
}

impl Seen {
    /// What to say of something that does not run although its name says that it should: a gate is not open in silence.
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

/// What stands at `path`.
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
    // A link in a circle, a directory that may not be entered: it was meant to run, so it must not be skipped.
    let cannot = |e| Error::failed(format!("cannot look at the hook {}: {}", path.display(), plain(&e)));
    let is = what(&path).map_err(cannot)?;
    Ok(Seen { name, is })
}

/// Divides into what runs, in byte order of names, and what does not.
fn select(mut seen: Vec<Seen>) -> (Vec<OsString>, Vec<OsString>) {
    seen.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let (hooks, passed_over): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|seen| seen.is == Is::Program && !is_left_over(&seen.name));
    let names = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.name).collect();
    (names(hooks), names(passed_over))
}

/// What editors, patch and packagers leave behind, what is hidden, what was switched off, and what says when a hook is to run.
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
