//! Checks that the received bytes are the stored ones, by the checksums of the whole object in S3's headers, else by
//! the ETag: it is the MD5 if the object was uploaded in one piece and is not encrypted with a key that S3 does not
//! hold. Checksums of checksums (multipart uploads) cannot be checked without knowing the parts.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256, Sha512};
use ureq::http::{HeaderMap, header};

use crate::error::{Error, Result};
use crate::http::response_policy::BodyDigest;
use crate::model::hex;
use crate::sys::log;

/// Running checksums, and their expected values.
#[derive(Debug)]
pub(super) struct Checks(Vec<Check>);

struct Check {
    name: &'static str,
    sum: Sum,
    expected: Vec<u8>,
}

enum Sum {
    Sha512(Box<Sha512>),
    Sha256(Sha256),
    Md5(md5::Context),
    Crc(Box<Crc>),
}

/// Creates a checksum. `None` if the algorithm is not implemented, and only the form of its values is checked.
type Make = Option<fn() -> Sum>;

/// The checksums that S3 stores (its API's `ChecksumAlgorithm`): name, header, bytes.
const ALGORITHMS: [(&str, &str, usize, Make); 10] = [
    ("SHA-512", "x-amz-checksum-sha512", 64, Some(|| Sum::Sha512(Box::default()))),
    ("SHA-256", "x-amz-checksum-sha256", 32, Some(|| Sum::Sha256(Sha256::new()))),
    ("SHA-1", "x-amz-checksum-sha1", 20, None),
    ("MD5", "x-amz-checksum-md5", 16, Some(|| Sum::Md5(md5::Context::new()))),
    ("XXH128", "x-amz-checksum-xxhash128", 16, None),
    ("XXH3", "x-amz-checksum-xxhash3", 8, None),
    ("XXH64", "x-amz-checksum-xxhash64", 8, None),
    ("CRC-64/NVME", "x-amz-checksum-crc64nvme", 8, Some(|| Sum::crc(CRC64NVME))),
    ("CRC-32C", "x-amz-checksum-crc32c", 4, Some(|| Sum::crc(CRC32C))),
    ("CRC-32", "x-amz-checksum-crc32", 4, Some(|| Sum::crc(CRC32))),
];

/// All checks that the headers of a 200 allow; `None` if there are none. A malformed checksum of a whole object is an
/// error: the server, or a proxy, is broken.
pub(super) fn checks(headers: &HeaderMap) -> Result<Option<Checks>> {
    let mut checks = Vec::new();
    // Without this header, the form of the checksum decides.
    let kind = text(headers, "x-amz-checksum-type");
    if kind.is_none_or(|kind| kind == "FULL_OBJECT") {
        for (name, header, bytes, make) in ALGORITHMS {
            for value in headers.get_all(header) {
                let value = value.to_str().unwrap_or_default().trim();
                if is_of_parts(value) {
                    continue;
                }
                let decoded = BASE64_STANDARD.decode(value).ok();
                let expected = decoded.filter(|expected| expected.len() == bytes).ok_or_else(|| {
                    Error::failed(format!("its answer is broken: {header} is not the base64 of {bytes} bytes"))
                })?;
                checks.extend(make.map(|make| Check { name, sum: make(), expected }));
            }
        }
    }
    if checks.is_empty() {
        checks.extend(md5_of_etag(headers));
    }
    Ok((!checks.is_empty()).then_some(Checks(checks)))
}

/// The check of the ETag alone, for the headers of a range.
pub(super) fn of_etag(headers: &HeaderMap) -> Option<Checks> {
    md5_of_etag(headers).map(|check| Checks(vec![check]))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// Whether a checksum is one of the parts' checksums: these end with the number of parts.
fn is_of_parts(value: &str) -> bool {
    let count = value.rsplit_once('-').map_or("", |(_, count)| count);
    !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit())
}

fn md5_of_etag(headers: &HeaderMap) -> Option<Check> {
    let etag = text(headers, header::ETAG.as_str())?.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = text(headers, "x-amz-server-side-encryption").is_none_or(|how| how == "AES256")
        && text(headers, "x-amz-server-side-encryption-customer-algorithm").is_none();
    let expected = from_hex(etag).filter(|expected| is_plain && expected.len() == 16)?;
    Some(Check { name: "MD5", sum: Sum::Md5(md5::Context::new()), expected })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

impl BodyDigest for Checks {
    fn take(&mut self, bytes: &[u8]) {
        for check in &mut self.0 {
            match &mut check.sum {
                Sum::Sha512(sum) => sum.update(bytes),
                Sum::Sha256(sum) => sum.update(bytes),
                Sum::Md5(sum) => sum.consume(bytes),
                Sum::Crc(sum) => sum.update(bytes),
            }
        }
    }

    fn check(self: Box<Self>) -> Result<()> {
        self.0.into_iter().try_for_each(Check::hold)
    }
}

impl Check {
    /// Compares the sum with the expected one.
    fn hold(self) -> Result<()> {
        let got = match self.sum {
            Sum::Sha512(sum) => sum.finalize().to_vec(),
            Sum::Sha256(sum) => sum.finalize().to_vec(),
            Sum::Md5(sum) => sum.finalize().0.to_vec(),
            Sum::Crc(sum) => sum.finish(),
        };
        let (name, got, expected) = (self.name, hex(&got), hex(&self.expected));
        if got == expected {
            log::debug!("its {name} is {got}, as it should be");
            return Ok(());
        }
        let text = format!("what came is not what was stored: its {name} is {got}, and S3 says {expected}");
        Err(Error::failed(text))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, hex(&self.expected))
    }
}

/// Width in bytes and reversed polynomial. All start with all bits set, and invert all bits at the end.
type Kind = (usize, u64);
const CRC32: Kind = (4, 0xedb8_8320);
const CRC32C: Kind = (4, 0x82f6_3b78);
const CRC64NVME: Kind = (8, 0x9a6c_9329_ac4b_c9b5);

/// A cyclic redundancy check, computed by bytes.
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
        let mut checks = Box::new(checks(&headers(list)).unwrap()?);
        for piece in pieces {
            checks.take(piece);
        }
        Some(checks.check())
    }

    const MD5: (&str, &str) = ("etag", "\"25f9e794323b453885f5181f1b624d0b\"");

    #[test]
    fn known_answers() {
        for (header, value) in [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),         // cbf43926
            ("x-amz-checksum-crc32c", "4waSgw=="),        // e3069283
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="), // ae8b14860a799888
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            ("x-amz-checksum-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
            (
                "x-amz-checksum-sha512",
                "2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ==",
            ),
            MD5,
        ] {
            verdict(&[(header, value)], &[b"1234", b"", b"56789"]).unwrap().unwrap();
            let error = verdict(&[(header, value)], &[b"123456780"]).unwrap().unwrap_err().to_string();
            assert!(error.starts_with("what came is not what was stored: its "), "{error}");
        }
    }

    fn names(list: &[(&'static str, &str)]) -> Vec<&'static str> {
        checks(&headers(list))
            .unwrap()
            .map_or_else(Vec::new, |checks| checks.0.iter().map(|check| check.name).collect())
    }

    #[test]
    fn only_what_is_of_the_whole_object_is_checked() {
        let crc = ("x-amz-checksum-crc32", "y/Q5Jg==");
        for (list, expected) in [
            (&[crc, MD5][..], &["CRC-32"][..]),
            (&[crc, ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")], &["CRC-64/NVME", "CRC-32"]),
            (&[crc, ("x-amz-checksum-type", "FULL_OBJECT")], &["CRC-32"]),
            (&[crc, ("x-amz-checksum-type", "COMPOSITE")], &[]),
            (&[("x-amz-checksum-crc32", "?"), ("x-amz-checksum-type", "COMPOSITE")], &[]),
            (&[("x-amz-checksum-crc32", "y/Q5Jg==-2"), MD5], &["MD5"]),
            (&[("x-amz-checksum-sha256", "anything-10000")], &[]),
            (&[("x-amz-checksum-sha1", "98O8HSQc3ldPdYyPWhx3nMOk5iQ=")], &[]),
            (&[("x-amz-checksum-xxhash3", "rosUhgp5mIg="), MD5], &["MD5"]),
            (&[("etag", "\"25f9e794323b453885f5181f1b624d0b-2\"")], &[]),
            (&[("etag", "W/\"25f9e794323b453885f5181f1b624d0b\"")], &[]),
            (&[("etag", "\"25f9e794323b453885f5181f1b624d0\"")], &[]),
            (&[("etag", "\"0x8D9\"")], &[]),
            (&[MD5, ("x-amz-server-side-encryption", "AES256")], &["MD5"]),
            (&[MD5, ("x-amz-server-side-encryption", "aws:kms")], &[]),
            (&[MD5, ("x-amz-server-side-encryption-customer-algorithm", "AES256")], &[]),
            (&[], &[]),
        ] {
            assert_eq!(names(list), expected, "{list:?}");
        }
    }

    #[test]
    fn a_checksum_that_cannot_be_one_is_an_error() {
        for (_, header, bytes, _) in ALGORITHMS {
            for length in [0, bytes - 1, bytes + 1, 100] {
                let error = checks(&headers(&[(header, &BASE64_STANDARD.encode(vec![7; length])), MD5])).unwrap_err();
                let expected = format!("its answer is broken: {header} is not the base64 of {bytes} bytes");
                assert_eq!(error.to_string(), expected);
            }
            assert!(checks(&headers(&[(header, &BASE64_STANDARD.encode(vec![7; bytes]))])).is_ok());
            for value in ["", "?", "-", "-x", "y/Q5Jg==-", "y/Q5Jg"] {
                assert!(
                    checks(&headers(&[(header, value), ("x-amz-checksum-type", "FULL_OBJECT")])).is_err(),
                    "{value}"
                );
            }
        }
    }

    #[test]
    fn of_several_checksums_each_has_to_hold() {
        let (right, wrong) = (
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        );
        verdict(&[right, wrong], &[b"123456789"]).unwrap().unwrap();
        for list in [
            [right, ("x-amz-checksum-crc32c", "AAAAAA==")],
            [wrong, ("x-amz-checksum-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
        ] {
            assert!(verdict(&list, &[b"123456789"]).unwrap().is_err(), "{list:?}");
        }
        let mut twice = headers(&[right]);
        twice.append("x-amz-checksum-crc32", HeaderValue::from_static("AAAAAA=="));
        assert_eq!(checks(&twice).unwrap().unwrap().0.len(), 2);
    }
}
