//! Default places of downloads and state: the directories that systemd gives a service (systemd.exec(5)), the system's
//! for root, those of the XDG base directory specification for others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A directory from the configuration, or the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Absolute; `None`: this user has none.
    pub path: Option<PathBuf>,
    /// It is given in the configuration.
    pub is_given: bool,
    /// Why this user has none.
    pub lacks: &'static str,
}

/// A kind of directory.
#[derive(Debug)]
pub(super) struct Standard {
    systemd: &'static str,
    roots: &'static str,
    xdg: &'static str,
    below_home: &'static str,
}

/// Files that may be lost.
pub(super) const CACHE: Standard = Standard {
    systemd: "CACHE_DIRECTORY",
    roots: "/var/cache/repo-deploy",
    xdg: "XDG_CACHE_HOME",
    below_home: ".cache",
};

/// Files that must not be lost.
pub(super) const STATE: Standard = Standard {
    systemd: "STATE_DIRECTORY",
    roots: "/var/lib/repo-deploy",
    xdg: "XDG_STATE_HOME",
    below_home: ".local/state",
};

/// Why HOME gives no directory.
pub(super) fn lacks_home(environment: &[(OsString, OsString)]) -> &'static str {
    match environment.iter().find(|(key, _)| key == "HOME").map(|(_, home)| Path::new(home)) {
        None => "there is no STATE_DIRECTORY, XDG_STATE_HOME or HOME",
        Some(home) if home == Path::new("/") => "HOME is /, which is no directory of this user's",
        Some(home) if home.as_os_str().is_empty() => "HOME is empty",
        Some(_) => "HOME is no absolute path",
    }
}

impl Standard {
    /// The directory of this kind.
    pub(super) fn find(&self, environment: &[(OsString, OsString)]) -> Option<PathBuf> {
        self.find_for(environment, rustix::process::geteuid().is_root())
    }

    fn find_for(&self, environment: &[(OsString, OsString)], is_root: bool) -> Option<PathBuf> {
        // The specification says to ignore a path that is not absolute.
        let get = |name: &str| {
            let value = environment.iter().find(|(key, _)| key == name).map(|(_, value)| value)?;
            Some(PathBuf::from(value)).filter(|path| path.is_absolute())
        };
        // A service may have several, separated by colons; the first is used.
        if let Some(first) = get(self.systemd).and_then(|all| Some(PathBuf::from(all.to_str()?.split(':').next()?))) {
            return Some(first);
        }
        if is_root {
            return Some(PathBuf::from(self.roots));
        }
        let home = || get("HOME").filter(|home| home != Path::new("/")).map(|home| home.join(self.below_home));
        get(self.xdg).or_else(home).map(|above| above.join("repo-deploy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_root_and_users_have_their_own() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: [(Variables, bool, Option<&str>); 9] = [
            (&[], true, Some("/var/lib/repo-deploy")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/root")], true, Some("/var/lib/repo-deploy")),
            (&[("STATE_DIRECTORY", "/var/lib/a")], true, Some("/var/lib/a")),
            (&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("HOME", "/h")], false, Some("/var/lib/a")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], false, Some("/x/repo-deploy")),
            (&[("XDG_STATE_HOME", "x"), ("HOME", "/h")], false, Some("/h/.local/state/repo-deploy")),
            (&[("HOME", "/h")], false, Some("/h/.local/state/repo-deploy")),
            (&[("HOME", "/")], false, None), // a container's user without a line in /etc/passwd
            (&[], false, None),
        ];
        for (environment, is_root, expected) in cases {
            let owned: Vec<_> = environment.iter().map(|(key, value)| (key.into(), value.into())).collect();
            assert_eq!(STATE.find_for(&owned, is_root), expected.map(PathBuf::from), "{environment:?} {is_root}");
        }
    }
}
