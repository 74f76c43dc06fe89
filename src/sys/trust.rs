//! Whether a path can be turned or written by somebody other than root and us: what decides about running things as root
//! must not be anybody's.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

/// Why a path may not be trusted: it or a directory on the way to it can be changed by somebody other than root and us.
/// `Ok(None)`: it can be trusted. Links are walked by hand, since whoever can turn one decides where it leads. A
/// directory on the way that has the sticky bit is fine, but not a link in it that belongs to somebody else.
pub fn distrust(path: &Path) -> io::Result<Option<String>> {
    distrust_unless(path, None)
}

/// The same, but for the user and the group `friend`, who may change what is his.
pub fn distrust_unless(path: &Path, friend: Option<(u32, u32)>) -> io::Result<Option<String>> {
    let path = std::path::absolute(path)?;
    let mut place = PathBuf::from("/");
    let mut ahead: Vec<OsString> = path.components().rev().map(|c| c.as_os_str().to_owned()).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == "." {
            continue;
        }
        if name == ".." {
            place.pop();
            continue;
        }
        if let Some(why) = open_to_others(&place, true, friend)? {
            return Ok(Some(why));
        }
        let next = place.join(&name);
        let meta = fs::symlink_metadata(&next)?;
        if !meta.is_symlink() {
            place = next;
            continue;
        }
        let is_sticky = fs::symlink_metadata(&place)?.mode() & 0o1000 != 0;
        if is_sticky && is_stranger(meta.uid(), friend) {
            return Ok(Some(format!("{} belongs to user {}: chown -h root {0}", next.display(), meta.uid())));
        }
        links += 1;
        if links > 40 {
            return Err(rustix::io::Errno::LOOP.into());
        }
        let target = fs::read_link(&next)?;
        ahead.extend(target.components().rev().map(|c| c.as_os_str().to_owned()));
    }
    open_to_others(&place, false, friend)
}

/// Whether a user is neither root nor us nor the friend.
fn is_stranger(uid: u32, friend: Option<(u32, u32)>) -> bool {
    uid != 0 && uid != rustix::process::geteuid().as_raw() && friend.is_none_or(|(user, _)| user != uid)
}

/// Why others can change `place`, which is no link. On the way to something the sticky bit protects what is in it.
fn open_to_others(place: &Path, is_on_the_way: bool, friend: Option<(u32, u32)>) -> io::Result<Option<String>> {
    let meta = fs::symlink_metadata(place)?;
    if is_stranger(meta.uid(), friend) {
        return Ok(Some(format!("{} belongs to user {}: chown root {0}", place.display(), meta.uid())));
    }
    let ours = [0, rustix::process::getegid().as_raw()];
    let is_strange = !ours.contains(&meta.gid()) && friend.is_none_or(|(_, group)| group != meta.gid());
    let group_may = meta.mode() & 0o020 != 0 && is_strange;
    let is_protected = is_on_the_way && meta.mode() & 0o1000 != 0;
    // Mode bits of a read-only mount say nothing: a Kubernetes volume of configuration is 0777, and nobody can write it.
    if (meta.mode() & 0o002 != 0 || group_may) && !is_protected && !is_read_only(place)? {
        return Ok(Some(format!("others may write {}: chmod go-w {0}", place.display())));
    }
    Ok(None)
}

fn is_read_only(place: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(place)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Every way to the same file, with a directory `open` on some of them that others may write.
    #[test]
    fn distrust_names_what_others_can_turn() {
        let root = std::env::temp_dir().join(format!("repo-deploy-distrust-{}", std::process::id()));
        for dir in ["closed/inner", "open", "sticky"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("closed/file"), "").unwrap();
        fs::write(root.join("loose"), "").unwrap();
        for (name, mode) in [
            ("", 0o755),
            ("closed", 0o755),
            ("open", 0o777),
            ("sticky", 0o1777),
            ("closed/file", 0o755),
            ("loose", 0o666),
        ] {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let file = root.join("closed/file");
        for (link, target) in [
            ("direct", "closed/file"),
            ("dots", "./closed/inner/../file"),
            ("chain", "sticky/absolute"),
            ("sticky/absolute", file.to_str().unwrap()),
            ("open/turn", "../closed/file"),
            ("by-open", "./open/turn"),
            ("open-dir", "open"),
            ("circle", "circle"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        for name in
            ["closed", "closed/file", "direct", "dots", "chain", "closed/inner/../../direct", "sticky/../direct"]
        {
            assert_eq!(distrust(&root.join(name)).unwrap(), None, "{name}");
        }
        for (name, culprit) in [
            ("open", "open"),
            ("sticky", "sticky"),
            ("loose", "loose"),
            ("open/turn", "open"),
            ("by-open", "open"),
            ("open-dir/turn", "open"),
        ] {
            let expected = format!("others may write {0}: chmod go-w {0}", root.join(culprit).display());
            assert_eq!(distrust(&root.join(name)).unwrap(), Some(expected), "{name}");
        }
        assert!(distrust(&root.join("circle")).is_err());
        assert_eq!(distrust(&root.join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_friend_may_change_what_is_his_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            return; // nobody else can give files away
        }
        let root = std::env::temp_dir().join(format!("repo-deploy-friend-{}", std::process::id()));
        let file = root.join("home/key");
        fs::create_dir_all(root.join("home")).unwrap();
        fs::write(&file, "").unwrap();
        for (place, mode) in [(&root.join("home"), 0o775), (&file, 0o664)] {
            std::os::unix::fs::chown(place, Some(1234), Some(1235)).unwrap();
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(distrust_unless(&file, Some((1234, 1235))).unwrap(), None);
        let words = |friend| distrust_unless(&file, friend).unwrap().unwrap();
        assert!(words(None).contains("belongs to user 1234"));
        assert!(words(Some((1, 1235))).contains("belongs to user 1234"));
        assert!(words(Some((1234, 1))).contains("others may write"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(words(Some((1234, 1235))).contains("others may write"));
        fs::remove_dir_all(root).unwrap();
    }
}
