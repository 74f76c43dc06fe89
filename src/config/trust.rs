//! The proofs that an archive needs before it is unpacked: a pinned sum, sums at the source, signatures of trusted
//! keys. Keys in the configuration are parsed with it; key files are read at every check, and only if no other user can
//! write them.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::value::Why;
use super::{file, paths};
use crate::error::{Error, Result, plain};
use crate::remote::Remote;

/// The first characters of every minisign key in base64: `Ed`, its algorithm, and the first bits of the next byte.
const BEGINNING: &str = "RW";
/// Bytes of a public key: the algorithm, the key's id, the key.
const LENGTH: usize = 2 + 8 + 32;
/// The start of the line above a key in a file.
const COMMENT: &str = "untrusted comment:";

/// `sha256`, `sha256-url`, `verify-key`, `signature-url` and `allow-downgrade`.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// `sha256`, in lower case.
    pub sha256: Option<String>,
    /// `sha256-url`.
    pub sums: Option<Remote>,
    /// `verify-key`: keys, or their files.
    pub(super) keys: Vec<Key>,
    /// `signature-url`, or its default; `None` without keys.
    pub signature: Option<Remote>,
    /// `allow-downgrade`.
    pub allow_downgrade: bool,
}

/// A key, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Here(PublicKey),
    File(PathBuf),
}

/// A public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Identifies the key; a signature names its key by it.
    pub id: KeyId,
    /// Ed25519.
    pub key: [u8; 32],
}

/// The id of a key, displayed as by minisign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl Trust {
    /// Whether an archive needs any proof.
    pub fn is_demanding(&self) -> bool {
        self.sha256.is_some() || self.sums.is_some() || !self.keys.is_empty()
    }

    /// The files of the keys.
    pub(super) fn key_files(&self) -> impl Iterator<Item = &Path> {
        self.keys.iter().filter_map(|key| match key {
            Key::Here(_) => None,
            Key::File(path) => Some(path.as_path()),
        })
    }

    /// The trusted signing keys, including those in files as they are now.
    pub fn keys(&self) -> Result<Vec<PublicKey>> {
        let of = |key: &Key| match key {
            Key::Here(key) => Ok(key.clone()),
            Key::File(path) => {
                read(path).map_err(|why| Error::config(format!("cannot use verify-key {}: {why}", path.display())))
            }
        };
        self.keys.iter().map(of).collect()
    }
}

/// `sha256`: 64 hexadecimal digits.
pub(super) fn sha256(text: &str) -> Result<String, Why> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("it takes 64 hexadecimal digits, and this has {} characters", text.chars().count()))
}

/// `verify-key`: a word that starts like a key is one; any other is the path of a file.
pub(super) fn keys(text: &str) -> Result<Vec<Key>, Why> {
    let one = |word: &str| {
        let is_base64 = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        match word.starts_with(BEGINNING) && is_base64 {
            true => parse(word).map(Key::Here).map_err(|why| format!("what begins with {:.8} {why}", word)),
            false => paths::absolute(word).map(Key::File),
        }
    };
    text.split_whitespace().map(one).collect()
}

/// A key from its base64. Errors do not quote the text: it may be a secret key.
fn parse(text: &str) -> Result<PublicKey, Why> {
    let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
    if bytes.len() > 2 * LENGTH && bytes.starts_with(b"Ed") {
        return Err("is a secret key: keep that away from this machine, and give the public one".to_owned());
    }
    let parts = || {
        let (algorithm, rest) = bytes.split_first_chunk::<2>()?;
        let (id, key) = rest.split_first_chunk::<8>()?;
        Some(PublicKey { id: KeyId(*id), key: key.try_into().ok()? }).filter(|_| algorithm == b"Ed")
    };
    parts().ok_or_else(|| {
        format!("is no public key of minisign: that has 56 characters, and begins with {BEGINNING}; a file's path may begin with ./")
    })
}

/// The one key in a file: as written by `minisign -G`, or its base64 alone.
fn read(path: &Path) -> Result<PublicKey, Why> {
    let (content, _) = file::content(path).map_err(|fault| plain(&fault.into()))?;
    let text = String::from_utf8(content).map_err(|_| "it is no text".to_owned())?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(COMMENT));
    match (lines.next(), lines.next()) {
        (Some(line), None) => parse(line).map_err(|why| format!("what it holds {why}")),
        (None, _) => Err("there is no key in it".to_owned()),
        (Some(_), Some(_)) => Err("it has more than a comment and one key: give each key a file of its own".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn keys_and_files_are_told_apart() {
        let both = keys(&format!(" {PUBLIC}  /etc/a.pub ./RWx")).unwrap();
        let Key::Here(key) = &both[0] else { panic!("{both:?}") };
        assert_eq!(key.id.to_string(), "E7620F1842B4E81F");
        assert_eq!(both[1], Key::File("/etc/a.pub".into()));
        assert!(matches!(&both[2], Key::File(path) if path.ends_with("RWx")));
    }

    #[test]
    fn what_is_no_public_key_is_refused_and_a_secret_one_not_repeated() {
        let secret = BASE64_STANDARD.encode([b"EdScB2".as_slice(), &[7; 152]].concat());
        let plain = BASE64_STANDARD.encode([b"Ed\0\0B2".as_slice(), &[7; 152]].concat());
        for (text, why) in [
            (&PUBLIC[..55], "is no public key of minisign"),
            (&PUBLIC[..52], "is no public key of minisign"),
            (&format!("{PUBLIC}AAAA"), "is no public key of minisign"),
            (&secret, "is a secret key"),
            (&plain, "is a secret key"),
        ] {
            let error = keys(text).unwrap_err();
            assert!(error.contains(why) && !error.contains(&text[..20]), "{text}: {error}");
        }
    }

    #[test]
    fn sums_have_64_digits() {
        assert_eq!(sha256(&"aB".repeat(32)), Ok("ab".repeat(32)));
        for bad in ["", "ab", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"ä".repeat(32)] {
            assert!(sha256(bad).unwrap_err().contains("64 hexadecimal digits"), "{bad}");
        }
    }
}
