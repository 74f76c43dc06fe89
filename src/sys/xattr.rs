//! Extended attributes of open files and directories: ACLs, capabilities, contexts, and those of applications. On a
//! file system without extended attributes every file has none.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// A name and its value.
pub type Attribute = (OsString, Vec<u8>);

/// The POSIX ACL of a file or directory.
pub const ACL: &str = "system.posix_acl_access";
/// The default ACL of a directory, for new files in it.
pub const DEFAULT_ACL: &str = "system.posix_acl_default";

/// All readable attributes, by name. Those that vanish meanwhile, or need more privileges, are left out.
pub fn list(file: impl AsFd) -> io::Result<Vec<Attribute>> {
    let names = match grown(|buffer| rustix::fs::flistxattr(&file, buffer)) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        if let Some(value) = get(&file, name)? {
            put(&mut found, name, value);
        }
    }
    Ok(found)
}

/// Adds an attribute to a list sorted by name, or replaces its value.
pub fn put(list: &mut Vec<Attribute>, name: &OsStr, value: Vec<u8>) {
    let at = list.partition_point(|(other, _)| other.as_os_str() < name);
    match list.get_mut(at) {
        Some(same) if same.0 == name => same.1 = value,
        _ => list.insert(at, (name.to_owned(), value)),
    }
}

/// The value of `name` in a list.
pub fn value<'l>(list: &'l [Attribute], name: &OsStr) -> Option<&'l [u8]> {
    list.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
}

/// The value of an attribute; `None` if it is missing or unreadable.
pub fn get(file: impl AsFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    match grown(|buffer| rustix::fs::fgetxattr(&file, name, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Sets an attribute.
pub fn set(file: impl AsFd, name: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())?)
}

/// Removes an attribute, if present.
pub fn remove(file: impl AsFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::fremovexattr(file, name) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Reads into a buffer that is mostly large enough, else into the largest possible one.
fn grown(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1024];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // The kernel's limit is 64 KiB for each.
            Err(Errno::RANGE) if buffer.len() < 1 << 16 => buffer.resize(1 << 16, 0),
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_sorted_and_have_each_name_once() {
        let mut list = Vec::new();
        for (name, number) in [("m", 1), ("a", 2), ("z", 3), ("m", 4), ("b", 5)] {
            put(&mut list, OsStr::new(name), vec![number]);
        }
        let names: Vec<_> = list.iter().map(|(name, value)| (name.to_str().unwrap(), value[0])).collect();
        assert_eq!(names, [("a", 2), ("b", 5), ("m", 4), ("z", 3)]);
        assert_eq!((value(&list, "m".as_ref()), value(&list, "x".as_ref())), (Some(&[4][..]), None));
    }

    #[test]
    fn what_was_set_is_listed_until_it_is_removed() {
        let path = std::env::temp_dir().join(crate::sys::fs::unique_name("repo-deploy-xattr-").unwrap());
        let file = std::fs::File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let name = OsStr::new("user.test");
        match set(&file, name, b"") {
            Err(e) if e.raw_os_error() == Some(Errno::NOTSUP.raw_os_error()) => return, // this file system has none
            set => set.unwrap(),
        }
        let large = vec![7; 3000];
        for value in [&b"\0x"[..], &large] {
            set(&file, name, value).unwrap();
            assert_eq!(list(&file).unwrap(), [(name.to_owned(), value.to_vec())]);
            assert_eq!(get(&file, name).unwrap().as_deref(), Some(value));
        }
        for _ in 0..2 {
            remove(&file, name).unwrap();
            assert_eq!((list(&file).unwrap(), get(&file, name).unwrap()), (vec![], None));
        }
    }
}
