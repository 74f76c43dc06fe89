//! Why a hook could not be started, in words: the kernel's own ("no such file", of a file that is there) send people
//! looking in the wrong place.

use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::error::plain;

/// As much of a file as the kernel looks at to find its interpreter.
const HEAD: u64 = 256;

/// The cause of `error`, from starting `path`.
pub(super) fn explain(path: &Path, error: &io::Error) -> String {
    of(&head(path), error)
}

/// Why `path` will not start, as far as its first line tells, and whether it may all the same: what begins as nothing known may
/// be registered somewhere (binfmt_misc). The loader of a binary is not looked for.
pub(super) fn foresee(path: &Path) -> Option<(bool, String)> {
    let head = head(path);
    let is_ours = |path: &Path| access(path, Access::EXEC_OK);
    let started = match interpreter(&head) {
        None if head.is_empty() || head.starts_with(b"\x7fELF") => is_ours(path),
        None => Err(Errno::NOEXEC),
        Some(name) => is_ours(path).and_then(|()| is_ours(Path::new(&name))),
    };
    started.err().map(|errno| (errno == Errno::NOEXEC, of(&head, &errno.into())))
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let _ = std::fs::File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)); // a file that cannot be read is explained by the error alone
    head
}

fn of(head: &[u8], error: &io::Error) -> String {
    let interpreter = interpreter(head);
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

/// The interpreter of a script: the first word of its first line.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let word = line.split(is_blank).find(|word| !word.is_empty())?;
    Some(String::from_utf8_lossy(word).into_owned())
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
