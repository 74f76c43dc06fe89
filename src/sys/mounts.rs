//! Mounts, from proc_pid_mountinfo(5): a directory may be mounted at several places, and so have several names. Without
//! a /proc nothing is known.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The mounts that this process sees, in order: at one place, a later one covers an earlier one.
#[derive(Debug, Default)]
pub struct Mounts(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    /// `major:minor`.
    device: Vec<u8>,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    at: PathBuf,
}

/// A place in a file system, independent of its names on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    device: Vec<u8>,
    path: PathBuf,
}

impl Mounts {
    /// Reads the present mounts.
    pub fn read() -> Self {
        let text = super::file::read_proc("/proc/self/mountinfo");
        Self(text.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect())
    }

    /// The origin of `path`, which must be free of links.
    pub fn origin(&self, path: &Path) -> Option<Origin> {
        let covers = |mount: &&Mount| below(&mount.at, path).is_some();
        let mount = self.0.iter().filter(covers).max_by_key(|mount| mount.at.as_os_str().len())?;
        Some(Origin { device: mount.device.clone(), path: mount.root.join(below(&mount.at, path)?) })
    }
}

impl Mount {
    /// `36 35 98:0 /root /at options … - type source options`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ').skip(2);
        let device = words.next()?.to_owned();
        Some(Self { device, root: unescaped(words.next()?), at: unescaped(words.next()?) })
    }
}

impl Origin {
    /// Its path relative to `outer`; empty: the same. `None`: it is elsewhere.
    pub fn below(&self, outer: &Self) -> Option<&Path> {
        below(&outer.path, &self.path).filter(|_| self.device == outer.device)
    }
}

/// `inner` relative to `outer`; empty: the same. `None`: it is not inside. Both are absolute and without `.`, `..` and
/// double slashes. Every check compares all its paths with each other, which [`Path::strip_prefix`] does by components.
pub fn below<'a>(outer: &Path, inner: &'a Path) -> Option<&'a Path> {
    let outer = outer.as_os_str().as_bytes();
    let rest = inner.as_os_str().as_bytes().strip_prefix(outer)?;
    match rest.strip_prefix(b"/") {
        Some(rest) => Some(Path::new(OsStr::from_bytes(rest))),
        None if rest.is_empty() || outer == b"/" => Some(Path::new(OsStr::from_bytes(rest))),
        None => None,
    }
}

/// A blank, a tab, a newline and a backslash are written as three octal digits.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octal =
            |digits: &[u8; 3]| digits.iter().try_fold(0_u32, |value, b| Some(value * 8 + char::from(*b).to_digit(8)?));
        let escaped = after.first_chunk::<3>().filter(|_| byte == b'\\').and_then(octal);
        match escaped.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                path.push(value);
                rest = &after[3..];
            }
            None => path.push(byte),
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_another_as_its_components_say() {
        let paths = ["/", "/a", "/a/b", "/a/bc", "/ab", "/a/b/c d", "/b", "/a/ä"].map(Path::new);
        for outer in paths {
            for inner in paths {
                assert_eq!(below(outer, inner), inner.strip_prefix(outer).ok(), "{inner:?} below {outer:?}");
            }
        }
    }

    #[test]
    fn a_place_is_known_by_the_mount_that_covers_it_last() {
        let text: &[&[u8]] = &[
            b"1 0 8:1 / / rw - ext4 /dev/sda1 rw",
            b"2 1 0:5 / /srv rw shared:1 - tmpfs none rw",
            b"3 1 8:1 /data/a\\040b /mnt/x rw - ext4 /dev/sda1 rw",
            b"4 1 8:1 /over /mnt/x rw - ext4 /dev/sda1 rw",
            b"nonsense",
        ];
        let mounts = Mounts(text.iter().filter_map(|line| Mount::parse(line)).collect());
        let at = |path: &str| mounts.origin(Path::new(path)).unwrap();
        for (path, device, inside) in
            [("/etc", "8:1", "/etc"), ("/srv/app", "0:5", "/app"), ("/srv", "0:5", "/"), ("/mnt/x/y", "8:1", "/over/y")]
        {
            assert_eq!(at(path), Origin { device: device.into(), path: inside.into() }, "{path}");
        }
        assert_eq!(at("/mnt/x/y/z").below(&at("/over/y")), Some(Path::new("z")));
        assert_eq!(at("/srv/app").below(&at("/")), None);
        assert_eq!(unescaped(b"/data/a\\040b\\"), Path::new("/data/a b\\"));
        assert_eq!(Mounts::default().origin(Path::new("/")), None);
        assert!(Path::new("/proc/self/mountinfo").exists() == Mounts::read().origin(Path::new("/")).is_some());
        assert_eq!(unescaped("ä".as_bytes()), Path::new("ä"));
    }
}
