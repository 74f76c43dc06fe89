//! Parses a signature of minisign and verifies it with keys and bytes. Two kinds: `ED` signs the BLAKE2b of the
//! archive, `Ed` (older) the archive itself. A second signature covers the first and the trusted comment. The
//! cryptography is ring's and blake2's.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::config::{KeyId, PublicKey};

/// A signature that is not verified yet.
#[derive(Debug)]
pub struct Signature {
    /// Whether it signs the hash of the bytes.
    pub is_prehashed: bool,
    id: KeyId,
    of_bytes: [u8; 64],
    comment: String,
    of_comment: [u8; 64],
}

impl Signature {
    /// Parses the four lines of a signature.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|_| "it is no signature of minisign")?;
        let mut lines = text.lines();
        let mut line = |lacks: &str| lines.next().ok_or_else(|| format!("it is no signature of minisign: {lacks}"));
        if !line("it is empty")?.starts_with("untrusted comment:") {
            return Err("it is no signature of minisign: it does not begin with an untrusted comment".to_owned());
        }
        let (algorithm, id, of_bytes) = line("it is cut off")
            .map(decoded::<74>)?
            .and_then(|bytes| {
                let (algorithm, rest) = bytes.split_first_chunk::<2>()?;
                let (id, signature) = rest.split_first_chunk::<8>()?;
                Some((*algorithm, KeyId(*id), signature.try_into().ok()?))
            })
            .ok_or("it is no signature of minisign: its second line is damaged")?;
        let is_prehashed = match &algorithm {
            b"ED" => true,
            b"Ed" => false,
            _ => return Err("it is signed by an algorithm that is not minisign's".to_owned()),
        };
        let comment = line("it is cut off")?
            .strip_prefix("trusted comment: ")
            .ok_or("it is no signature of minisign: its third line is no trusted comment")?
            .to_owned();
        let of_comment =
            decoded(line("it is cut off")?).ok_or("it is no signature of minisign: its fourth line is damaged")?;
        if lines.any(|line| !line.trim().is_empty()) {
            return Err("it is no signature of minisign: something stands behind its fourth line".to_owned());
        }
        Ok(Self { is_prehashed, id, of_bytes, comment, of_comment })
    }

    /// The one of `keys` that the signature names.
    pub fn signer<'k>(&self, keys: &'k [PublicKey]) -> Result<&'k PublicKey, String> {
        keys.iter().find(|key| key.id == self.id).ok_or_else(|| {
            let known: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
            format!("the key {} signed it, and verify-key has {}", self.id, known.join(", "))
        })
    }

    /// Checks that `key` signed `message`, the archive or its BLAKE2b; returns the trusted comment, which is then
    /// authentic.
    pub fn check(&self, key: &PublicKey, message: &[u8]) -> Result<&str, String> {
        let signed = UnparsedPublicKey::new(&ED25519, &key.key);
        if signed.verify(message, &self.of_bytes).is_err() {
            return Err(
                "it is not the signature of these bytes: one of the two is of another release, or forged".to_owned()
            );
        }
        let both = [&self.of_bytes, self.comment.as_bytes()].concat();
        if signed.verify(&both, &self.of_comment).is_err() {
            return Err("its trusted comment is not what was signed".to_owned());
        }
        Ok(&self.comment)
    }
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text.trim()).ok()?.try_into().ok()
}
