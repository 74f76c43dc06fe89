//! Recognizes an archive by its first bytes, and other files for the error message.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::tar::header::matches_checksum;
use crate::error::Error;

/// The beginning of a file.
pub(super) fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; 512];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// The extensions of archives.
pub const EXTENSIONS: [&str; 4] = ["zip", "gz", "tgz", "tar"];

/// The compression of a tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
}

/// The compression of a file that begins like a tar.
pub(super) fn tar(head: &[u8]) -> Option<Compression> {
    if head.starts_with(b"\x1f\x8b") {
        return Some(Compression::Gzip);
    }
    let is_tar = head.get(257..262) == Some(b"ustar") || (matches_checksum(head) && head[0] != 0);
    (is_tar && !head.starts_with(b"PK\x03\x04")).then_some(Compression::None)
}

const MAGIC: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "it begins like one but has no end: cut off on the way, or not written to its end yet"),
    (b"\xfd7zXZ\0", "it begins like xz (a tar.xz? ZIP and tar.gz are unpacked)"),
    (b"BZh", "it begins like bzip2 (a tar.bz2? ZIP and tar.gz are unpacked)"),
    (b"\x28\xb5\x2f\xfd", "it begins like zstd (a tar.zst? ZIP and tar.gz are unpacked)"),
    (b"7z\xbc\xaf\x27\x1c", "it begins like 7z (ZIP and tar.gz are unpacked)"),
    (b"Rar!", "it begins like RAR (ZIP and tar.gz are unpacked)"),
    (b"\x7fELF", "it begins like a program"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file it stands for"),
    (b"# v2 git bundle", "it is a git bundle"),
];

/// The error of a file that is no archive.
pub(super) fn no_archive(name: &str, head: &[u8]) -> Error {
    Error::refused(format!("{name} is no ZIP and no tar.gz: {}", looks_like(head)))
}

/// Describes a file by its first bytes, as a part of a sentence.
fn looks_like(head: &[u8]) -> String {
    if head.is_empty() {
        return "it is empty".into();
    }
    if let Some((_, looks)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*looks).into();
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let begins = |with: &[&str]| with.iter().any(|w| text.starts_with(w));
    if begins(&["<!doctype html", "<html", "<head", "<body", "<title"]) {
        "it begins like an HTML page (a login or error page?)".into()
    } else if begins(&["<?xml", "<error"]) {
        "it begins like XML (an error message of the server?)".into()
    } else if begins(&["{", "["]) {
        "it begins like JSON (an error message of the server?)".into()
    } else if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        let line: String = text.lines().next().unwrap_or_default().escape_debug().take(40).collect();
        format!("it begins like text: \"{line}\"")
    } else {
        let bytes: Vec<String> = head.iter().take(4).map(|b| format!("{b:02x}")).collect();
        format!("it begins with the bytes {}", bytes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_is_told_from_a_zip_that_holds_one() {
        let ustar = |head: &[u8]| [head, &vec![b'a'; 257 - head.len()], b"ustar\0"].concat();
        assert_eq!(tar(b"\x1f\x8b\x08"), Some(Compression::Gzip));
        assert_eq!(tar(&ustar(b"")), Some(Compression::None));
        for other in [&ustar(b"PK\x03\x04"), &ustar(b"")[..261], b"", b"\x1f"] {
            assert_eq!(tar(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_no_zip_is_told_by_its_beginning() {
        let table: [(&[u8], &str); 12] = [
            (b"", "empty"),
            (b"PK\x03\x04\x14\0", "has no end"),
            (b"\xfd7zXZ\0\0", "xz"),
            (b"BZh91AY", "bzip2"),
            (b"\x28\xb5\x2f\xfd\0", "zstd"),
            (b"\xef\xbb\xbf \n<!DOCTYPE HTML PUBLIC", "HTML"),
            (b"<html lang=en>", "HTML"),
            (b"<?xml version=\"1.0\"?><Error>", "XML"),
            (b" {\"message\": \"not found\"}", "JSON"),
            (b"version https://git-lfs.github.com/spec/v1", "LFS"),
            (b"404 page not found\n", "\"404 page not found\""),
            (b"\0\x01\x02\x03\x04", "00 01 02 03"),
        ];
        for (head, word) in table {
            let told = looks_like(head);
            assert!(told.contains(word), "{head:?} is told as {told:?}");
            assert!(!told.contains(char::is_control), "{told:?}");
        }
    }
}
