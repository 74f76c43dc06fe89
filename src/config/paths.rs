//! Paths of the configuration: made absolute, and refused where a deployment would destroy system files. A path need
//! not exist; the existing part is resolved first, so that neither a link nor `..` hides where it leads.

use std::path::{Component, Path, PathBuf};

use super::seen::Seen;

/// A path in its final form: absolute (a relative one starts at the working directory), without `.`, `..`, or a slash
/// at the end.
pub fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('~') {
        return Err("~ is not expanded: write the whole path".to_owned());
    }
    let path = std::path::absolute(text).map_err(|e| crate::error::plain(&e))?;
    if path.components().any(|c| c == Component::ParentDir) {
        return Ok(Seen::default().resolve(&path));
    }
    Ok(path.components().collect())
}

/// `preserve`: names below `<local>`, divided by blanks.
pub fn below(text: &str) -> Result<Vec<PathBuf>, String> {
    let one = |name: &str| {
        let path = Path::new(name);
        let plain = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        let clean: PathBuf = path.components().filter(|c| *c != Component::CurDir).collect();
        if plain && !clean.as_os_str().is_empty() {
            Ok(clean)
        } else {
            Err(format!("{name} is not below the live tree: it takes relative paths without .. and blanks divide them"))
        }
    };
    text.split_whitespace().map(one).collect()
}

/// Directories that a deployment must not replace; directories in them may be deployed.
const EXACTLY: &[&str] = &[
    "/",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/var",
    "/etc/init.d",
    "/etc/pam.d",
    "/etc/repo-deploy",
    "/etc/security",
    "/etc/ssh",
    "/etc/ssl",
    "/etc/sudoers.d",
    "/etc/systemd",
    "/usr/games",
    "/usr/include",
    "/usr/local",
    "/usr/share",
    "/usr/src",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/local/src",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/local",
    "/var/lock",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/run",
    "/var/spool",
    "/var/tmp",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/systemd",
];

/// Directories that belong to the system with everything in them.
const WITHIN: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/sbin",
];

/// Why `path` must not be used.
fn system(path: &Path) -> Option<String> {
    if EXACTLY.iter().any(|dir| path == Path::new(dir)) {
        return Some("it is a system directory: take a directory below it".to_owned());
    }
    // /dev/shm is an ordinary file system for all users, despite its place.
    let shared_memory = path.starts_with("/dev/shm") && path != Path::new("/dev/shm");
    let dir = WITHIN.iter().find(|dir| path.starts_with(dir)).filter(|_| !shared_memory)?;
    Some(format!("{dir} and all that is in it is the system's: take another place, as /var/deploy/current"))
}

/// Why `path` (`local`, `store`) is refused: it is a system directory, by name or by its resolved place.
pub fn refused(path: &Path, seen: &Seen) -> Option<String> {
    system(path).or_else(|| system(&seen.stands(path)))
}

/// Why `cache` is refused: it may be shared, but must not be `/` or in a file system of the kernel.
pub fn refused_cache(path: &Path, seen: &Seen) -> Option<String> {
    let path = seen.resolve(path);
    let kernels = ["/proc", "/sys"].iter().any(|dir| path.starts_with(dir));
    (path == Path::new("/") || kernels).then(|| "it takes a directory that can hold files of ours".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::paths::*;
    use std::os::unix::fs::symlink;

    /// A directory that goes when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let name = crate::sys::fs::unique_name("repo-deploy-places-").unwrap();
            let path = std::fs::canonicalize(std::env::temp_dir()).unwrap().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0); // a leftover in /tmp is no failure of the test
        }
    }

    #[test]
    fn system_directories_are_refused_and_what_is_below_them_mostly_not() {
        for path in [
            "/",
            "/etc",
            "/var",
            "/var/lib",
            "/usr",
            "/usr/local/bin",
            "/home",
            "/root",
            "/tmp",
            "/srv",
            "/opt",
            "/run",
            "/lib",
            "/bin/app",
            "/sbin",
            "/usr/bin/app",
            "/usr/lib/x/y",
            "/lib64/app",
            "/proc/self/cwd",
            "/sys/x",
            "/dev/x",
            "/dev/shm",
            "/boot/x",
            "/etc/repo-deploy",
            "/etc/ssh",
            "/var/run",
        ] {
            assert!(refused(&absolute(path).unwrap(), &Seen::default()).is_some(), "{path}");
        }
        for path in [
            "/opt/app",
            "/srv/app",
            "/var/deploy",
            "/var/deploy/current",
            "/etc/myapp",
            "/home/x/app",
            "/var/lib/app",
            "/tmp/app",
            "/root/app",
            "/usr/share/app",
            "/usr/local/app",
            "/var/www",
            "/dev/shm/app",
            "/library",
            "/binary/x",
            "/run/app",
        ] {
            assert_eq!(refused(&absolute(path).unwrap(), &Seen::default()), None, "{path}");
        }
    }

    #[test]
    fn neither_dots_nor_links_hide_where_a_path_leads() {
        for path in
            ["/srv/../etc", "/srv/x/../../etc/", "//etc//", "/./etc/.", "/../..", "/srv/no-such/../../usr/bin/x"]
        {
            assert!(refused(&absolute(path).unwrap(), &Seen::default()).is_some(), "{path}");
        }
        let scratch = Scratch::new();
        symlink("/", scratch.0.join("root")).unwrap();
        symlink("/etc", scratch.0.join("link")).unwrap();
        assert!(refused(&scratch.0.join("root/etc"), &Seen::default()).is_some());
        assert!(refused(&scratch.0.join("root/usr/bin/app"), &Seen::default()).is_some());
        // A write through a link to nothing creates the target.
        symlink("made/later", scratch.0.join("dangling")).unwrap();
        symlink("dangling", scratch.0.join("hop")).unwrap();
        assert_eq!(Seen::default().resolve(&scratch.0.join("hop/x")), scratch.0.join("made/later/x"));
        symlink("circle", scratch.0.join("circle")).unwrap();
        assert!(Seen::default().resolve(&scratch.0.join("circle/x")).starts_with(&scratch.0));
        // The live tree may be a link to any place: the link itself is replaced.
        assert_eq!(refused(&scratch.0.join("link"), &Seen::default()), None);
    }

    #[test]
    fn paths_become_absolute_and_plain() {
        let here = std::env::current_dir().unwrap();
        for (text, path) in [
            ("/srv/app/", PathBuf::from("/srv/app")),
            ("/srv//./app", PathBuf::from("/srv/app")),
            ("/srv/no-such/../app", PathBuf::from("/srv/app")),
            ("app", here.join("app")),
            ("./app/.", here.join("app")),
        ] {
            assert_eq!(absolute(text), Ok(path), "{text}");
        }
        assert!(absolute("~/app").is_err());
    }

    #[test]
    fn preserved_names_stay_below_the_live_tree() {
        assert_eq!(below(" uploads/  .env ./a/b "), Ok(vec!["uploads".into(), ".env".into(), "a/b".into()]));
        for bad in ["/etc", "..", "a/../b", ".", "a /b", "./"] {
            assert!(below(bad).is_err(), "{bad}");
        }
    }
}
