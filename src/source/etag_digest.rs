//! An ETag that is a digest of the archive: 32 or 64 hex digits may be an MD5 or a SHA-256. Whether they are is learned
//! from the seed, whose ETag and bytes are known.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::http::response_policy::BodyDigest;
use crate::model::hex;

/// A running digest, and the ETag that has to be equal to it.
pub(super) struct EtagDigest {
    etag: String,
    sum: Sum,
}

enum Sum {
    Md5(md5::Context),
    Sha256(Sha256),
}

impl EtagDigest {
    /// The digest that `etag` may be; `None`: it has not the form of one.
    pub(super) fn new(etag: &str) -> Option<Self> {
        let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
        let sum = match digits.len() {
            32 => Sum::Md5(md5::Context::new()),
            64 => Sum::Sha256(Sha256::new()),
            _ => return None,
        };
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| Self { etag: digits.to_ascii_lowercase(), sum })
    }

    /// Whether two ETags may be digests of the same kind.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.etag.len() == other.etag.len()
    }

    /// Whether the ETag is the digest of the bytes.
    pub(super) fn holds(&self) -> bool {
        let digest = match &self.sum {
            Sum::Md5(sum) => hex(&sum.clone().finalize().0),
            Sum::Sha256(sum) => hex(&sum.clone().finalize()),
        };
        digest == self.etag
    }
}

impl BodyDigest for EtagDigest {
    fn take(&mut self, bytes: &[u8]) {
        match &mut self.sum {
            Sum::Md5(sum) => sum.consume(bytes),
            Sum::Sha256(sum) => sum.update(bytes),
        }
    }

    fn check(self: Box<Self>) -> Result<()> {
        if self.holds() { Ok(()) } else { Err(Error::failed("it is not the archive that its ETag names")) }
    }
}

impl std::fmt::Debug for EtagDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EtagDigest").field(&self.etag).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_a_digest_only_if_it_has_the_form_and_the_value() {
        let md5 = "\"25f9e794323b453885f5181f1b624d0b\"";
        let sha256 = "\"15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225\"";
        for (etag, expected) in [
            (md5, Some(true)),
            (&md5.to_uppercase(), Some(true)),
            (sha256, Some(true)),
            (&md5.replace('2', "3"), Some(false)),
            ("W/\"25f9e794323b453885f5181f1b624d0b\"", None),
            ("\"25f9e794323b453885f5181f1b624d0b-2\"", None),
            ("\"25f9e794323b453885f5181f1b624d0g\"", None),
            ("\"68f0a1b2-1000\"", None),
            ("", None),
        ] {
            let held = EtagDigest::new(etag).map(|mut digest| {
                digest.take(b"1234");
                digest.take(b"56789");
                digest.holds()
            });
            assert_eq!(held, expected, "{etag}");
        }
    }
}
