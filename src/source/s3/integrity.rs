//! Whether the bytes that came are those that were stored: a checksum of the whole object that S3 sends along, else the
//! MD5 that an ETag is when the object was uploaded in one piece and not encrypted with a key that S3 does not hold. A
//! checksum of checksums (of an upload in parts) says nothing about the bytes without knowing the parts.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, header};

use crate::error::{Error, Result};
use crate::model::hex;
use crate::source::http::dialect::Proof;

/// A sum in the making, and what it has to be.
pub(super) struct Check {
    name: &'static str,
    sum: Sum,
    expected: Vec<u8>,
}

enum Sum {
    Sha256(Sha256),
    Md5(md5::Context),
    Crc(Box<Crc>),
}

/// The best check that the headers of a 200 allow.
pub(super) fn check(headers: &HeaderMap) -> Option<Check> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if text("x-amz-checksum-type").is_none_or(|kind| kind == "FULL_OBJECT") {
        for (name, header, bytes, sum) in [
            ("SHA-256", "x-amz-checksum-sha256", 32, (|| Sum::Sha256(Sha256::new())) as fn() -> Sum),
            ("CRC-64/NVME", "x-amz-checksum-crc64nvme", 8, || Sum::crc(CRC64NVME)),
            ("CRC-32C", "x-amz-checksum-crc32c", 4, || Sum::crc(CRC32C)),
            ("CRC-32", "x-amz-checksum-crc32", 4, || Sum::crc(CRC32)),
        ] {
            // One of parts has `-N` behind it, and so is no base64.
            let expected = text(header).and_then(|value| BASE64_STANDARD.decode(value).ok());
            if let Some(expected) = expected.filter(|expected| expected.len() == bytes) {
                return Some(Check { name, sum: sum(), expected });
            }
        }
    }
    let etag = text(header::ETAG.as_str())?.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = text("x-amz-server-side-encryption").is_none_or(|how| how == "AES256")
        && text("x-amz-server-side-encryption-customer-algorithm").is_none();
    let expected = from_hex(etag).filter(|expected| is_plain && expected.len() == 16)?;
    Some(Check { name: "MD5", sum: Sum::Md5(md5::Context::new()), expected })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

impl Proof for Check {
    fn take(&mut self, bytes: &[u8]) {
        match &mut self.sum {
            Sum::Sha256(sum) => sum.update(bytes),
            Sum::Md5(sum) => sum.consume(bytes),
            Sum::Crc(sum) => sum.update(bytes),
        }
    }

    fn check(self: Box<Self>) -> Result<()> {
        let got = match self.sum {
            Sum::Sha256(sum) => sum.finalize().to_vec(),
            Sum::Md5(sum) => sum.finalize().0.to_vec(),
            Sum::Crc(sum) => sum.finish(),
        };
        if got == self.expected {
            log::debug!("its {} is {}, as it should be", self.name, hex(&got));
            return Ok(());
        }
        let (name, got, expected) = (self.name, hex(&got), hex(&self.expected));
        let text = format!("what came is not what was stored: its {name} is {got}, and S3 says {expected}");
        Err(Error::failed(text))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, hex(&self.expected))
    }
}

/// Width in bytes, and polynomial with its bits reversed. All begin with ones and end by turning every bit.
type Kind = (usize, u64);
const CRC32: Kind = (4, 0xedb8_8320);
const CRC32C: Kind = (4, 0x82f6_3b78);
const CRC64NVME: Kind = (8, 0x9a6c_9329_ac4b_c9b5);

/// A cyclic redundancy check, a byte at a time.
struct Crc {
    table: [u64; 256],
    width: usize,
    value: u64,
}

impl Sum {
    fn crc((width, polynomial): Kind) -> Self {
        let mut table = [0; 256];
        for (entry, byte) in table.iter_mut().zip(0u64..) {
            *entry = (0..8).fold(byte, |value, _| value >> 1 ^ if value & 1 == 1 { polynomial } else { 0 });
        }
        Self::Crc(Box::new(Crc { table, width, value: ones(width) }))
    }
}

fn ones(width: usize) -> u64 {
    u64::MAX >> (64 - 8 * width)
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.value = self.value >> 8 ^ self.table[usize::from(self.value.to_le_bytes()[0] ^ byte)];
        }
    }

    fn finish(&self) -> Vec<u8> {
        let value = self.value ^ ones(self.width);
        value.to_be_bytes().into_iter().skip(8 - self.width).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::{HeaderName, HeaderValue};

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn verdict(list: &[(&'static str, &str)], pieces: &[&[u8]]) -> Option<Result<()>> {
        let mut check = Box::new(check(&headers(list))?);
        for piece in pieces {
            check.take(piece);
        }
        Some(check.check())
    }

    const MD5: (&str, &str) = ("etag", "\"25f9e794323b453885f5181f1b624d0b\"");

    #[test]
    fn known_answers() {
        for (header, value) in [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),         // cbf43926
            ("x-amz-checksum-crc32c", "4waSgw=="),        // e3069283
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="), // ae8b14860a799888
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            MD5,
        ] {
            verdict(&[(header, value)], &[b"1234", b"", b"56789"]).unwrap().unwrap();
            let error = verdict(&[(header, value)], &[b"123456780"]).unwrap().unwrap_err().to_string();
            assert!(error.starts_with("what came is not what was stored: its "), "{error}");
        }
    }

    #[test]
    fn only_what_is_of_the_whole_object_is_checked() {
        let crc = ("x-amz-checksum-crc32", "y/Q5Jg==");
        let name = |list: &[(&'static str, &str)]| check(&headers(list)).map(|check| check.name);
        for (list, expected) in [
            (&[crc, MD5][..], Some("CRC-32")),
            (&[crc, ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")], Some("CRC-64/NVME")),
            (&[crc, ("x-amz-checksum-type", "FULL_OBJECT")], Some("CRC-32")),
            (&[crc, ("x-amz-checksum-type", "COMPOSITE")], None),
            (&[("x-amz-checksum-crc32", "y/Q5Jg==-2")], None),
            (&[("x-amz-checksum-crc32", "rosUhgp5mIg=")], None),
            (&[("etag", "\"25f9e794323b453885f5181f1b624d0b-2\"")], None),
            (&[("etag", "W/\"25f9e794323b453885f5181f1b624d0b\"")], None),
            (&[("etag", "\"25f9e794323b453885f5181f1b624d0\"")], None),
            (&[("etag", "\"0x8D9\"")], None),
            (&[MD5, ("x-amz-server-side-encryption", "AES256")], Some("MD5")),
            (&[MD5, ("x-amz-server-side-encryption", "aws:kms")], None),
            (&[MD5, ("x-amz-server-side-encryption-customer-algorithm", "AES256")], None),
            (&[], None),
        ] {
            assert_eq!(name(list), expected, "{list:?}");
        }
    }
}
