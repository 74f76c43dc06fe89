//! Explains why a hook could not be started: the kernel's message ("no such file", for a file that exists) is
//! misleading.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::activate::install::scripts::{head, interpreter};
use crate::error::plain;

/// The cause of `error`, which starting `path` returned.
pub fn explain(path: &Path, error: &io::Error) -> String {
    of(&head(path), error)
}

/// The reason why `path` will not start, judging by its first line, and whether it may start all the same: an unknown
/// format may be registered with the kernel (binfmt_misc). The loader of a binary is not checked.
pub fn foresee(path: &Path) -> Option<(bool, String)> {
    let head = head(path);
    let is_ours = |path: &Path| access(path, Access::EXEC_OK);
    let started = match interpreter(&head) {
        None if head.is_empty() || head.starts_with(b"\x7fELF") => is_ours(path),
        None => Err(Errno::NOEXEC),
        Some((name, _)) => is_ours(path).and_then(|()| is_ours(Path::new(&name))),
    };
    started.err().map(|errno| (errno == Errno::NOEXEC, of(&head, &errno.into())))
}

/// Whether the kernel refused `path` as a script without interpreter, which /bin/sh can run.
pub fn is_for_shell(path: &Path, error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOEXEC) && !head(path).starts_with(b"\x7fELF")
}

fn of(head: &[u8], error: &io::Error) -> String {
    let interpreter = interpreter(head).map(|(name, _)| name);
    match (Errno::from_io_error(error), interpreter) {
        (Some(Errno::NOENT), Some(name)) if name.ends_with('\r') => {
            "its first line ends in a carriage return: save it with the line ends of Unix".to_owned()
        }
        (Some(Errno::NOENT), Some(name)) => format!("its interpreter {name} does not exist"),
        (Some(Errno::NOENT), None) if head.starts_with(b"\x7fELF") => {
            "the loader that it was linked for does not exist on this system".to_owned()
        }
        (Some(Errno::NOEXEC), _) if head.starts_with(b"\x7fELF") => "it was built for another machine".to_owned(),
        (Some(Errno::NOEXEC), _) => "it does not begin with #! and the path of an interpreter".to_owned(),
        (Some(Errno::ACCESS), Some(name)) => {
            format!("permission denied: it or its interpreter {name} is not executable for us, or mounted noexec")
        }
        (Some(Errno::ACCESS), None) => "permission denied: it is not executable for us, or mounted noexec".to_owned(),
        (Some(Errno::TXTBSY), _) => "somebody has it open for writing".to_owned(),
        _ => plain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_names_what_is_wrong() {
        let cases: [(&[u8], Errno, &str); 10] = [
            (b"#!/opt/x/python -u\n", Errno::NOENT, "its interpreter /opt/x/python does not exist"),
            (b"#! /opt/x", Errno::NOENT, "its interpreter /opt/x does not exist"),
            (b"#!/bin/sh\r\necho", Errno::NOENT, "carriage return"),
            (b"\x7fELF...", Errno::NOENT, "loader"),
            (b"", Errno::NOENT, "no such file"),
            (b"echo hello\n", Errno::NOEXEC, "does not begin with #!"),
            (b"#!\n", Errno::NOEXEC, "does not begin with #! and the path"),
            (b"\x7fELF...", Errno::NOEXEC, "another machine"),
            (b"#!/bin/sh\n", Errno::ACCESS, "interpreter /bin/sh is not executable"),
            (b"#!/bin/sh\n", Errno::TXTBSY, "open for writing"),
        ];
        for (head, errno, expected) in cases {
            let text = of(head, &io::Error::from(errno));
            assert!(text.contains(expected), "{text:?} should say {expected:?}");
            assert!(!text.contains("os error"), "{text:?}");
        }
    }

    #[test]
    fn file_is_gone_then_the_error_alone_explains() {
        assert_eq!(explain(Path::new("/does/not/exist"), &io::Error::from(Errno::NOENT)), "no such file or directory");
    }
}
